"""Predictions of the headline run in; how its students repeat the teacher's errors out: errors.json, .md and .csv.

Shapes: N validation examples, K classes. Per method and seed it says how often teacher and student are right, and
tests what can be tested: over seeds (agreement, repeated errors), and over examples for each seed (score, McNemar).
Sentences and labels are other people's text: shown, never obeyed.
"""

import itertools
import json
import re
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
from kdcore.errors import UserError
from kdcore.report import points
from kdcore.report.markdown import Block, Cell, Heading, Table, estimate_text, holm_note, to_markdown
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
    star,
)
from kdcore.report.summary import differences
from kdcore.report.write import csv, write_all
from kdcore.studies import teacher_of

COUNTS = ("both_right", "only_teacher_right", "only_student_right", "both_wrong")
SHARES = {"agreement": "agreement", "repeated_errors": "repeats the teacher's errors"}  # name -> header
SKIPPED = "a regression predicts numbers, which are neither right nor wrong"
MOST = 30  # examples of one task
LONGEST = 200  # characters of a text that are shown; errors.csv has them all


@dataclass(frozen=True)
class Outputs:
    """What the models of one task predict on its validation data."""

    task: Task
    labels: NDArray[np.number]  # (N,) class ids
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
class Analysis:
    """One task. teachers: how many; right: examples that the first of them gets right, whose score `teacher` is."""

    examples: int
    metric: str
    teachers: int
    right: int
    teacher: Estimate
    methods: Mapping[str, Method]


def write_errors(
    predicted: Path,
    data: Path,
    out: Path,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    teachers: Sequence[int],
    confidence: float,
) -> None:
    """Write the error analysis of every task, and the examples behind it, into `out`.

    predicted: <task>/teacher-s<seed>.parquet and <task>/<method>-s<seed>.parquet; data: prepared data, <task>/ each.
    Raises UserError where predictions are missing, or are not of the same examples.
    """
    wanted = points.headline(predicted, tasks, methods, seeds, teachers)
    points.check_all_exist([replace(point, path=point.path.with_suffix(".parquet")) for point in wanted])
    facts: dict[str, Any] = {}
    blocks: list[Block] = []
    shown = [pd.DataFrame(columns=["task"])]
    for task in tasks:
        prepared = Data.open(data / task)
        rows = prepared.frame("validation")
        outputs = _outputs(predicted / task, prepared, rows, methods, seeds, teachers)
        analysis = analyse(outputs, confidence)
        table = examples(outputs, rows) if analysis else shown[0]
        facts[task] = to_json(analysis) if analysis else {"skipped": SKIPPED}
        blocks += section(task, analysis, table)
        shown.append(table)
    table = pd.concat([part for part in shown if len(part)] or shown[:1], ignore_index=True)
    text = json.dumps(_short(facts), indent=2, ensure_ascii=False) + "\n"
    write_all(out, {"errors.json": text, "errors.csv": csv(table), "errors.md": to_markdown(blocks)}, {})


def _short(value: Any) -> Any:
    """Floats with six significant digits, as in every CSV here: enough for any score, and stable in git diffs."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


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
        teachers={seed: _logits(folder / f"teacher-s{seed}.parquet", rows) for seed in teachers},
        students={
            method: {seed: _logits(folder / f"{method}-s{seed}.parquet", rows) for seed in seeds} for method in methods
        },
    )


def _logits(path: Path, rows: pd.DataFrame) -> NDArray[np.floating]:
    """(N, K) logits of the validation split. Raises UserError where they are not those of `rows`."""
    rerun = "run `dvc repro -f evaluate`"
    try:
        table = pd.read_parquet(path)
        table = table[table["split"] == "validation"]
        logits = table.filter(regex=r"^logit_\d+$").to_numpy(dtype=np.float64)
        same = table["row"].tolist() == rows["row"].tolist()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(str(path), f"predictions can't be read ({error}); {rerun}") from error
    if not same or not logits.shape[1]:
        raise UserError(str(path), f"is not of the examples of the prepared data; {rerun}")
    return logits


def analyse(outputs: Outputs, confidence: float) -> Analysis | None:
    """The error analysis of one task; a regression has none."""
    if outputs.task.regression:
        return None
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
    return Analysis(len(outputs.labels), outputs.task.metrics[0], len(teachers), right, teacher, methods)


def _over_seeds(shares: Mapping[int, float], teachers: Mapping[int, int], confidence: float) -> Estimate:
    return mean(list(shares.values()), confidence, [teachers[seed] for seed in shares]).within(0.0, 1.0)


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


def to_json(analysis: Analysis) -> dict[str, Any]:
    """The analysis of one task as errors.json has it."""
    return {
        "examples": analysis.examples,
        "metric": analysis.metric,
        "teacher": {
            "right": analysis.right,
            "wrong": analysis.examples - analysis.right,
            "score": analysis.teacher.facts(),
        },
        "methods": {
            name: {
                "runs": [
                    {"seed": run.seed, **run.counts, **run.shares, "score": run.score.facts()}
                    | {f"against_{other}": _test(test) for other, test in run.tests.items()}
                    for run in method.runs
                ],
                "mean": {share: value and value.facts() for share, value in method.mean.items()},
                "minus_soft": {share: made.facts() for share, made in method.minus_soft.items()},
            }
            for name, method in analysis.methods.items()
        },
    }


def _test(test: McNemar) -> dict[str, Any]:
    counts = {"only_student": test.only_first, "only_other": test.only_second}
    return counts | {"p": test.p, "verdict": test.verdict, "p_holm": test.p_holm}


def section(task: str, analysis: Analysis | None, table: pd.DataFrame) -> list[Block]:
    """One task: counts and shares over seeds, tests of each seed, the examples on which methods differ."""
    title = Heading(2, f"{task}: how students repeat the teacher")
    if analysis is None:
        return [title, f"Not analysed: {SKIPPED}."]
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
            tests = [_tested(run.tests[other]) if other in run.tests else "" for other in ("teacher", "soft")]
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
        Heading(3, "Examples on which methods differ"),
        *_examples(table, list(methods)),
    ]


def _share(method: Method, name: str) -> list[Cell]:
    over_seeds = method.mean[name]
    return [
        "none to repeat" if over_seeds is None else estimate_text(over_seeds, 3),
        method.minus_soft.get(name, ""),
    ]


def _interval(score: Estimate) -> str:
    return f"{score.value:z.3f}" + ("" if score.low is None else f" [{score.low:z.3f}, {score.high:z.3f}]")


def _tested(test: McNemar) -> str:
    return f"{test.only_first} : {test.only_second}, p = {test.p:.3g}, {test.verdict}{star(test)}"


def _notes(methods: Mapping[str, Method], teachers: int, confidence: float) -> str:
    seeds = len(next(iter(methods.values())).runs)
    over = f"{seeds} seeds" if teachers == 1 else f"{teachers} teachers, a student beside its own"
    spread = f"Means over {over}, with the {percent(confidence)} t interval." if seeds > 1 else "One seed."
    repeated = "A teacher's error is repeated where the student predicts the same wrong class."
    made = [test for method in methods.values() for test in method.minus_soft.values()]
    return " ".join([spread, "Differences are paired by seed.", *holm_note(made), repeated])


def _examples(table: pd.DataFrame, methods: Sequence[str]) -> list[Block]:
    if table.empty:
        return ["There are none."]
    texts = [name for name in ("text_a", "text_b") if table[name].notna().any()]
    header = [*(("text",) if len(texts) == 1 else ("first text", "second text")), "label", "teacher", *methods]
    body = [
        [
            *(*(plain(row[name]) for name in texts), plain(row["label"]), plain(row["teacher"])),
            *(f"{plain(row[method])} ({row[f'{method}_right']})" for method in methods),
        ]
        for row in table.to_dict("records")
    ]
    note = "What most seeds predict, and in how many seeds that method is right. The largest differences come first."
    return [Table(header, body, len(header)), note]


def plain(text: object) -> str:
    """Text on one line that Markdown shows as it is: no tag, no link, no emphasis; shortened where it is long."""
    line = " ".join(str(text).split())
    line = line if len(line) <= LONGEST else line[:LONGEST] + "…"
    return re.sub(r"[\\`*_\[\]<>#~!@$]", r"\\\g<0>", line.replace("&", "&amp;")).replace("|", "&#124;")


def examples(outputs: Outputs, rows: pd.DataFrame, most: int = MOST) -> pd.DataFrame:
    """One row per telling example: its text, its label, what the teacher and most seeds of each method predict.

    rows: the prepared validation data, in the order of the predictions. Beside each method stands how many of its
    seeds are right, e.g. 2/3.
    """
    chosen = telling(outputs, most)

    def names(ids: NDArray[np.number]) -> list[str]:
        return [outputs.task.labels[int(one)] for one in ids[chosen]]

    columns: dict[str, Any] = {
        "task": outputs.task.name,
        **{name: rows[name].iloc[chosen].tolist() for name in ("row", "text_a", "text_b")},
        "label": names(outputs.labels),
        "teacher": names(predictions(outputs.teacher)),
    }
    for method, runs in outputs.students.items():
        columns[method] = names(_usual(outputs, method))
        columns[f"{method}_right"] = [f"{count}/{len(runs)}" for count in _right_seeds(outputs, method)[chosen]]
    return pd.DataFrame(columns)


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
