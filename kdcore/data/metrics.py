"""Logits and labels → a task's metrics. Class ids and scores come as floats; every value is a plain float."""

from collections.abc import Sequence

import numpy as np
from scipy import stats
from sklearn import metrics


def task_metrics(names: Sequence[str], logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The named metrics of (N, K) logits against (N,) labels.

    f1 is that of the positive class, id 1, as in GLUE; a correlation with a constant is 0.
    """
    predicted = predictions(logits)
    return {name: _metric(name, predicted, labels) for name in names}


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


def _metric(name: str, predicted: np.ndarray, labels: np.ndarray) -> float:
    if name in ("pearson", "spearman"):
        if np.ptp(predicted) == 0 or np.ptp(labels) == 0:
            return 0.0
        found = stats.pearsonr(predicted, labels) if name == "pearson" else stats.spearmanr(predicted, labels)
        return float(found.statistic)
    if name == "matthews":
        if np.ptp(predicted) == 0 or np.ptp(labels) == 0:
            return 0.0
        return float(metrics.matthews_corrcoef(labels, predicted))
    if name == "f1":
        return float(metrics.f1_score(labels, predicted, pos_label=1, average="binary", zero_division=0.0))
    return float(metrics.accuracy_score(labels, predicted))
