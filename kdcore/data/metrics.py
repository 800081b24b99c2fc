"""Logits and labels → a task's metrics. Class ids and scores come as floats; every value is a plain float.

A new metric is one entry of METRICS: params.yaml, its rules and the tasks follow. scipy and sklearn are imported when
a metric is computed, as params.yaml is checked against the names alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Compute = Callable[[np.ndarray, np.ndarray], float]  # (N,) labels, (N,) predictions -> the value


@dataclass(frozen=True)
class Metric:
    """compute: the value; regression: of numbers, not of classes; low: the least value, 1 being the best;
    classes: how many classes it is defined for, None where any number will do; by_teacher: whether it takes the
    teacher's answers for the truth, and no label."""

    compute: Compute
    regression: bool = False
    low: float = 0.0
    classes: int | None = None
    by_teacher: bool = False


def _accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import accuracy_score

    return accuracy_score(labels, predicted)


def _f1(average: str) -> Compute:
    """binary: F1 of class 1; macro: the mean of all classes' F1; weighted: their mean by number of examples."""

    def f1(labels: np.ndarray, predicted: np.ndarray) -> float:
        from sklearn.metrics import f1_score

        return f1_score(labels, predicted, average=average, zero_division=0.0)

    return f1


def _matthews(labels: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    return 0.0 if _constant(labels, predicted) else matthews_corrcoef(labels, predicted)


def _pearson(labels: np.ndarray, predicted: np.ndarray) -> float:
    from scipy.stats import pearsonr

    return 0.0 if _constant(labels, predicted) else pearsonr(predicted, labels).statistic


def _spearman(labels: np.ndarray, predicted: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return 0.0 if _constant(labels, predicted) else spearmanr(predicted, labels).statistic


def _constant(labels: np.ndarray, predicted: np.ndarray) -> bool:
    """A correlation with a constant is not defined; here it is 0, as the run learned nothing."""
    return bool(np.ptp(predicted) == 0 or np.ptp(labels) == 0)


METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy),
    "f1": Metric(_f1("binary"), classes=2),  # of the second of two labels, as in GLUE
    "f1_macro": Metric(_f1("macro")),
    "f1_weighted": Metric(_f1("weighted")),
    "matthews": Metric(_matthews, low=-1.0),
    "pearson": Metric(_pearson, regression=True, low=-1.0),
    "spearman": Metric(_spearman, regression=True, low=-1.0),
    "teacher_agreement": Metric(_accuracy, by_teacher=True),
    "teacher_spearman": Metric(_spearman, regression=True, low=-1.0, by_teacher=True),
}
CLASS_METRICS = tuple(name for name, metric in METRICS.items() if not metric.regression)
SCORE_METRICS = tuple(name for name, metric in METRICS.items() if metric.regression)


def without_labels(classes: Sequence[str]) -> str:
    """The metric of a task of those classes, or of a regression, whose rows have no labels."""
    return "teacher_agreement" if classes else "teacher_spearman"


def task_metrics(names: Sequence[str], logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The named metrics of (N, K) logits against (N,) labels."""
    predicted = predictions(logits)
    return {name: float(METRICS[name].compute(labels, predicted)) for name in names}


def labelled_metrics(names: Sequence[str], logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The named metrics on the rows that have a label (not NaN)."""
    known = ~np.isnan(labels)
    return task_metrics(names, logits[known], labels[known])


def predictions(logits: np.ndarray) -> np.ndarray:
    """(N,) class ids, or scores for a regression (K = 1)."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(1)


def degenerate(logits: np.ndarray) -> bool:
    """Whether every example gets the same prediction: the run learned nothing but a constant."""
    return bool(np.unique(predictions(logits)).size == 1)
