"""The error analysis of a task as it is kept in errors.json; and its tables, which Markdown and page both draw."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd
from pydantic import TypeAdapter

from kdcore.evaluation.classification import BINS
from kdcore.report.markdown import Block, Cell, Heading, Quoted, Table, estimate_text, holm_note, pairing
from kdcore.report.statistics import Difference, Estimate, McNemar, over, percent

COUNTS = ("both_right", "only_teacher_right", "only_student_right", "both_wrong")
SHARES = {"agreement": "agreement", "repeated_errors": "repeats the teacher's errors"}  # name -> header
CONFUSED = 10  # classes of which a table still has room for a column each


@dataclass(frozen=True)
class Seed:
    """One run. counts: examples by who is right; shares: by name, `repeated_errors` being None where the teacher makes
    no error; tests: McNemar's against the `teacher` and against `soft` of the same seed."""

    seed: int
    counts: Mapping[str, int]
    shares: Mapping[str, float | None]
    score: Estimate
    tests: Mapping[str, McNemar]


@dataclass(frozen=True)
class Method:
    """One method: its runs, and each share over them, alone and minus soft's."""

    runs: Sequence[Seed]
    mean: Mapping[str, Estimate | None]
    minus_soft: Mapping[str, Difference]


@dataclass(frozen=True)
class Classes:
    """One model's classification in full, as evaluation.classification has it: means over its runs.

    The averages have intervals over seeds; the lists have a number per class, `confusion` a row per label.
    """

    f1_macro: Estimate
    f1_weighted: Estimate
    calibration_error: Estimate
    precision: Sequence[float]
    recall: Sequence[float]
    f1: Sequence[float]
    support: Sequence[int]
    confusion: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Vote:
    """What most seeds of a method predict for an example, and how many of them are right."""

    label: str
    right: int
    of: int


@dataclass(frozen=True)
class Example:
    """An example on which methods differ. texts: empty where the data's texts are not to be shown."""

    row: int
    texts: Sequence[str]
    label: str
    teacher: str
    methods: Mapping[str, Vote]


@dataclass(frozen=True)
class Analysis:
    """One task. teachers: how many; right: examples that the first of them gets right, whose score `teacher` is;
    classes: by model, the teacher first; taught: how many of the teachers have students."""

    examples: int
    metric: str
    teachers: int
    right: int
    teacher: Estimate
    methods: Mapping[str, Method]
    labels: Sequence[str]
    classes: Mapping[str, Classes]
    differ: Sequence[Example]
    taught: int = 1


@dataclass(frozen=True)
class Skipped:
    """A task that is not analysed, and why."""

    skipped: str


Errors: TypeAlias = dict[str, Analysis | Skipped]  # errors.json, by task
ERRORS = TypeAdapter(Errors)


def to_frame(analyses: Mapping[str, Analysis | Skipped]) -> pd.DataFrame:
    """errors.csv: a row per example on which methods differ, with how many seeds of each are right, e.g. 2/3."""
    rows = [
        {
            "task": task,
            "row": example.row,
            **dict(itertools.zip_longest(("text_a", "text_b"), example.texts)),
            "label": example.label,
            "teacher": example.teacher,
        }
        | {name: value for method, vote in example.methods.items() for name, value in _columns(method, vote).items()}
        for task, analysis in analyses.items()
        if isinstance(analysis, Analysis)
        for example in analysis.differ
    ]
    return pd.DataFrame(rows, columns=None if rows else ["task"])


def _columns(method: str, vote: Vote) -> dict[str, str]:
    return {method: vote.label, f"{method}_right": f"{vote.right}/{vote.of}"}


def section(task: str, analysis: Analysis | Skipped) -> list[Block]:
    """One task: counts and shares over seeds, tests of each seed, classes, the examples on which methods differ."""
    title = Heading(2, f"{task}: how students repeat the teacher")
    if isinstance(analysis, Skipped):
        return [title, f"Not analysed: {analysis.skipped}."]
    methods, confidence = analysis.methods, analysis.teacher.confidence
    counts = [
        [name, *(_mean(sum(run.counts[count] for run in method.runs) / len(method.runs)) for count in COUNTS)]
        for name, method in methods.items()
    ]
    shares = [
        [name, *itertools.chain(*(_share(method, share) for share in SHARES))] for name, method in methods.items()
    ]
    seeds: list[list[Cell]] = [["teacher", "", _interval(analysis.teacher), "", ""]]
    for name, method in methods.items():
        for run in method.runs:
            tests: list[Cell] = [run.tests.get(other, "") for other in ("teacher", "soft")]
            seeds.append([name, str(run.seed), _interval(run.score), *tests])
    return [
        title,
        f"The {'first ' * (analysis.teachers > 1)}teacher is right on {analysis.right:,} of {analysis.examples:,} "
        f"validation examples and wrong on {analysis.examples - analysis.right:,}.",
        Table(["method", *(name.replace("_", " ") for name in COUNTS)], counts),
        Table(["method", *itertools.chain(*((header, "minus soft") for header in SHARES.values()))], shares),
        _notes(methods, analysis.taught, confidence),
        Heading(3, "Each seed, over examples"),
        Table(["model", "seed", analysis.metric, "against the teacher", "against soft"], seeds),
        " ".join(
            [
                f"Intervals: {percent(confidence)} bootstrap over validation examples.",
                "Comparisons: examples that only this student gets right : only the other (the teacher, or soft of the "
                "same seed), and McNemar's exact test.",
                *holm_note(test for method in methods.values() for run in method.runs for test in run.tests.values()),
            ]
        ),
        *_class_tables(analysis),
        Heading(3, "Examples on which methods differ"),
        *_examples(analysis),
    ]


def _class_tables(analysis: Analysis) -> list[Block]:
    """Averages over classes and calibration, a line per model; each class of each model, with what it is taken for."""
    names = ("f1_macro", "f1_weighted", "calibration_error")
    averages = [
        [model, *(estimate_text(getattr(found, name), 3) for name in names)]
        for model, found in analysis.classes.items()
    ]
    taken = analysis.labels if len(analysis.labels) <= CONFUSED else ()
    classes: list[list[Cell]] = [
        [
            *(model, Quoted(label), f"{found.support[at]:,}"),
            *(f"{getattr(found, name)[at]:.3f}" for name in ("precision", "recall", "f1")),
            *map(_mean, found.confusion[at][: len(taken)]),
        ]
        for model, found in analysis.classes.items()
        for at, label in enumerate(analysis.labels)
    ]
    matrix = "The last columns are the confusion matrix: how many examples of the class are taken for which."
    if not taken:
        matrix = f"The confusion matrices, of {len(analysis.labels)} classes, are in errors.json."
    return [
        Heading(3, "Class by class"),
        Table(["method", "macro F1", "weighted F1", "calibration error"], averages),
        f"Expected calibration error over {BINS} bins of equal width: the mean distance of the probability that a "
        "model gives its prediction from the share of such predictions that are right.",
        Table(
            ["model", "class", "examples", "precision", "recall", "F1", *(Quoted(f"as {label}") for label in taken)],
            classes,
            2,
        ),
        f"Means over seeds. {matrix}",
    ]


def _mean(count: float) -> str:
    """A mean of counts, whole where it is."""
    return f"{count:,.1f}" if count % 1 else f"{count:,.0f}"


def _share(method: Method, name: str) -> list[Cell]:
    over_seeds = method.mean[name]
    return [
        "none to repeat" if over_seeds is None else estimate_text(over_seeds, 3),
        method.minus_soft.get(name, ""),
    ]


def _interval(score: Estimate) -> str:
    return f"{score.value:z.3f}" + ("" if score.low is None else f" [{score.low:z.3f}, {score.high:z.3f}]")


def _notes(methods: Mapping[str, Method], teachers: int, confidence: float) -> str:
    seeds = len(next(iter(methods.values())).runs)
    beside = "" if teachers == 1 else ", a student beside its own"
    spread = (
        f"Means over {over(seeds, teachers)}{beside}, with the {percent(confidence)} t interval."
        if seeds > 1
        else "One seed."
    )
    repeated = "A teacher's error is repeated where the student predicts the same wrong class."
    made = [test for method in methods.values() for test in method.minus_soft.values()]
    paired = [f"Differences are {pairing(teachers)}."] if made else []
    return " ".join([spread, *paired, *holm_note(made), repeated])


def _examples(analysis: Analysis) -> list[Block]:
    if not analysis.differ:
        return ["There are none."]
    most = max(len(example.texts) for example in analysis.differ)
    texts = (["validation row"], ["text"], ["first text", "second text"])[most]
    body: list[list[Cell]] = [
        [
            *(map(Quoted, example.texts) if most else [f"{example.row:,}"]),
            *(Quoted(example.label), Quoted(example.teacher)),
            *(Quoted(f"{vote.label} ({vote.right}/{vote.of})") for vote in example.methods.values()),
        ]
        for example in analysis.differ
    ]
    header = [*texts, "label", "teacher", *analysis.methods]
    note = "What most seeds predict, and in how many seeds that method is right. The largest differences come first."
    if not most:
        note += " Texts are not shown (report.texts in params.yaml); a row is counted from 0 in its source."
    return [Table(header, body, len(header)), note]
