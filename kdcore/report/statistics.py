"""Scores of repeated runs in; means, intervals, paired comparisons and a verdict in words out.

Two kinds of chance are kept apart. `mean` and `paired` speak about training again with other seeds;
`bootstrap` and `mcnemar` speak about drawing other validation examples for the same trained students.
"""

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kdcore.console import count_of
from kdcore.data.metrics import METRICS
from kdcore.distil.methods import INTERNAL

NO_DIFFERENCE = "no difference found"
AT_CHANCE = "both at chance"
RESAMPLES = 2000
_TOLERANCE = 1e-12  # scores are ratios of counts: smaller differences come from rounding

RANGES = {"agreement": (0.0, 1.0), **{name: (metric.low, 1.0) for name, metric in METRICS.items()}}
DISTANCES = ("soft_label_kl", "score_mse", *(loss.term for loss in INTERNAL.values()))
RANGES |= dict.fromkeys(DISTANCES, (0.0, np.inf))


def limits(metric: str) -> tuple[float, float]:
    """The lowest and highest value of a metric, of whatever split (`accuracy_mismatched`), or of a distance from the
    teacher, its total too; infinite where unknown."""
    return RANGES.get(metric) or RANGES.get(metric.rpartition("_")[0]) or (-np.inf, np.inf)


@dataclass(frozen=True)
class Estimate:
    """A value and its interval. Without an interval `low` and `high` are None, and `note` says why."""

    value: float
    low: float | None
    high: float | None
    n: int
    confidence: float
    note: str = ""

    def within(self, least: float, most: float) -> Self:
        """The same with an interval that ends where the values do: a t interval knows no limits, a metric has some."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(self.low, least), high=min(self.high, most))

    def facts(self) -> dict[str, Any]:
        """Its numbers by name, as files have them."""
        return {"value": self.value, "low": self.low, "high": self.high} | ({"note": self.note} if self.note else {})


@dataclass(frozen=True)
class Difference:
    """Method minus baseline. `p` is of the paired t test; None where the seeds allow no test.

    p_holm: that p after Holm's correction for every comparison of the same table; None before, and where p is None.
    """

    estimate: Estimate
    p: float | None
    p_holm: float | None = None

    @property
    def confidence(self) -> float:
        return self.estimate.confidence

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, `no difference found`, or why nothing can be said."""
        return verdict(self.estimate)

    def within(self, least: float, most: float) -> Self:
        """The same with an interval that ends where differences do."""
        return replace(self, estimate=self.estimate.within(least, most))

    def facts(self) -> dict[str, Any]:
        """Its numbers by name, as files have them."""
        return self.estimate.facts() | {"p": self.p, "p_holm": self.p_holm, "verdict": self.verdict}


@dataclass(frozen=True)
class McNemar:
    """Examples that only one of two classifiers gets right, and the exact two-sided p of such a split."""

    only_first: int
    only_second: int
    p: float
    verdict: str
    confidence: float
    p_holm: float | None = None


class Tested(Protocol):
    """A comparison: its p, and the same after Holm's correction; None where nothing could be tested."""

    @property
    def p(self) -> float | None: ...
    @property
    def p_holm(self) -> float | None: ...
    @property
    def confidence(self) -> float: ...
    @property
    def verdict(self) -> str: ...


def star(test: Tested) -> str:
    """`*` where a comparison is found after Holm's correction too."""
    return "*" * (test.p_holm is not None and test.p_holm < 1 - test.confidence)


@dataclass(frozen=True)
class Degenerate:
    """How many of the runs give one answer for all."""

    runs: int
    of: int

    def __str__(self) -> str:
        return f"{self.runs}/{self.of}"


def _finite(scores: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"scores must be finite numbers, at least one; found {list(scores)}")
    return values


def _why_no_interval(values: NDArray[np.float64], what: str) -> str:
    """One run gives no spread, and a spread of zero would claim certainty: neither has a t interval."""
    if len(values) < 2:
        return f"one {what}"
    return f"the {what}s do not differ" if np.ptp(values) < _TOLERANCE else ""


def mean(scores: Sequence[float], confidence: float, teachers: Sequence[Hashable] = ()) -> Estimate:
    """Mean over seeds with its two-sided t interval; one seed, or seeds without spread, give no interval.

    teachers: that of each score. Where there are several, the scores of each are averaged first, and mean and interval
    are over teachers: the students of one teacher are not independent draws. n is then the number of teachers.
    """
    values, what = _finite(scores), "seed"
    if len(set(teachers)) > 1:
        values, what = _by_teacher(values, teachers), "teacher"
    centre = float(values.mean())
    if note := _why_no_interval(values, what):
        return Estimate(centre, None, None, len(values), confidence, note)
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    return Estimate(centre, float(interval.low), float(interval.high), len(values), confidence)


def over(runs: int, teachers: int) -> str:
    """What `mean` and its interval are over, of so many runs by so many teachers: `3 seeds`, or `2 teachers`."""
    return count_of(runs, "seed") if teachers == 1 else count_of(teachers, "teacher")


def _by_teacher(values: NDArray[np.float64], teachers: Sequence[Hashable]) -> NDArray[np.float64]:
    """The mean over each teacher's students, teachers in the order of their first."""
    owner = list(teachers)
    return np.array([values[[one == teacher for one in owner]].mean() for teacher in dict.fromkeys(owner)])


def paired(
    method: Mapping[int, float],
    baseline: Mapping[int, float],
    confidence: float,
    teachers: Mapping[int, Hashable] | None = None,
) -> Difference:
    """Mean of `method - baseline` over the seeds, with the interval and p of the paired t test.

    Both map a seed to a score. teachers: seed -> the teacher of both; where there are several, the differences of each
    are averaged first, and the test is over teachers. Raises ValueError when the seeds differ: unpaired seeds have no
    difference.
    """
    if method.keys() != baseline.keys():
        raise ValueError(f"seeds differ: {sorted(method)} and {sorted(baseline)}")
    seeds = sorted(method)
    differences = _finite([method[seed] for seed in seeds]) - _finite([baseline[seed] for seed in seeds])
    owner = [teachers.get(seed) for seed in seeds] if teachers else []
    estimate = mean(differences.tolist(), confidence, owner)
    if estimate.low is None:
        return Difference(estimate, None)
    tested = _by_teacher(differences, owner) if len(set(owner)) > 1 else differences
    return Difference(estimate, float(stats.ttest_1samp(tested, 0.0).pvalue))


def verdict(difference: Estimate) -> str:
    """A difference in words. An interval that includes 0, its ends too, is `no difference found`."""
    if difference.low is None or difference.high is None:
        same = difference.n > 1 and abs(difference.value) < _TOLERANCE and difference.note != AT_CHANCE
        return NO_DIFFERENCE if same else f"not tested: {difference.note}"
    if difference.low <= 0.0 <= difference.high:
        return NO_DIFFERENCE
    return "higher" if difference.low > 0.0 else "lower"


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Each p after Holm's step-down correction for their number; a None, where nothing was tested, does not count.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than the one before it.
    """
    tested = sorted((value, place) for place, value in enumerate(p) if value is not None)
    after: list[float | None] = [None] * len(p)
    least = 0.0
    for before, (value, place) in enumerate(tested):
        least = max(least, min(1.0, value * (len(tested) - before)))
        after[place] = least
    return after


Test = TypeVar("Test", Difference, McNemar)


def corrected(table: Sequence[Mapping[str, Test]]) -> list[dict[str, Test]]:
    """The comparisons of one table, row by row, with `p_holm`: corrected for all that the table compares."""
    p = iter(holm([test.p for row in table for test in row.values()]))
    return [{name: replace(test, p_holm=next(p)) for name, test in row.items()} for row in table]


def bootstrap(
    metric: Callable[[NDArray, NDArray], float], labels: ArrayLike, predictions: ArrayLike, confidence: float
) -> Estimate:
    """One run's metric with the percentile interval over resampled validation examples.

    labels: (N,); predictions: (N, ...), in the form that `metric(labels, predictions)` takes. The same ones have the
    same interval. Two runs side by side in `predictions` and a metric that subtracts give a paired difference.
    """
    truth, predicted = np.asarray(labels), np.asarray(predictions)
    if len(truth) != len(predicted) or not len(truth):
        raise ValueError(f"{len(truth)} labels and {len(predicted)} predictions")
    value = float(metric(truth, predicted))
    if len(truth) == 1:
        return Estimate(value, None, None, 1, confidence, "one example")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # the note below says it
        interval = stats.bootstrap(
            (np.arange(len(truth)),),
            lambda chosen: metric(truth[chosen], predicted[chosen]),
            n_resamples=RESAMPLES,
            vectorized=False,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
    if not np.isfinite([interval.low, interval.high]).all():
        return Estimate(value, None, None, len(truth), confidence, "undefined on some resamples")
    return Estimate(value, float(interval.low), float(interval.high), len(truth), confidence)


def mcnemar(labels: ArrayLike, first: ArrayLike, second: ArrayLike, confidence: float) -> McNemar:
    """McNemar's exact test of two classifiers on the same examples; all three arguments: (N,) class ids.

    Only the examples that exactly one of them gets right count: if the two are equally good, each of those is
    a fair coin.
    """
    truth, one, two = np.asarray(labels), np.asarray(first), np.asarray(second)
    if not truth.shape == one.shape == two.shape:
        raise ValueError(f"shapes differ: labels {truth.shape}, first {one.shape}, second {two.shape}")
    only_first = int(np.sum((one == truth) & (two != truth)))
    only_second = int(np.sum((one != truth) & (two == truth)))
    if only_first + only_second == 0:
        return McNemar(0, 0, 1.0, NO_DIFFERENCE, confidence)
    test = stats.binomtest(only_first, only_first + only_second, 0.5)
    share = test.proportion_ci(confidence, method="exact")
    excess = Estimate(test.statistic - 0.5, share.low - 0.5, share.high - 0.5, test.n, confidence)
    return McNemar(only_first, only_second, float(test.pvalue), verdict(excess), confidence)


def percent(confidence: float) -> str:
    """0.95 as `95%`, 0.975 as `97.5%`."""
    return f"{100 * confidence:g}%"


def degenerate(flags: Sequence[bool]) -> Degenerate:
    """Count the runs that give one answer for all (a correlation is then 0)."""
    return Degenerate(sum(bool(flag) for flag in flags), len(flags))
