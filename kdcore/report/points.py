"""Result points (one JSON per evaluated run) in; the runs out, a flat mapping each, as every summary takes them."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, PlainValidator, ValidationError, model_validator

from kdcore.artefacts import published, read_proved
from kdcore.errors import UserError
from kdcore.studies import Grid, Study, cells


def _per_layer(values: object) -> object:
    """Raise ValueError for what is not finite numbers, one per layer or one per layer and head."""
    layers = values if isinstance(values, list) else []
    heads = [head for layer in layers for head in (layer if isinstance(layer, list) else [layer])]
    one_depth = len({isinstance(layer, list) for layer in layers}) == 1 and [] not in layers
    if not one_depth or not all(type(head) in (int, float) and math.isfinite(head) for head in heads):
        raise ValueError("must have a number per layer, or one per layer and head")
    return values


PerLayer = Annotated[list[float] | list[list[float]], PlainValidator(_per_layer)]
Run = dict[str, Any]  # one point, flat


class Fidelity(BaseModel):
    """Distance of a student to the teacher on validation data; `agreement` is None for a regression.

    Every other key is the term of an internal loss: a number per student layer, or one per layer and head.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    agreement: FiniteFloat | None = None
    soft_label_kl: FiniteFloat | None = None
    score_mse: FiniteFloat | None = None
    __pydantic_extra__: dict[str, PerLayer]

    @property
    def internal(self) -> dict[str, PerLayer]:
        return self.__pydantic_extra__

    def flat(self) -> dict[str, float]:
        """Its numbers by column: layers and heads become their mean, and maps also the paper's total over layers."""
        output = {"agreement": self.agreement, "soft_label_kl": self.soft_label_kl, "score_mse": self.score_mse}
        columns = {name: value for name, value in output.items() if value is not None}
        for term, values in self.internal.items():
            per_layer = [float(np.mean(layer)) for layer in values]
            columns[term] = float(np.mean(per_layer))
            if isinstance(values[0], list):
                columns[f"{term}_total"] = float(np.sum(per_layer))
        return columns


class Parameters(BaseModel):
    """Counts of weights; the paper's axis leaves the embeddings out."""

    model_config = ConfigDict(frozen=True)
    encoder_and_pooler: int
    total: int


class Test(BaseModel):
    """One run on the task's labelled test split, of which nothing else is computed."""

    model_config = ConfigDict(frozen=True)
    score: FiniteFloat
    scores: dict[str, dict[str, FiniteFloat]]
    examples: dict[str, int]
    degenerate: bool


class Point(BaseModel):
    """One evaluated run. The teacher has neither a fidelity nor a student's choices.

    Whatever else a study varies is a further field, by the last part of its params key.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    task: str
    method: str
    layers: int
    rows: int | None = None
    used: int | None = None  # training rows, where a study asks for more than there are
    seed: int | None = None
    teacher_seed: int | None = None  # None: of a teacher, and where that was fine-tuned elsewhere
    init: str | None = None
    layer_map: str | tuple[int, ...] | None = None
    trains: str | None = None
    metric: str
    score: FiniteFloat
    scores: dict[str, dict[str, FiniteFloat]]
    degenerate: bool
    warnings: dict[str, str] = {}  # what speaks against it: kind -> words
    test: Test | None = None
    fidelity: Fidelity | None = None
    parameters: Parameters
    bytes: int
    gflop: FiniteFloat | None = None
    epochs: int | None = None
    selected: int | None = None  # the epoch that was kept because it scored best on validation; None: the last

    @model_validator(mode="after")
    def _headline_is_among_the_scores(self) -> Self:
        listed = self.scores.get("validation", {}).get(self.metric)
        if listed is None or not math.isclose(listed, self.score, abs_tol=1e-6):
            raise ValueError(f"score is {self.score}, but scores.validation.{self.metric} is {listed}")
        return self

    def run(self) -> dict[str, Any]:
        """The point's own fields, and three dicts of numbers, by the columns of the tables.

        scores: `accuracy`, or `accuracy_mismatched` for another validation split; closeness: empty for the teacher;
        cost: what is known of it.
        """
        gflop = None if self.epochs == 0 else self.gflop  # of a teacher that was fine-tuned elsewhere nobody knows it
        cost = self.parameters.model_dump() | {"bytes": self.bytes, "gflop": gflop}
        return self.model_dump(exclude={"fidelity", "parameters"}) | {
            "scores": _by_column(self.scores, "validation"),
            "closeness": self.fidelity.flat() if self.fidelity else {},
            "cost": {name: value for name, value in cost.items() if value is not None},
        }


def _by_column(scores: Mapping[str, Mapping[str, float]], headline: str) -> dict[str, float]:
    return {
        metric if split == headline else f"{metric}_{split.removeprefix(f'{headline}_')}": value
        for split, metrics in scores.items()
        for metric, value in metrics.items()
    }


def on_test(runs: Sequence[Run]) -> list[Run]:
    """The runs of the tasks that have a labelled test split, scored there: nothing else is known of them."""
    scored = []
    for run in runs:
        if test := run["test"]:
            own = {**test, "scores": _by_column(test["scores"], "test"), "warnings": {}, "closeness": {}, "cost": {}}
            scored.append({**run, **own})
    return scored


@dataclass(frozen=True)
class Wanted:
    """A point that params.yaml asks for: its file, the params keys that ask, and what the file must say."""

    path: Path
    keys: Mapping[str, Any]  # params key -> value, the widest first
    fields: Mapping[str, Any]  # field of the point -> value
    rerun: str = "dvc repro"  # what makes it


def teacher(path: Path, task: str, seed: int) -> Wanted:
    """The point of a task's teacher with that seed; one that was fine-tuned elsewhere has none, and says so."""
    return Wanted(path, {"tasks": task, "teacher.seeds": seed}, {"task": task, "method": "teacher"})


def headline(
    points: Path, tasks: Iterable[str], methods: Sequence[str], seeds: Sequence[int], teachers: Sequence[int]
) -> list[Wanted]:
    """Every point of the headline run: the teachers, by seed, and each method x seed, per task."""
    wanted = []
    for task in tasks:
        wanted += [teacher(points / task / f"teacher-s{seed}.json", task, seed) for seed in teachers]
        for method, seed in itertools.product(methods, seeds):
            fields = {"task": task, "method": method, "seed": seed}
            keys = {"tasks": task, "methods": method, "seeds": seed}
            wanted.append(Wanted(points / task / f"{method}-s{seed}.json", keys, fields))
    return wanted


def of_study(
    study: Study,
    points: Path,
    teachers: Mapping[str, Mapping[int, Path]],
    grid: Grid,
    seeds: Sequence[int],
) -> list[Wanted]:
    """Every point of a study, cell x seed per task, and the teachers' points from the headline run.

    teachers: task -> seed -> that teacher's point; grid: the study's section of params.yaml, whose own seeds come
    first.
    """
    wanted = []
    for task, by_seed in teachers.items():
        wanted += [teacher(path, task, seed) for seed, path in by_seed.items()]
        for cell, seed in itertools.product(cells(study, grid), grid.get("seeds", seeds)):
            fields = {"task": task, **cell.fields, "seed": seed}
            keys = {"tasks": task, **cell.asked, f"study.{study.name}.seeds" if "seeds" in grid else "seeds": seed}
            wanted.append(Wanted(points / task / f"{cell.name}-s{seed}.json", keys, fields, study.command))
    return wanted


def read(wanted: Sequence[Wanted]) -> list[Run]:
    """Every point, as Point.run has it.

    Raises UserError for missing files (by params key), broken ones, changed histories, and mix-ups.
    """
    check_all_exist(wanted)
    runs = [parse(point).run() for point in wanted]
    check_histories(wanted)
    metrics: dict[str, str] = {}
    for point, run in zip(wanted, runs, strict=True):
        if run["metric"] != metrics.setdefault(run["task"], run["metric"]):
            expected = metrics[run["task"]]
            raise UserError(
                str(point.path),
                f"metric: expected {expected} as in the other points of {run['task']}, found {run['metric']}",
            )
    return runs


def best(folder: Path, task: str, method: str, seeds: Sequence[int], rerun: str) -> tuple[int, Point]:
    """The seed whose student scores highest on validation, and its point; of equal ones the first.

    folder: the task's points, which `rerun` makes. Raises UserError for points that are missing or broken.
    """
    asked: dict[int, Wanted] = {}
    for seed in seeds:
        fields = {"task": task, "method": method, "seed": seed}
        asked[seed] = Wanted(folder / f"{method}-s{seed}.json", {"seeds": seed}, fields, rerun)
    check_all_exist(list(asked.values()))
    found = {seed: parse(wanted) for seed, wanted in asked.items()}
    return max(found.items(), key=lambda pair: pair[1].score)


def check_all_exist(wanted: Sequence[Wanted]) -> None:
    """Raises UserError that names the params key which asks for each missing file, and what makes it."""
    missing = [point for point in wanted if not point.path.is_file()]
    present = [point for point in wanted if point.path.is_file()]
    asked: dict[tuple[str, Any], list[Wanted]] = {}
    for point in missing:
        asked.setdefault(_asked_by(point, present), []).append(point)
    if asked:
        raise UserError("params.yaml", [_complaint(key, value, points) for (key, value), points in asked.items()])


def check_histories(wanted: Sequence[Wanted]) -> None:
    """Raises UserError for each history that was changed since this machine wrote it with the point beside it.

    Of a point that came with a clone nothing is known here; DVC holds both against dvc.lock.
    """
    for point in wanted:
        history = point.path.with_suffix(".csv")
        if history.is_file() and published(point.path) and not published(history):
            raise UserError(str(history), f"was changed since it was written; `{point.rerun}` makes it again")


def _asked_by(point: Wanted, present: Sequence[Wanted]) -> tuple[str, Any]:
    """The widest params key whose value no point exists for, else the narrowest key."""
    for key, value in point.keys.items():
        if not any(other.keys.get(key) == value for other in present):
            return key, value
    return key, value


def _complaint(key: str, value: Any, missing: Sequence[Wanted]) -> str:
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    verb, them = ("are", "them") if more else ("is", "it")
    path, rerun = missing[0].path, missing[0].rerun
    return f"{key}: {value} is asked for, but {path}{more} {verb} missing; `{rerun}` makes {them}"


def parse(wanted: Wanted) -> Point:
    """One point. Raises UserError for a file that is broken or changed, or does not say what is wanted."""
    try:
        point = Point.model_validate(read_proved(wanted.path, wanted.rerun))
    except ValidationError as error:
        again = [f"{problem}; `{wanted.rerun}` makes it again" for problem in problems(error, "point")]
        raise UserError(str(wanted.path), again) from error
    fields = {name: getattr(point, name, None) for name in wanted.fields}
    if wrong := [name for name, value in wanted.fields.items() if fields[name] != value]:
        raise UserError(
            str(wanted.path), [f"{name}: expected {wanted.fields[name]}, found {fields[name]}" for name in wrong]
        )
    return point


def problems(error: ValidationError, whole: str) -> list[str]:
    """What is wrong with a file, field by field; whole: what the file is, where no field is to blame."""
    return [
        f"{'.'.join(map(str, e['loc'])) or whole}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
    ]
