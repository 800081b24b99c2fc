"""A classifier's predictions in full: precision, recall and F1 of each class, who is taken for whom, and calibration.

Shapes: N examples, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kdcore.data.metrics import task_metrics

BINS = 15  # of equal width from 0 to 1, as in Guo et al., "On Calibration of Modern Neural Networks", 2017
AVERAGED = ("f1_macro", "f1_weighted")


def classification(logits: NDArray[np.floating], labels: NDArray[np.floating]) -> dict[str, Any]:
    """What JSON files hold of (N, K) logits against (N,) class ids, a row whose label is NaN left out.

    `f1_macro`, `f1_weighted`; `precision`, `recall`, `f1` and `support` (examples), each a list with a number per
    class, 0 where there is nothing to divide by; `confusion`, K × K counts, a row per label and a column per
    prediction; `calibration_error`.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support  # seconds, as in data/metrics.py

    known = ~np.isnan(labels)
    logits, truth = logits[known], labels[known].astype(np.int64)
    predicted, classes = logits.argmax(1), np.arange(logits.shape[1])
    by_class = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0.0)
    return {
        **task_metrics(AVERAGED, logits, truth),
        **dict(zip(("precision", "recall", "f1", "support"), (part.tolist() for part in by_class), strict=True)),
        "confusion": confusion_matrix(truth, predicted, labels=classes).tolist(),
        "calibration_error": calibration_error(logits, truth),
    }


def calibration_error(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The expected calibration error: how far the probability of the predicted class is from the share that is right.

    Examples are binned by that probability, a bin's upper end belonging to it; a bin counts by its number of examples.
    """
    sure, right = softmax(logits.astype(np.float64), axis=1).max(1), logits.argmax(1) == labels
    bins = np.digitize(sure, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
    # A bin's |share right - mean probability|, times its number of examples, is the |sum of the differences|.
    return float(np.abs(np.bincount(bins, right - sure)).sum() / len(labels))
