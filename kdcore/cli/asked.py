"""What the command of a stage asks the store for, and whether it is there. No torch, and no file is hashed here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
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
    from kdcore.plan.jobs import Arithmetic

Run: TypeAlias = tuple[str, Path | None]  # its name, and its result where it is there


def asked(job: Job, missing: Sequence[str]) -> Asked:
    """What the job asks the store for; missing: the jobs that it waits for and that are not found."""
    name, arguments = job.line[0], parsed(job.line)
    params = _params_of(name, arguments)
    computed = {"targets": "teacher"}.get(name, name)  # signals are computed as their teacher was
    trains = computed in ("teacher", "student", "point", "tune")
    threads = _params_of(computed, arguments).train.threads if trains else 1
    own = Asked(unknown=f"waits for {missing[0]}" if missing else None, threads=threads)
    if name == "targets":
        return _signals(params, arguments, own)
    gflop = _gflop(name, params, arguments) if trains else None
    if name in ("student", "point"):  # which no other job waits for
        own = replace(own, alike=_alike(params, arguments))
    if missing:
        return replace(own, gflop=gflop)
    match name:
        case "prepare" | "holdout":
            return replace(own, found=_data(Path(arguments["out"])) is not None)
        case "teacher":
            runs, found = _teacher(params, arguments)
        case _:
            runs, found = _students(_recipes(name, params, arguments, lambda seed: _opened(arguments, seed)))
    return replace(own, runs=runs, found=found, gflop=gflop)


def _recipes(
    name: str, params: Params, arguments: Mapping[str, Any], opened: Callable[[int], tuple[Any, Any, Any]]
) -> "Iterable[Recipe]":
    """The students of a command. opened: what they are made from, by the seed of their teacher."""
    method = arguments["method"]
    if name == "tune":
        by_seed = {seed: opened(seed) for seed in params.teacher.seeds}
        return (recipe for _, _, recipe in tried(params, method, by_seed))
    seed = arguments["seed"]
    return [recipe_of(params, method, seed, *opened(teacher_of(seed, params.teacher.seeds)))]


def _alike(params: Params, arguments: Mapping[str, Any]) -> str | None:
    """A hash of all that determines a student, told before its teacher is there: by the places of what it is made from.

    None before the data are there, or where nothing on this machine tells how deep the teacher is.
    """
    from kdcore.artefacts import digest
    from kdcore.plan.jobs import UntoldError

    if (arithmetic := _arithmetic(arguments)) is None:
        return None
    try:
        teacher = SimpleNamespace(fingerprint="", layers=arithmetic.layers)
    except UntoldError:
        return None
    places = [str(arguments[name]) for name in ("data", "teacher", "targets")]
    places.append(str(teacher_of(arguments["seed"], params.teacher.seeds)))
    signals = SimpleNamespace(precision=lambda _: "")
    recipe = recipe_of(params, arguments["method"], arguments["seed"], arithmetic.data, teacher, signals)
    start = [recipe.student.init, params.model.name, params.model.revision] if recipe.starts_pretrained else None
    # What it starts from stands by its name: nothing is hashed here.
    own = recipe.student.model_copy(update={"init": "teacher"}) if start else recipe.student
    return digest([places, start, replace(recipe, student=own).identity])


def _gflop(name: str, params: Params, arguments: Mapping[str, Any]) -> float | None:
    """What the models of a command compute, whether they are there or not; None where nothing on this machine tells."""
    from kdcore.plan.jobs import UntoldError

    if (arithmetic := _arithmetic(arguments)) is None:
        return None
    try:
        if name == "teacher":
            return arithmetic.fine_tuning() / 1e9
        return arithmetic.distilling(_recipes(name, params, arguments, lambda _: (None, None, None))) / 1e9
    except UntoldError:
        return None


def _arithmetic(arguments: Mapping[str, Any]) -> "Arithmetic | None":
    """None before the data are there."""
    from kdcore.plan.jobs import Arithmetic

    data, own = _data(Path(arguments["data"])), _params_of("teacher", arguments)
    return None if data is None else Arithmetic(data, own.model, own.teacher)


def _params_of(name: str, arguments: Mapping[str, Any]) -> Params:
    """What a command is given with these arguments. A teacher is no method's."""
    keys = ("study", "task", *(("method",) if name != "teacher" else ()))
    given = [(key, arguments[key]) for key in keys if key in arguments]
    return _given(name, *given, ("set_param", tuple(arguments.get("set_param") or ())))


@cache
def _given(name: str, *arguments: tuple[str, Any]) -> Params:
    """Read once: the jobs of a study differ in few of the arguments that matter here."""
    return given_to(name, dict(arguments)).params


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


def _signals(params: Params, arguments: Mapping[str, Any], own: Asked) -> Asked:
    """What is known of signals, and whether they are there, what they compute, and the parts of those of many rows."""
    import numpy as np

    from kdcore.plan.jobs import UntoldError

    own = replace(own, found=own.unknown is None and _has_targets(params, arguments))
    if (arithmetic := _arithmetic(arguments)) is None:
        return own
    try:
        rows, mapped = signals_asked(params, arguments["task"], arguments.get("study"), arithmetic.layers)
        passes = arithmetic.signals(rows, np.dtype(params.targets.dtype).itemsize)
    except UntoldError:
        return own
    flops = [part for one in passes.values() for part in one.flops]
    if len(flops) == len(passes):  # a run for each split
        return replace(own, gflop=sum(flops) / 1e9)
    there = [own.found] * len(flops)
    if own.unknown is None and not own.found:
        there = [*_parts_there(params, arguments, {split: one.bounds for split, one in passes.items()}, rows, mapped)]
    parts = [replace(own, found=found, gflop=one / 1e9) for found, one in zip(there, flops, strict=True)]
    return replace(own, parts=tuple(parts))


def _parts_there(
    params: Params,
    arguments: Mapping[str, Any],
    bounds: Mapping[str, Sequence[int]],
    rows: int | None,
    mapped: set[int],
) -> Iterator[bool]:
    """Of each part, or of the signals that were put together of it, with maps or without as targets.store says;
    `auto`: whichever there was room for. bounds: by split, of the shards of the signals."""
    from kdcore.distil.choice import known, made_by
    from kdcore.distil.targets import Signals, identities
    from kdcore.runs import is_finished

    data, teacher = _data(Path(arguments["data"])), _finished(Path(arguments["teacher"]))
    assert data is not None and teacher is not None  # noqa: PT018, S101 - jobs before this one, which are found
    choice = known(made_by(teacher, data, params.targets)) if params.targets.store == "auto" else None
    targets = choice.applied(params.targets) if choice else params.targets
    may = {"auto": (True, False), "disk": (True,), "live": (False,)}[targets.store]
    for split, cut in bounds.items():
        names = identities(data, teacher, split, cut[-1], params.targets, mapped)
        choices = [
            Signals(data, teacher, split, cut[-1], what, cut) for maps, what in names.items() if bool(maps) in may
        ]
        for part in zip(*(signals.parts for signals in choices), strict=True):
            yield any(is_finished("targets", run.identity) for run in (*part, *choices))


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
