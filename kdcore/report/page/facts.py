"""Points, run.json and the attention stage's JSON in, each checked; what the page says of a task out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kdcore.distil.methods import INTERNAL
from kdcore.errors import UserError
from kdcore.params.overrides import Override
from kdcore.report.analysis import COUNTS, Analysis, Seed
from kdcore.report.points import problems
from kdcore.report.statistics import Difference, over, star
from kdcore.report.summary import Row

CHOICES = {  # key of run.json -> how the page calls it; what `none` and `soft` have not is left out by itself
    "init": "initialisation",
    "head": "classification head",
    "layer_map": "layer map",
    "temperature": "temperature",
    "hard_label_weight": "weight of hard labels",
    **{f"{loss.name}_weight": f"weight of {loss.title}" for loss in INTERNAL.values()},
    "epochs_per_layer": "epochs per layer",
    "classification_epochs": "epochs of classification",
    "below": "layers below",
    "trains": "classification trains",
}
STEPS = {  # key of run.json's `train` -> how the page calls it, where it has a value
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "accumulate": "micro-batches per step",
    "schedule": "schedule",
    "warmup": "share of warm-up",
    "weight_decay": "weight decay",
    "clip": "largest gradient norm",
    "dropout": "dropout",
    "precision": "mixed precision",
}


def read(path: Path, document: Any, stage: str) -> Any:
    """A JSON file, checked to be a `document`, a type.

    Raises UserError that names the file, the field and the stage that makes it again.
    """
    again = f"run `dvc repro -f {stage}`"
    try:
        return TypeAdapter(document).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise UserError(str(path), [f"{problem}; {again}" for problem in problems(error, path.stem)]) from error
    except (OSError, ValueError) as error:
        raise UserError(str(path), f"can't be read ({error}); {again}") from error


class Student(BaseModel):
    """run.json of a student."""

    model_config = ConfigDict(extra="allow")
    mapped: tuple[int, ...]
    versions: dict[str, Any]
    weights: dict[str, float] = {}  # by internal loss
    max_length: int | None = None
    train: dict[str, Any] = {}
    teacher: dict[str, Any] = {}
    data: dict[str, Any] = {}

    @property
    def choices(self) -> dict[str, Any]:
        """What was chosen for it, in words."""
        values = self.model_dump() | {f"{name}_weight": weight for name, weight in self.weights.items()}
        chosen = {title: values[key] for key, title in CHOICES.items() if key in values}
        return chosen | {title: self.train[key] for key, title in STEPS.items() if self.train.get(key) is not None}

    @property
    def made_of(self) -> str:
        """The teacher's model and its commit, where it is on a hub."""
        model = self.teacher.get("model") or {}
        name, revision = model.get("name"), model.get("revision")
        return f"{name} at {revision[:10]}" if name and revision else name or ""

    @property
    def made_with(self) -> dict[str, Any]:
        """Libraries, machine and commit, the latter as git shortens it."""
        known = {name: value for name, value in self.versions.items() if value is not None}
        return known | ({"commit": known["commit"][:10]} if "commit" in known else {})

    @property
    def origin(self) -> str:
        """Where the rows come from."""
        match self.data:
            case {"source": "hub", "repository": repository, "configuration": part, "revision": revision}:
                return f"{repository}, {part}, at {revision[:10]}"
            case {"source": "local", "files": files}:
                return ", ".join(f"{facts['file']} (sha256 {facts['sha256'][:10]})" for facts in files.values())
            case {"dataset": dataset}:
                return str(dataset)
        return ""


@dataclass(frozen=True)
class Facts:
    """One task of the headline run. teacher, student: points of the first teacher and of the first student, as
    points.read has them; run: that student's run.json; teachers: the seeds of all; overrides: the knobs that are other
    ones for this task; named: the teacher's model, as params.yaml has it."""

    rows: Sequence[Row]
    teacher: Mapping[str, Any]
    student: Mapping[str, Any]
    run: Student
    teachers: Sequence[int] = (0,)
    overrides: Sequence[Override] = ()
    named: str = ""

    @property
    def task(self) -> str:
        return self.rows[0].task

    @property
    def metric(self) -> str:
        return self.rows[0].metric

    @property
    def methods(self) -> list[str]:
        return [row.method for row in self.rows if not row.teacher]

    @property
    def seeds(self) -> list[int | None]:
        return [run.seed for run in self.rows[-1].runs]

    @property
    def over(self) -> str:
        """What the intervals of its differences are over."""
        return over(len(self.seeds), self.rows[-1].teachers)

    @property
    def runs(self) -> int:
        return sum(row.degenerate.of for row in self.rows)

    @property
    def degenerate(self) -> list[str]:
        """The runs that give one answer for all, by name."""
        return [
            row.method if row.teacher else f"{row.method}, seed {run.seed}"
            for row in self.rows
            for run in row.runs
            if run.degenerate
        ]

    @property
    def warnings(self) -> list[str]:
        """What speaks against a run, with the numbers that its point has."""
        return [
            f"{name}: {words}"
            for row in self.rows
            for run in row.runs
            for name in [row.method if row.teacher else f"{row.method}, seed {run.seed}"]
            for words in run.warnings.values()
        ]

    @property
    def _pairs(self) -> list[tuple[str, str, Difference]]:
        """Internal methods against soft come first: they are the paper's question."""
        pairs = [(row.method, name, made) for row in self.rows for name, made in row.differences.items()]
        return sorted(pairs, key=lambda pair: pair[1] != "soft")

    def _place(self, value: float) -> float:
        """Where a difference stands on the axis, of 0 … 100, that all of the task share; 0 is always on it."""
        ends = [0.0]
        for _, _, made in self._pairs:
            ends += [e for e in (made.estimate.value, made.estimate.low, made.estimate.high) if e is not None]
        least, most = min(ends), max(ends)
        return round(4 + 92 * (value - least) / ((most - least) or 1.0), 2)

    @property
    def ticks(self) -> "list[Tick]":
        """Round numbers on that axis."""
        if all(made.estimate.value == 0 for _, _, made in self._pairs):
            return [Tick(self._place(0.0), "0")]
        span = 92 / (self._place(1.0) - self._place(0.0))  # from the least to the greatest end
        least = (4 - self._place(0.0)) / 92 * span
        values = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(least, least + span)
        inside = [float(value) for value in values if 0 <= self._place(value) <= 100]
        decimals = next(digits for digits in range(9) if np.allclose(np.round(inside, digits), inside, atol=1e-9))
        return [Tick(self._place(value), f"{value:+.{decimals}f}" if abs(value) > 1e-9 else "0") for value in inside]

    @property
    def differences(self) -> "list[Answer]":
        """The differences with their places on the axis; without an interval the bar is the value."""
        answers = []
        for method, baseline, made in self._pairs:
            e = made.estimate
            low, high = (e.value, e.value) if e.low is None or e.high is None else (e.low, e.high)
            places = (self._place(value) for value in (e.value, low, high, 0.0))
            answers.append(Answer(method, baseline, made, *places))
        return answers

    @property
    def verdicts(self) -> dict[str, list[str]]:
        """Internal against standard distillation: verdict -> the methods that it is about."""
        verdicts: dict[str, list[str]] = {}
        for row in self.rows:
            if made := row.differences.get("soft"):
                verdicts.setdefault(made.verdict + star(made), []).append(row.method)
        return verdicts


@dataclass(frozen=True)
class Answer:
    """One method minus one baseline; at, low_at, high_at, zero_at: places on an axis of 0 … 100 that a task shares."""

    method: str
    baseline: str
    difference: Difference
    at: float
    low_at: float
    high_at: float
    zero_at: float


class Tick(NamedTuple):
    """A number on the axis of the differences, and its place."""

    at: float
    text: str


class Compared(BaseModel):
    """One task's JSON of the attention stage: what the page's own words need of it; the rest is for its script."""

    class Model(BaseModel):
        model_config = ConfigDict(extra="allow")
        name: str
        kl: list[list[float]] | None = None
        total: float | None = None

    class Example(BaseModel):
        class Seen(BaseModel):
            model_config = ConfigDict(extra="allow")
            kl: list[list[float]] | None = None

        model_config = ConfigDict(extra="allow")
        row: int
        models: dict[str, Seen]

    class Figure(BaseModel):
        layer: int
        heads: list[int]

    model_config = ConfigDict(extra="allow")
    task: str
    seed: int
    notes: list[str]
    models: list[Model]
    examples: Annotated[list[Example], Field(min_length=1)]
    figure: Figure


@dataclass(frozen=True)
class Part:
    """One of the four counts of a method, the mean over seeds: where its part of the bar starts, of 0 … 100."""

    name: str
    count: float
    start: float
    width: float


def bars(analysis: Analysis) -> dict[str, list[Part]]:
    """Method -> the parts of its bar."""
    return {name: list(_parts(method.runs, analysis.examples)) for name, method in analysis.methods.items()}


def _parts(runs: Sequence[Seed], examples: int) -> Iterator[Part]:
    start = 0.0
    for name in COUNTS:
        count = sum(run.counts[name] for run in runs) / len(runs)
        width = 100 * count / examples
        yield Part(name, count, round(start, 3), round(width, 3))
        start += width
