"""What the command of a stage asks the store for, and whether it is there. No torch, and no file is hashed here."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kdcore.cli.command import given_to, parsed
from kdcore.cli.opening import recipe_of, signals_asked, tried
from kdcore.errors import UserError
from kdcore.grid.jobs import Asked, Job
from kdcore.params.sections import Params
from kdcore.studies import teacher_of

if TYPE_CHECKING:
    from kdcore.data.prepared import Data
    from kdcore.distil.finished import Finished
    from kdcore.distil.student import Recipe
    from kdcore.distil.written import Targets

Run: TypeAlias = tuple[str, Path | None]  # its name, and its result where it is there


def asked(job: Job, missing: Sequence[str]) -> Asked:
    """What the job asks the store for; missing: the jobs that it waits for and that are not found."""
    name, arguments = job.line[0], parsed(job.line)
    params = given_to(name, arguments).params
    computed = {"targets": "teacher"}.get(name, name)  # signals are computed as their teacher was
    trains = computed in ("teacher", "student", "point", "tune")
    threads = given_to(computed, arguments).params.train.threads if trains else 1
    if missing:
        return Asked(unknown=f"waits for {missing[0]}", threads=threads)
    match name:
        case "prepare" | "holdout":
            return Asked(found=_data(Path(arguments["out"])) is not None, threads=threads)
        case "teacher":
            runs, found = _teacher(params, arguments)
        case "targets":
            runs, found = (), _has_targets(params, arguments)
        case "tune":
            seeds = params.teacher.seeds
            opened = {seed: _opened(arguments, seed) for seed in seeds}
            runs, found = _students(recipe for _, _, recipe in tried(params, arguments["method"], opened))
        case _:
            method, seed = arguments["method"], arguments["seed"]
            opened_one = _opened(arguments, teacher_of(seed, params.teacher.seeds))
            runs, found = _students([recipe_of(params, method, seed, *opened_one)])
    return Asked(runs, None, found, threads)


@cache
def _data(folder: Path) -> "Data | None":
    """The prepared data of a folder, where they are there and whole."""
    from kdcore.data.prepared import Data

    try:
        return Data.open(folder)
    except UserError:
        return None


@cache
def _finished(folder: Path) -> "Finished | None":
    """The model of a folder, as its manifest says."""
    from kdcore.artefacts import read_manifest
    from kdcore.distil.finished import Finished

    try:
        return Finished.of(folder, read_manifest(folder, ""))
    except (UserError, OSError):
        return None


def _targets(folder: Path, data: "Data", teacher: "Finished") -> "Targets | None":
    """The signals of a folder, where they are those of this teacher on these data."""
    from kdcore.distil.written import Targets

    try:
        return Targets.open(folder, data, teacher)
    except UserError:
        return None


def _opened(arguments: Mapping[str, Any], seed: int) -> tuple[Any, Any, Any]:
    """What a student of the teacher with that seed is made from; all of it is found."""
    data = _data(Path(arguments["data"]))
    teacher = _finished(Path(arguments["teacher"]) / f"s{seed}")
    assert data is not None and teacher is not None  # noqa: PT018, S101 - jobs before this one, which are found
    return data, teacher, _targets(Path(arguments["targets"]) / f"s{seed}", data, teacher)


def _teacher(params: Params, arguments: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """The teacher's run; it is found where the folder that others read holds its result, and it is scored."""
    from kdcore.distil.teacher import identity_of
    from kdcore.evaluation import score

    data = _data(Path(arguments["data"]))
    assert data is not None  # noqa: S101
    what = identity_of(data, params.model, params.teacher, params.train, arguments["seed"])
    name, result = _run("teacher", what)
    own, there = _finished(result) if result else None, _finished(Path(arguments["out"]))
    if own is None or there is None or own.fingerprint != there.fingerprint:
        return (name,), False
    return (name,), _run("evaluation", score.identity(own, data, own, None))[1] is not None


def _has_targets(params: Params, arguments: Mapping[str, Any]) -> bool:
    """Whether signals of enough rows and layers, of the teacher and the data there, lie where students read them."""
    data, teacher = _data(Path(arguments["data"])), _finished(Path(arguments["teacher"]))
    if data is None or teacher is None:
        return False
    rows, mapped = signals_asked(params, arguments["task"], arguments.get("study"), teacher.layers)
    found = _targets(Path(arguments["out"]), data, teacher)
    if found is None or found.manifests["train"]["rows"] < data.used(rows):
        return False
    return all(mapped <= {*manifest["layers"]} for manifest in found.manifests.values())


def _students(recipes: "Iterable[Recipe]") -> tuple[tuple[str, ...], bool]:
    """The students' runs; they are found where all are trained, and scored."""
    from kdcore.evaluation import score

    names, found = [], True
    for recipe in recipes:
        name, result = _run("student", recipe.identity)
        names.append(name)
        model = _finished(result) if result else None
        scores = score.identity(model, recipe.data, recipe.teacher, recipe.targets) if model else None
        found = found and scores is not None and _run("evaluation", scores)[1] is not None
    return tuple(names), found


def _run(kind: str, identity: dict[str, Any]) -> Run:
    from kdcore.runs import name_of, result_of

    return name_of(kind, identity), result_of(kind, identity)
