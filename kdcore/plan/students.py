"""The students of the headline run, or of a study's grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdcore.distil.methods import Method
from kdcore.distil.schedule import Phase, phases
from kdcore.params import sections
from kdcore.report.studies import cells


@dataclass(frozen=True)
class Student:
    """One student, whatever its seed. name: as in the names of its results."""

    name: str
    method: Method
    student: sections.Student
    distill: sections.Distill

    @property
    def layers(self) -> int:
        return self.student.layers

    def phases(self) -> tuple[Phase, ...]:
        return phases(self.method.schedule, self.layers, self.distill)

    def losses(self) -> dict[str, float]:
        """The internal losses that it minimises."""
        return self.method.minimised(self.distill.weights)


def students(
    student: sections.Student,
    distill: sections.Distill,
    methods: Sequence[str],
    study: str | None,
    grid: Mapping[str, Any],
) -> list[Student]:
    """grid: the study's section of params.yaml, where there is a study."""
    if study is None:
        return [Student(method, Method.parse(method), student, distill) for method in methods]
    return [
        Student(
            cell.name,
            Method.parse(cell.says["method"]),
            student.model_copy(update={k: v for k, v in cell.says.items() if k in type(student).model_fields}),
            distill.model_copy(update={k: v for k, v in cell.says.items() if k in type(distill).model_fields}),
        )
        for cell in cells(study, grid)
    ]
