"""Predictions of the headline run in; how its students repeat the teacher's errors out: errors.json, .md and .csv.

Shapes: N validation examples, K classes. Per method and seed it says how often teacher and student are right, and
tests what can be tested: over seeds (agreement, repeated errors), and over examples for each seed (score, McNemar).
errors.json holds the analysis itself; Markdown and page draw the same rows of it. Sentences and labels are other
people's text: shown, never obeyed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdcore.data.metrics import predictions, task_metrics
from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.evaluation.classification import classification
from kdcore.evaluation.predictions import read_logits
from kdcore.report import points
from kdcore.report.analysis import (
    COUNTS,
    ERRORS,
    SHARES,
    Analysis,
    Classes,
    Example,
    Method,
    Seed,
    Skipped,
    Vote,
    section,
    to_frame,
)
from kdcore.report.markdown import to_markdown
from kdcore.report.statistics import (
    Estimate,
    bootstrap,
    corrected,
    limits,
    mcnemar,
    mean,
)
from kdcore.report.summary import differences
from kdcore.report.write import csv, write_all
from kdcore.studies import teacher_of

SKIPPED = "a regression predicts numbers, which are neither right nor wrong"
UNLABELLED = "its metrics take the teacher's answers for the truth, so the teacher makes no errors"
MOST = 30  # examples of one task


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
    """The error analysis of one task; a regression has none, nor has a task that is scored by the teacher.

    rows: the prepared validation data, in the order of the predictions.
    """
    if outputs.task.regression:
        return Skipped(SKIPPED)
    if outputs.task.by_teacher:
        return Skipped(UNLABELLED)
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
    taught_by = {seed: teacher_of(seed, teachers) for seeds in outputs.students.values() for seed in seeds}
    others = {(method, name): {"soft": ("soft", name)} for method, name in known}
    made = differences(known, others, confidence, taught_by, 1.0)
    methods = {
        method: Method(
            runs=seeds,
            mean={
                name: _over_seeds(known[method, name], taught_by, confidence) if (method, name) in known else None
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
            "teacher": _classes(outputs, outputs.teachers, {seed: seed for seed in teachers}, confidence),
            **{method: _classes(outputs, runs, taught_by, confidence) for method, runs in outputs.students.items()},
        },
        differ=examples(outputs, rows),
        taught=len({*taught_by.values()}),
    )


def _over_seeds(shares: Mapping[int, float], teachers: Mapping[int, int], confidence: float) -> Estimate:
    return mean(list(shares.values()), confidence, [teachers[seed] for seed in shares]).within(0.0, 1.0)


def _classes(
    outputs: Outputs, runs: Mapping[int, NDArray[np.floating]], teachers: Mapping[int, int], confidence: float
) -> Classes:
    """teachers: seed of each run -> its teacher's; a teacher is its own."""
    scored = [classification(logits, outputs.labels) for logits in runs.values()]
    averages: dict[str, Any] = {
        name: _over_seeds(dict(zip(runs, (run[name] for run in scored), strict=True)), teachers, confidence)
        for name in ("f1_macro", "f1_weighted", "calibration_error")
    }
    lists = {
        name: np.mean([run[name] for run in scored], axis=0).tolist()
        for name in ("precision", "recall", "f1", "confusion")
    }
    return Classes(**averages, **lists, support=scored[0]["support"])


def _run(outputs: Outputs, method: str, seed: int, confidence: float) -> Seed:
    """Counts, agreement, the share of the teacher's errors that it repeats (the same wrong class), and exact tests."""
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
        # The first classifier is the student: `higher` says that it alone is right more often. Of two constants one may
        # well be, and neither learned anything.
        tests={
            name: mcnemar(outputs.labels, student, other, confidence)
            for name, other in others.items()
            if np.ptp(student) or np.ptp(other)
        },
    )


def _score(outputs: Outputs, logits: NDArray[np.floating], confidence: float) -> Estimate:
    """The headline metric with its bootstrap interval over other validation examples that might have been drawn."""
    name = outputs.task.metrics[0]
    return bootstrap(
        lambda labels, drawn: task_metrics([name], drawn, labels)[name], outputs.labels, logits, confidence
    ).within(*limits(name))


def examples(outputs: Outputs, rows: pd.DataFrame) -> list[Example]:
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
        for at in telling(outputs, MOST)
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
