"""The students of the headline run, or of a study's grid, as recipes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdcore.distil.student import Recipe
from kdcore.studies import STUDIES, cells


@dataclass(frozen=True)
class Student:
    """One student, whatever its seed. name: as in the names of its results."""

    name: str
    recipe: Recipe


def students(
    base: Mapping[str, Any], methods: Sequence[str], study: str | None, grid: Mapping[str, Any]
) -> list[Student]:
    """base: `student` and `distill` of params.yaml; grid: the study's section, where there is a study."""
    if study is None:
        return [Student(method, Recipe(**base, method=method)) for method in methods]
    return [Student(cell.name, Recipe(**{**base, **cell.fields})) for cell in cells(STUDIES[study], grid)]
