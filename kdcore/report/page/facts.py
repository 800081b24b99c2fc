"""Points, run.json, errors.json and the attention stage's JSON in, each checked; what the page says of a task out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, RootModel, ValidationError

from kdcore.distil.methods import INTERNAL
from kdcore.errors import UserError
from kdcore.params.overrides import Override
from kdcore.report.points import problems
from kdcore.report.statistics import Difference, star
from kdcore.report.summary import Row

CHOICES = {  # key of run.json -> how the page calls it; what `none` and `soft` have not is left out by itself
    "init": "initialisation",
    "layer_map": "layer map",
    "temperature": "temperature",
    "hard_label_weight": "weight of hard labels",
    **{f"{loss.name}_weight": f"weight of {loss.title}" for loss in INTERNAL.values()},
    "epochs_per_layer": "epochs per layer",
    "classification_epochs": "epochs of classification",
    "trains": "classification trains",
}

Document = TypeVar("Document", bound=BaseModel)


def read(path: Path, document: type[Document], stage: str) -> Document:
    """A JSON file. Raises UserError that names the file, the field and the stage that makes it again."""
    again = f"run `dvc repro -f {stage}`"
    try:
        return document.model_validate(json.loads(path.read_text(encoding="utf-8")))
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

    @property
    def choices(self) -> dict[str, Any]:
        """What was chosen for it, in words."""
        values = self.model_dump() | {f"{name}_weight": weight for name, weight in self.weights.items()}
        return {title: values[key] for key, title in CHOICES.items() if key in values}


@dataclass(frozen=True)
class Facts:
    """One task of the headline run. teacher, student: points of the first teacher and of the first student, as
    points.read has them; run: that student's run.json; teachers: the seeds of all; overrides: the knobs that are other
    ones for this task."""

    rows: Sequence[Row]
    teacher: Mapping[str, Any]
    student: Mapping[str, Any]
    run: Student
    teachers: Sequence[int] = (0,)
    overrides: Sequence[Override] = ()

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
    def runs(self) -> int:
        return sum(row.degenerate.of for row in self.rows)

    @property
    def degenerate(self) -> list[str]:
        """The runs that predict one class only, by name."""
        return [
            row.method if row.teacher else f"{row.method}, seed {run.seed}"
            for row in self.rows
            for run in row.runs
            if run.degenerate
        ]

    @property
    def differences(self) -> "list[Answer]":
        """Internal methods against soft come first: they are the paper's question."""
        pairs = [(row.method, name, made) for row in self.rows for name, made in row.differences.items()]
        pairs.sort(key=lambda pair: pair[1] != "soft")
        ends = [0.0]
        for _, _, made in pairs:
            e = made.estimate
            ends += [end for end in (e.value, e.low, e.high) if end is not None]
        least, span = min(ends), (max(ends) - min(ends)) or 1.0

        def place(value: float) -> float:
            return round(4 + 92 * (value - least) / span, 2)

        return [
            Answer(
                method,
                baseline,
                made,
                at=place(made.estimate.value),
                low_at=place(made.estimate.value if made.estimate.low is None else made.estimate.low),
                high_at=place(made.estimate.value if made.estimate.high is None else made.estimate.high),
                zero_at=place(0.0),
            )
            for method, baseline, made in pairs
        ]

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


class Compared(BaseModel):
    """One task's JSON of the attention stage: what the page's own words need of it; the rest is for its script."""

    class Model(BaseModel):
        model_config = ConfigDict(extra="allow")
        name: str
        kl: list[list[float]] | None = None
        total: float | None = None

    model_config = ConfigDict(extra="allow")
    task: str
    seed: int
    notes: list[str]
    models: list[Model]
    examples: Annotated[list[dict[str, Any]], Field(min_length=1)]


@dataclass(frozen=True)
class Part:
    """One of the four counts of a method, the mean over seeds: where its part of the bar starts, of 0 … 100."""

    name: str
    count: float
    start: float
    width: float


class Counts(BaseModel):
    """One seed of a method in errors.json."""

    both_right: NonNegativeInt
    only_teacher_right: NonNegativeInt
    only_student_right: NonNegativeInt
    both_wrong: NonNegativeInt


class Method(BaseModel):
    runs: Annotated[list[Counts], Field(min_length=1)]

    def parts(self, examples: int) -> Iterator[Part]:
        start = 0.0
        for name in Counts.model_fields:
            count = sum(getattr(run, name) for run in self.runs) / len(self.runs)
            width = 100 * count / examples
            yield Part(name, count, round(start, 3), round(width, 3))
            start += width


class Analysis(BaseModel):
    examples: PositiveInt
    methods: dict[str, Method]

    @property
    def bars(self) -> dict[str, list[Part]]:
        return {name: list(method.parts(self.examples)) for name, method in self.methods.items()}


class Skipped(BaseModel):
    skipped: str


class Errors(RootModel[dict[str, Skipped | Analysis]]):
    """errors.json: task -> its analysis, or why there is none."""
