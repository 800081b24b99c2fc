"""What commands open and prove before they work on it."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kdcore.errors import UserError
from kdcore.params.overrides import of_task, values, with_changes
from kdcore.params.sections import Params, Student
from kdcore.studies import STUDIES, Cell, cells, teacher_of

if TYPE_CHECKING:
    from kdcore.data.prepared import Data
    from kdcore.distil.finished import Finished
    from kdcore.distil.student import Recipe
    from kdcore.distil.written import Targets

Opened: TypeAlias = "tuple[Data, Finished, Targets]"


def open_data(task: str, folder: Path) -> "Data":
    """The prepared data. Raises UserError where they are damaged, or another task's."""
    from kdcore.data.prepared import Data

    data = Data.open(folder)
    if data.task.name != task:
        raise UserError(str(folder), f"holds task {data.task.name!r}, not {task!r}")
    return data


def open_teacher(folder: Path) -> "Finished":
    from kdcore.distil.finished import Finished

    return Finished.open(folder, "dvc repro -f teacher")


def open_all(data: "Data", teachers: Path, targets: Path, seed: int) -> Opened:
    """What a student of the teacher with that seed is made from, each opened and proved once."""
    from kdcore.distil.written import Targets

    made = open_teacher(teachers / f"s{seed}")
    return data, made, Targets.open(targets / f"s{seed}", data, made)


def recipe_of(params: Params, method: str, seed: int, *opened: Any) -> "Recipe":
    """The recipe of a student, of these params and of what `open_all` gave."""
    from kdcore.distil.student import Recipe

    fields = ("layers", "rows", "init", "head", "layer_map")  # not the floor, which a study does not have
    own = Student(**{name: getattr(params.student, name) for name in fields})
    return Recipe(method, seed, own, params.distill, params.train, params.model, *opened)


def tried(params: Params, method: str, opened: Mapping[int, Opened]) -> "Iterator[tuple[str, Cell, Recipe]]":
    """The students of a method in the study `tune`: name, cell and recipe. opened: by the seed of a teacher."""
    grid = params.study["tune"]
    usual = {"student": params.student, "distill": params.distill, "train": params.train}
    knobs = [key.split(".") for key in STUDIES["tune"].tuned(grid)]
    untuned = {f"{section}.{name}": getattr(usual[section], name) for section, name in knobs}
    found = [
        replace(cell, sets={**untuned, **cell.sets}) for cell in cells(STUDIES["tune"], grid) if cell.method == method
    ]
    for cell, seed in itertools.product(found, grid["seeds"]):
        changed = params.model_copy(update=with_changes(usual, cell.sets))
        recipe = recipe_of(changed, method, seed, *opened[teacher_of(seed, params.teacher.seeds)])
        yield f"{cell.name.rpartition('/')[2]}-s{seed}", cell, recipe


def signals_asked(params: Params, task: str, study: str | None, depth: int) -> tuple[int | None, set[int]]:
    """Of how many training rows signals are needed, and of which layers of a teacher of that depth.

    The most rows that a student of the headline run, or of a study with signals of its own, uses, and all layers that
    one of them maps. The headline's are those of any method, whichever `methods` lists: studies read its signals too,
    and DVC does not make them again where the list changes.
    """
    from kdcore.model.layers import layer_map

    entry, own = params.task[task], params.student
    usual = {f"student.{name}": getattr(own, name) for name in ("layers", "layer_map", "rows")}
    asked: list[tuple[str | None, Any]] = [(method, {}) for method in (None, *entry.methods)]  # None: any other
    tuned = STUDIES[study].tuned(params.study[study]) if study else ()
    if study:
        asked = [(cell.method, cell.sets) for cell in cells(STUDIES[study], params.study[study])]
    students = [usual | values(of_task(task, entry, method, tuned)) | sets for method, sets in asked]
    rows = [student["student.rows"] for student in students]
    maps = [layer_map(student["student.layer_map"], student["student.layers"], depth) for student in students]
    return None if None in rows else max(filter(None, rows)), set().union(*maps)


def distilled(recipe: "Recipe", batch_size: int) -> tuple["Finished", dict[str, Any]]:
    """The student of the recipe, trained now where it is not in the store, and its point."""
    from kdcore.console import speaking_of
    from kdcore.distil.standing import called
    from kdcore.distil.student import distil
    from kdcore.evaluation.score import read_point, score_run

    with speaking_of(f"{recipe.data.task.name} {called(recipe.method, recipe.student.layers, recipe.seed)}"):
        model = distil(recipe)
    return model, read_point(score_run(model, recipe.data, recipe.teacher, recipe.targets, batch_size))


def check_notes(students: Path, params: Params, name: str) -> None:
    """Raises UserError where that file is damaged in a student of the headline run. One that is missing is named later,
    with the key of params.yaml that asks for it; so it is with predictions."""
    from kdcore.artefacts import open_sealed

    for task, method, seed in itertools.product(params.tasks, params.methods, params.seeds):
        folder = students / task / f"{method}-s{seed}"
        if folder.is_dir():
            open_sealed(folder, "dvc repro -f student", [name])


def check_predictions(folder: Path) -> None:
    from kdcore.artefacts import open_sealed

    if folder.is_dir():
        there = [path.name for path in folder.iterdir()]
        open_sealed(folder, "dvc repro -f evaluate", there)


def teachers_points(params: Params, folder: Path) -> dict[str, dict[int, Path]]:
    """Task -> seed of a teacher -> the file of its scores."""
    return {task: {seed: folder / task / f"s{seed}.json" for seed in params.teacher.seeds} for task in params.tasks}
