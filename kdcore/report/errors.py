"""Predictions of the headline run in; how its students repeat the teacher's errors out: errors.json, .md and .csv.

Shapes: N validation examples, K classes. Per method and seed it says how often teacher and student are right, and
tests what can be tested: over seeds (agreement, repeated errors), and over examples for each seed (score, McNemar).
errors.json holds the analysis itself; Markdown and page draw the same rows of it. Sentences and labels are other
people's text: shown, never obeyed.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import TypeAdapter

from kdcore.data.metrics import predictions, task_metrics
from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.evaluation.classification import BINS, classification
from kdcore.evaluation.predictions import read_logits
from kdcore.report import points
from kdcore.report.markdown import Block, Cell, Heading, Quoted, Table, estimate_text, holm_note, to_markdown
from kdcore.report.statistics import (
    Difference,
    Estimate,
    McNemar,
    bootstrap,
    corrected,
    limits,
    mcnemar,
    mean,
    percent,
)
from kdcore.report.summary import differences
from kdcore.report.write import csv, write_all
from kdcore.studies import teacher_of

COUNTS = ("both_right", "only_teacher_right", "only_student_right", "both_wrong")
SHARES = {"agreement": "agreement", "repeated_errors": "repeats the teacher's errors"}  # name -> header
SKIPPED = "a regression predicts numbers, which are neither right nor wrong"
MOST = 30  # examples of one task
CONFUSED = 10  # classes of which a table still has room for a column each


@dataclass(frozen=True)
class Outputs:
    """What the models of one task predict on its validation data."""

    task: Task
    labels: NDArray[np.floating]  # (N,) class ids
    teachers: Mapping[int, NDArray[np.floating]]  # seed -> (N, K) logits
    students: Mapping[str, Mapping[int, NDArray[np.floating]]]  # method -> seed -> (N, K) logits

    @property
    def teacher(self) -> NDArray[np.floating]:
        """The first one's."""
        return next(iter(self.teachers.values()))

    def taught_by(self, seed: int) -> NDArray[np.floating]:
        """Those of the teacher of a student with this seed."""
        return self.teachers[teacher_of(seed, list(self.teachers))]


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
    classes: by model, the teacher first."""

    examples: int
    metric: str
    teachers: int
    right: int
    teacher: Estimate
    methods: Mapping[str, Method]
    labels: Sequence[str]
    classes: Mapping[str, Classes]
    differ: Sequence[Example]


@dataclass(frozen=True)
class Skipped:
    """A task that is not analysed, and why."""

    skipped: str


Errors: TypeAlias = dict[str, Analysis | Skipped]  # errors.json, by task
ERRORS = TypeAdapter(Errors)


def write_errors(
    predicted: Path,
    data: Path,
    out: Path,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    teachers: Sequence[int],
    confidence: float,
    texts: bool,
) -> None:
    """Write the error analysis of every task, and the examples behind it, into `out`.

    predicted: <task>/teacher-s<seed>.parquet and <task>/<method>-s<seed>.parquet; data: prepared data, <task>/ each;
    texts: whether to quote sentences of data that is not kdcore's own. Raises UserError where predictions are missing,
    or are not of the same examples.
    """
    wanted = points.headline(predicted, tasks, methods, seeds, teachers)
    points.check_all_exist([replace(point, path=point.path.with_suffix(".parquet")) for point in wanted])
    analyses: dict[str, Analysis | Skipped] = {}
    for task in tasks:
        prepared = Data.open(data / task)
        rows = prepared.frame("validation")
        outputs = _outputs(predicted / task, prepared, rows, methods, seeds, teachers)
        shown = rows if texts or prepared.task.embedded else rows.assign(text_a=None, text_b=None)
        analyses[task] = analyse(outputs, shown, confidence)
    blocks = [block for task, analysis in analyses.items() for block in section(task, analysis)]
    text = json.dumps(_short(ERRORS.dump_python(analyses, mode="json")), indent=2, ensure_ascii=False) + "\n"
    files = {"errors.json": text, "errors.csv": csv(to_frame(analyses)), "errors.md": to_markdown(blocks)}
    write_all(out, files, {})


def _short(value: Any) -> Any:
    """Floats with ten significant digits: what is read back shows the same, and git shows no other last bits."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


def _outputs(
    folder: Path,
    data: Data,
    rows: pd.DataFrame,
    methods: Sequence[str],
    seeds: Sequence[int],
    teachers: Sequence[int],
) -> Outputs:
    return Outputs(
        task=data.task,
        labels=rows["label"].to_numpy(dtype=np.float64),
        teachers={seed: read_logits(folder / f"teacher-s{seed}.parquet", rows) for seed in teachers},
        students={
            method: {seed: read_logits(folder / f"{method}-s{seed}.parquet", rows) for seed in seeds}
            for method in methods
        },
    )


def analyse(outputs: Outputs, rows: pd.DataFrame, confidence: float) -> Analysis | Skipped:
    """The error analysis of one task; a regression has none.

    rows: the prepared validation data, in the order of the predictions.
    """
    if outputs.task.regression:
        return Skipped(SKIPPED)
    runs = {(m, seed): _run(outputs, m, seed, confidence) for m, seeds in outputs.students.items() for seed in seeds}
    tests = corrected([run.tests for run in runs.values()])
    runs = {key: replace(run, tests=own) for (key, run), own in zip(runs.items(), tests, strict=True)}
    by_method = {method: [runs[method, seed] for seed in seeds] for method, seeds in outputs.students.items()}
    shares = {
        (method, name): {run.seed: run.shares[name] for run in seeds}
        for method, seeds in by_method.items()
        for name in SHARES
    }
    known = {key: {seed: v for seed, v in values.items() if v is not None} for key, values in shares.items()}
    known = {key: values for key, values in known.items() if values}
    teachers = list(outputs.teachers)
    by_seed = {seed: teacher_of(seed, teachers) for values in known.values() for seed in values}
    others = {(method, name): {"soft": ("soft", name)} for method, name in known}
    made = differences(known, others, confidence, by_seed, 1.0)
    methods = {
        method: Method(
            runs=seeds,
            mean={
                name: _over_seeds(known[method, name], by_seed, confidence) if (method, name) in known else None
                for name in SHARES
            },
            minus_soft={name: made[method, name]["soft"] for name in SHARES if made.get((method, name))},
        )
        for method, seeds in by_method.items()
    }
    right = int((predictions(outputs.teacher) == outputs.labels).sum())
    teacher = _score(outputs, outputs.teacher, confidence)
    return Analysis(
        examples=len(outputs.labels),
        metric=outputs.task.metrics[0],
        teachers=len(teachers),
        right=right,
        teacher=teacher,
        methods=methods,
        labels=outputs.task.labels,
        classes={
            "teacher": _classes(outputs, outputs.teachers, confidence),
            **{method: _classes(outputs, runs, confidence) for method, runs in outputs.students.items()},
        },
        differ=examples(outputs, rows),
    )


def _over_seeds(shares: Mapping[int, float], teachers: Mapping[int, int], confidence: float) -> Estimate:
    return mean(list(shares.values()), confidence, [teachers[seed] for seed in shares]).within(0.0, 1.0)


def _classes(outputs: Outputs, runs: Mapping[int, NDArray[np.floating]], confidence: float) -> Classes:
    scored = [classification(logits, outputs.labels) for logits in runs.values()]
    taught_by = {seed: teacher_of(seed, list(outputs.teachers)) for seed in runs}
    averages: dict[str, Any] = {
        name: _over_seeds(dict(zip(runs, (run[name] for run in scored), strict=True)), taught_by, confidence)
        for name in ("f1_macro", "f1_weighted", "calibration_error")
    }
    lists = {
        name: np.mean([run[name] for run in scored], axis=0).tolist()
        for name in ("precision", "recall", "f1", "confusion")
    }
    return Classes(**averages, **lists, support=scored[0]["support"])


def _run(outputs: Outputs, method: str, seed: int, confidence: float) -> Seed:
    """Counts, agreement, the share of the teacher's errors that are repeated word for word, and exact tests."""
    logits = outputs.students[method][seed]
    teacher, student = predictions(outputs.taught_by(seed)), predictions(logits)
    taught, learned = teacher == outputs.labels, student == outputs.labels
    cells = (taught & learned, taught & ~learned, ~taught & learned, ~taught & ~learned)
    same = teacher == student
    others = {"teacher": teacher}
    if method != "soft" and "soft" in outputs.students:
        others["soft"] = predictions(outputs.students["soft"][seed])
    return Seed(
        seed=seed,
        counts={name: int(cell.sum()) for name, cell in zip(COUNTS, cells, strict=True)},
        shares={
            "agreement": float(same.mean()),
            "repeated_errors": float(same[~taught].mean()) if (~taught).any() else None,
        },
        score=_score(outputs, logits, confidence),
        # The first classifier is the student: `higher` says that it alone is right more often.
        tests={name: mcnemar(outputs.labels, student, other, confidence) for name, other in others.items()},
    )


def _score(outputs: Outputs, logits: NDArray[np.floating], confidence: float) -> Estimate:
    """The headline metric with its bootstrap interval over other validation examples that might have been drawn."""
    name = outputs.task.metrics[0]
    return bootstrap(
        lambda labels, drawn: task_metrics([name], drawn, labels)[name], outputs.labels, logits, confidence
    ).within(*limits(name))


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
        [name, *(f"{sum(run.counts[count] for run in method.runs) / len(method.runs):,.1f}" for count in COUNTS)]
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
        _notes(methods, analysis.teachers, confidence),
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
            *(f"{count:,.1f}" if count % 1 else f"{count:,.0f}" for count in found.confusion[at][: len(taken)]),
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
    over = f"{seeds} seeds" if teachers == 1 else f"{teachers} teachers, a student beside its own"
    spread = f"Means over {over}, with the {percent(confidence)} t interval." if seeds > 1 else "One seed."
    repeated = "A teacher's error is repeated where the student predicts the same wrong class."
    made = [test for method in methods.values() for test in method.minus_soft.values()]
    return " ".join([spread, "Differences are paired by seed.", *holm_note(made), repeated])


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


def examples(outputs: Outputs, rows: pd.DataFrame, most: int = MOST) -> list[Example]:
    """The telling examples: text, label, what the teacher and most seeds of each method predict.

    rows: the prepared validation data, in the order of the predictions; its texts may be null.
    """
    names, teacher = outputs.task.labels, predictions(outputs.teacher)
    usual = {method: _usual(outputs, method) for method in outputs.students}
    right = {method: _right_seeds(outputs, method) for method in outputs.students}
    return [
        Example(
            row=int(rows["row"].iloc[at]),
            texts=[text for text in rows[["text_a", "text_b"]].iloc[at] if pd.notna(text)],
            label=names[int(outputs.labels[at])],
            teacher=names[int(teacher[at])],
            methods={
                method: Vote(names[usual[method][at]], int(right[method][at]), len(runs))
                for method, runs in outputs.students.items()
            },
        )
        for at in telling(outputs, most)
    ]


def telling(outputs: Outputs, most: int) -> list[int]:
    """Positions of at most `most` examples on which the methods differ, the largest difference first.

    A method's share for an example is that of the seeds that get it right; the difference is that between the
    methods with the highest and the lowest share. Ties stand in the order of the data.
    """
    shares = [_right_seeds(outputs, method) / len(runs) for method, runs in outputs.students.items()]
    gap = np.ptp(np.stack(shares), axis=0)
    order = np.argsort(-gap, kind="stable")
    return [int(position) for position in order[:most] if gap[position] > 0]


def _right_seeds(outputs: Outputs, method: str) -> NDArray[np.int64]:
    """(N,) how many of the method's seeds get each example right."""
    return np.sum([predictions(logits) == outputs.labels for logits in outputs.students[method].values()], axis=0)


def _usual(outputs: Outputs, method: str) -> NDArray[np.int64]:
    """(N,) the class that most of the method's seeds predict; of equally frequent ones the lowest id."""
    votes = np.stack([predictions(logits) for logits in outputs.students[method].values()])
    classes = range(len(outputs.task.labels))
    return np.stack([(votes == one).sum(0) for one in classes]).argmax(0)
