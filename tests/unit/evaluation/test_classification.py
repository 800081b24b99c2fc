"""Per-class scores, confusion and calibration, by hand and against scikit-learn's calibration curve."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from kdcore.evaluation.classification import BINS, calibration_error, classification


def logits_of(probabilities):
    return np.log(np.array(probabilities))


def test_every_number_by_hand():
    # Labels 0 0 0 1 1 2, predictions 0 0 1 1 1 0; the last row has no label.
    labels = np.array([0, 0, 0, 1, 1, 2, np.nan])
    found = classification(np.eye(3)[[0, 0, 1, 1, 1, 0, 2]], labels)
    assert found["confusion"] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert found["support"] == [3, 2, 1]
    assert found["precision"] == pytest.approx([2 / 3, 2 / 3, 0])
    assert found["recall"] == pytest.approx([2 / 3, 1, 0])
    assert found["f1"] == pytest.approx([2 / 3, 4 / 5, 0])
    assert found["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 3)
    assert found["f1_weighted"] == pytest.approx((3 * 2 / 3 + 2 * 4 / 5) / 6)


def test_calibration_by_hand():
    # Two examples of 0.9, one of them right; two of 0.6, both right: (2·|0.5 - 0.9| + 2·|1 - 0.6|) / 4.
    logits = logits_of([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.6, 0.4]])
    assert calibration_error(logits, np.array([0, 1, 1, 0])) == pytest.approx(0.4)


def test_errors_of_opposite_sign_cancel_within_a_bin_only():
    # 0.61 and 0.62 share a bin of (0.6, 0.667]: |1 - 1.23| / 2; 0.61 and 0.72 do not.
    same, other = logits_of([[0.61, 0.39], [0.62, 0.38]]), logits_of([[0.61, 0.39], [0.72, 0.28]])
    assert calibration_error(same, np.array([0, 1])) == pytest.approx(0.115)
    assert calibration_error(other, np.array([0, 1])) == pytest.approx((0.39 + 0.72) / 2)


def test_calibration_is_that_of_scikit_learns_curve():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(500, 3)) * 3, rng.integers(0, 3, 500)
    sure = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).max(1)
    right = logits.argmax(1) == labels
    share, mean = calibration_curve(right, sure, n_bins=BINS)  # bins that are not empty, in order
    counts = np.histogram(sure, BINS, (0, 1))[0]
    assert calibration_error(logits, labels) == pytest.approx((counts[counts > 0] * abs(share - mean)).sum() / 500)


def test_a_class_without_an_example_has_numbers_too():
    found = classification(np.eye(3)[[0, 0]], np.array([0.0, 1.0]))
    assert found["support"] == [1, 1, 0]
    assert found["f1"][2] == 0
    assert np.shape(found["confusion"]) == (3, 3)
