"""The runs of points.read in; one Row per task and choice out. Every table, picture and page shows these rows.

What is computed of repeated runs is computed here: means with their intervals, differences paired by seed and corrected
for their number, closeness to the teacher, cost, degenerate runs.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import pandas as pd
from scipy.stats import rankdata

from kdcore.distil.methods import INTERNAL
from kdcore.report.methods import ordered
from kdcore.report.points import Run
from kdcore.report.statistics import (
    AT_CHANCE,
    Degenerate,
    Difference,
    Estimate,
    corrected,
    degenerate,
    limits,
    mean,
    paired,
)

CLOSENESS = {"agreement": "agreement", "soft_label_kl": "soft-label KL", "score_mse": "score MSE"}  # column -> title
for loss in INTERNAL.values():
    maps = loss.needs == "attention"
    CLOSENESS[loss.term] = f"{loss.title}, mean" if maps else loss.title
    CLOSENESS |= {f"{loss.term}_total": f"{loss.title}, total"} if maps else {}

NOTHING_LEARNED = ("constant", "chance", "flat")
CAUTIONS = {  # kind of warning -> in a table's words
    "constant": "one answer for all",
    "chance": "no better than one answer for all",
    "flat": "nearly one answer for all",
    "falling": "loss still falling at the end",
}

Keys = Mapping[str, Any]  # e.g. {"method": "sid", "layers": 3}
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Seed:
    """One run of a row.

    seed: None for a teacher that was fine-tuned elsewhere; teacher_seed: of a student's teacher; warnings: kind ->
    words; selected: the epoch that was kept because it scored best, None for the last; used: the training rows, where
    more were asked for.
    """

    seed: int | None
    score: float
    degenerate: bool
    teacher_seed: int | None = None
    warnings: Mapping[str, str] = field(default_factory=dict)
    selected: int | None = None
    used: int | None = None


@dataclass(frozen=True)
class Row:
    """The runs of one task that share their keys.

    metric: the headline metric, which `score` is the mean of; metrics: the others; differences: `score` minus that of
    another row, by name; closeness: to the teacher; cost: means over the runs; warned: what speaks against its runs, by
    kind, and how many of them have it.
    """

    task: str
    keys: Keys
    metric: str
    score: Estimate
    metrics: Mapping[str, Estimate]
    closeness: Mapping[str, Estimate]
    cost: Mapping[str, float]
    degenerate: Degenerate
    runs: tuple[Seed, ...]
    differences: Mapping[str, Difference] = field(default_factory=dict)
    warned: Mapping[str, int] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.keys["method"]

    @property
    def teacher(self) -> bool:
        return self.method == "teacher"

    @property
    def teachers(self) -> int:
        """How many teachers its students have."""
        return len({run.teacher_seed for run in self.runs})

    @property
    def caution(self) -> str:
        """What must stand beside the score; empty where nothing speaks against it."""
        of = self.degenerate.of
        return "; ".join(
            CAUTIONS.get(kind, kind) if runs == of else f"in {runs} of {of} runs {CAUTIONS.get(kind, kind)}"
            for kind, runs in self.warned.items()
        )

    @property
    def at_chance(self) -> bool:
        """Whether none of its runs learned anything."""
        return sum(self.warned.get(kind, 0) for kind in NOTHING_LEARNED) == self.degenerate.of


def by_task(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each task, tasks and rows in their order."""
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        tasks.setdefault(row.task, []).append(row)
    return tasks


def students_of(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if not row.teacher]


Against = Callable[[Keys], Mapping[str, Keys]]  # keys of a row -> name and keys of each row that it is compared with


def baselines(keys: Keys) -> dict[str, Keys]:
    """None and soft. Soft is compared with none only, so that no pair is compared twice."""
    names = {"none": (), "soft": ("none",)}.get(keys["method"], ("none", "soft"))
    return {name: {**keys, "method": name} for name in names}


def summarise(runs: Sequence[Run], by: Sequence[str], against: Against, confidence: float) -> list[Row]:
    """A row per task and combination of `by`: tasks as they come, methods in the tables' order, the rest as it comes.

    runs: of points.read; by: their fields that make a row, `method` among them. The comparisons of a task are corrected
    for their number; no row is compared with itself, or with one that is not there.
    """
    rows: list[Row] = []
    for task in dict.fromkeys(run["task"] for run in runs):
        groups: dict[tuple[Any, ...], list[Run]] = {}
        for run in runs:
            if run["task"] == task:
                groups.setdefault(tuple(run.get(name) for name in by), []).append(run)
        table = [_row(dict(zip(by, values, strict=True)), group, confidence) for values, group in groups.items()]
        order = ordered(row.method for row in table)
        rows += _compared(sorted(table, key=lambda row: order.index(row.method)), against, confidence)
    return rows


def _row(keys: Keys, runs: Sequence[Run], confidence: float) -> Row:
    metric, teachers = runs[0]["metric"], [run["teacher_seed"] for run in runs]
    scores = _estimates([run["scores"] for run in runs], confidence, teachers)
    costs = [run["cost"] for run in runs]
    return Row(
        task=runs[0]["task"],
        keys=keys,
        metric=metric,
        score=scores.pop(metric),
        metrics=scores,
        closeness=_estimates([run["closeness"] for run in runs], confidence, teachers),
        cost={name: _mean_cost([cost[name] for cost in costs]) for name in _shared(costs)},
        degenerate=degenerate([run["degenerate"] for run in runs]),
        warned=Counter(kind for run in runs for kind in _warnings(run)),
        runs=tuple(Seed(**{each.name: run[each.name] for each in fields(Seed)}) for run in runs),
    )


def _warnings(run: Run) -> list[str]:
    """The kinds of its warnings, a degenerate run having one whatever wrote its point."""
    return list(dict.fromkeys([*["constant"] * run["degenerate"], *run["warnings"]]))


def _shared(runs: Sequence[Mapping[str, float]]) -> list[str]:
    """The names that every run has: a mean over some of the seeds would not be the row's."""
    return [name for name in runs[0] if all(name in run for run in runs)]


def _estimates(
    runs: Sequence[Mapping[str, float]], confidence: float, teachers: Sequence[int | None]
) -> dict[str, Estimate]:
    return {
        name: mean([run[name] for run in runs], confidence, teachers).within(*limits(name)) for name in _shared(runs)
    }


def _mean_cost(values: Sequence[float]) -> float:
    """Counts stay whole: the seeds share one architecture."""
    return int(values[0]) if len(set(values)) == 1 and values[0] % 1 == 0 else sum(values) / len(values)


def _compared(table: Sequence[Row], against: Against, confidence: float) -> list[Row]:
    """The rows of one task with their differences."""
    place = {tuple(row.keys.items()): at for at, row in enumerate(table)}
    scores = {at: {run.seed: run.score for run in row.runs} for at, row in enumerate(table)}
    others = {
        at: {
            name: place.get(tuple((key, other.get(key)) for key in row.keys))
            for name, other in against(row.keys).items()
        }
        for at, row in enumerate(table)
        if not row.teacher
    }
    least, most = limits(table[0].metric)
    nothing = {at for at, row in enumerate(table) if row.at_chance}
    teachers = {run.seed: run.teacher_seed for row in table if not row.teacher for run in row.runs}
    made = differences(scores, others, confidence, teachers, most - least, nothing)
    return [replace(row, differences=own) for row, own in zip(table, made.values(), strict=True)]


def differences(
    scores: Mapping[Key, Mapping[Any, float]],
    others: Mapping[Key, Mapping[str, Key | None]],
    confidence: float,
    teachers: Mapping[Any, int | None],
    widest: float,
    at_chance: Collection[Key] = (),
) -> dict[Key, dict[str, Difference]]:
    """Every comparison of one table: paired by seed, and corrected for the number of them all.

    scores: row -> seed -> score; others: row -> name of a comparison -> the row that is subtracted (None, itself and
    rows that are not there are left out); teachers: seed -> the teacher's; widest: a difference's largest value;
    at_chance: rows that learned nothing, two of which are not tested: whichever is higher, there is nothing to find.
    """
    made = [
        {
            name: paired(scores[row], scores[other], confidence, teachers)
            for name, other in others.get(row, {}).items()
            if other is not None and other in scores and other != row
        }
        for row in scores
    ]
    made = [
        {
            name: _untested(one) if {row, others[row][name]} <= {*at_chance} else one.within(-widest, widest)
            for name, one in tests.items()
        }
        for row, tests in zip(scores, made, strict=True)
    ]
    return dict(zip(scores, corrected(made), strict=True))


def _untested(difference: Difference) -> Difference:
    return Difference(replace(difference.estimate, low=None, high=None, note=AT_CHANCE), None)


AVERAGE = "average"


@dataclass(frozen=True)
class Overall:
    """One method over all tasks.

    average: the row of its runs, each run the mean over tasks of the headline metric with one seed; by_task: its rows;
    rank: its rank among the students by mean score, the mean over tasks, 1 being the best; None for the teacher.
    """

    average: Row
    by_task: Mapping[str, Row]
    rank: float | None

    @property
    def method(self) -> str:
        return self.average.method


def overall(runs: Sequence[Run], rows: Sequence[Row], confidence: float) -> list[Overall]:
    """A line per method over all tasks, in the tables' order; the differences are those of the averages.

    runs: of points.read; rows: what `summarise` makes of them by method. A seed's scores on all tasks are averaged
    first, so one interval and one test speak of tasks and seeds together, and are corrected for the number of methods
    that are compared: nothing else is tested in this table. Tasks are taken as they are, not as draws of other tasks.
    """
    tasks = list(dict.fromkeys(row.task for row in rows))
    found: dict[tuple[str, str], list[Run]] = {}  # of each task and method, the seeds in one order
    for run in runs:
        found.setdefault((run["method"], run["task"]), []).append(run)
    methods = dict.fromkeys(method for method, _ in found)
    by_seed = [zip(*(found[method, task] for task in tasks), strict=True) for method in methods]
    averages = [_averaged(group) for groups in by_seed for group in groups]
    ranks = [_ranks(table) for table in by_task(rows).values()]
    lines = []
    for average in summarise(averages, ["method"], baselines, confidence):
        own = {row.task: row for row in rows if row.method == average.method}
        rank = None if average.teacher else sum(ranked[average.method] for ranked in ranks) / len(ranks)
        lines.append(Overall(average, own, rank))
    return lines


def _averaged(group: Sequence[Run]) -> Run:
    """The runs of one method and seed on all tasks as one run, which learned nothing where it did on no task."""
    score = sum(run["score"] for run in group) / len(group)
    constant = all(run["degenerate"] for run in group)
    nothing = all({*_warnings(run)} & {*NOTHING_LEARNED} for run in group)
    facts = {name: group[0][name] for name in ("method", "seed", "teacher_seed")} | {"task": AVERAGE}
    found = {"degenerate": constant, "warnings": {"chance": ""} if nothing and not constant else {}}
    found |= {"selected": None, "used": None}
    return facts | found | {"metric": AVERAGE, "score": score, "scores": {AVERAGE: score}, "closeness": {}, "cost": {}}


def _ranks(table: Sequence[Row]) -> dict[str, float]:
    """Method -> its rank by mean score among the students of one task; equal ones share the mean of their ranks."""
    students = students_of(table)
    ranks = rankdata([-row.score.value for row in students])
    return {row.method: float(rank) for row, rank in zip(students, ranks, strict=True)}


def overall_frame(lines: Sequence[Overall]) -> pd.DataFrame:
    """The lines with one column per number: each task's headline metric, the average, the rank, the differences.

    degenerate: how many seeds give one answer for all on every task.
    """
    rows = [
        {"method": line.method, "runs": line.average.degenerate.of, "degenerate": line.average.degenerate.runs}
        | _columns({f"{task}_{row.metric}": row.score for task, row in line.by_task.items()})
        | _columns({AVERAGE: line.average.score})
        | {"rank": line.rank}
        | _columns({f"{AVERAGE}_minus_{name}": made for name, made in line.average.differences.items()})
        for line in lines
    ]
    return pd.DataFrame(rows, columns=list(dict.fromkeys(name for row in rows for name in row)))


def to_frame(table: Sequence[Row]) -> pd.DataFrame:
    """The table with one column per number; a metric's columns carry its name, so no column mixes metrics.

    Order: what the row is, metrics and differences, closeness, cost.
    """
    rows = [
        (
            {"task": row.task, **row.keys, "metric": row.metric, "runs": row.degenerate.of}
            | {"degenerate": row.degenerate.runs}
            | _columns({row.metric: row.score, **row.metrics})
            | _columns({f"{row.metric}_minus_{name}": one for name, one in row.differences.items()}),
            _columns(row.closeness),
            dict(row.cost),
        )
        for row in table
    ]
    names = dict.fromkeys(name for parts in zip(*rows, strict=True) for part in parts for name in part)
    return pd.DataFrame([first | second | third for first, second, third in rows], columns=list(names))


def _columns(numbers: Mapping[str, Estimate | Difference]) -> dict[str, Any]:
    """`accuracy`, `accuracy_low`, ... of each."""
    return {
        name if fact == "value" else f"{name}_{fact}": value
        for name, number in numbers.items()
        for fact, value in number.facts().items()
        if fact != "note"
    }
