"""The metrics of GLUE, by hand and against their definitions."""

import warnings
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdcore.data.metrics import (
    CLASS_METRICS,
    METRICS,
    SCORE_METRICS,
    degenerate,
    labelled_metrics,
    predictions,
    task_metrics,
)
from kdcore.data.tasks import BUILT_IN
from kdcore.params.read import load
from tests.unit.raw_files import write_params

# Predictions 1 1 1 0 0 0 1 0 against labels 1 1 0 0 0 1 1 1: TP 3, FP 1, FN 2, TN 2.
PREDICTED = np.asarray([1, 1, 1, 0, 0, 0, 1, 0])
LABELS = np.asarray([1.0, 1, 0, 0, 0, 1, 1, 1])
LOGITS = np.stack([1.0 - PREDICTED, PREDICTED.astype(float)], 1)
CLASSES = ("accuracy", "f1", "f1_macro", "f1_weighted", "matthews", "teacher_agreement")
SCORES = ("pearson", "spearman", "teacher_spearman")


def test_accuracy_f1_and_matthews_by_hand():
    found = task_metrics(("accuracy", "f1", "matthews"), LOGITS, LABELS)
    assert found["accuracy"] == 5 / 8
    assert found["f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))
    assert found["matthews"] == pytest.approx((3 * 2 - 1 * 2) / sqrt(4 * 5 * 3 * 4))
    assert all(type(value) is float for value in found.values())


def test_f1_is_that_of_class_one():
    # Of class 0 it would be 2 · 2 / (2 · 2 + 2 + 1) = 4/7.
    assert task_metrics(("f1",), LOGITS, LABELS)["f1"] == pytest.approx(6 / 9)
    assert task_metrics(("f1",), LOGITS[:, ::-1], 1 - LABELS)["f1"] == pytest.approx(4 / 7)


def test_f1_of_all_classes_by_hand():
    # 2/3 of the 5 examples of class 1, and 4/7 of the 3 of class 0.
    found = task_metrics(("f1_macro", "f1_weighted"), LOGITS, LABELS)
    assert found["f1_macro"] == pytest.approx((2 / 3 + 4 / 7) / 2)
    assert found["f1_weighted"] == pytest.approx((5 * 2 / 3 + 3 * 4 / 7) / 8)


def test_f1_of_three_classes_by_hand():
    # Predictions 0 1 2 2 against 0 1 1 2: F1 is 1, 2/3 and 2/3; class 1 has two examples.
    logits, labels = np.eye(3)[[0, 1, 2, 2]], np.asarray([0.0, 1, 1, 2])
    found = task_metrics(("f1_macro", "f1_weighted"), logits, labels)
    assert found["f1_macro"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert found["f1_weighted"] == pytest.approx((1 + 2 * 2 / 3 + 2 / 3) / 4)


def test_correlations_by_hand():
    # Scores 1 2 3 5 against 1 2 3 4: r = 6.5 / √(8.75 · 5) = 0.98270; the ranks are the same.
    found = task_metrics(("pearson", "spearman"), np.asarray([[1.0], [2.0], [3.0], [5.0]]), np.arange(1.0, 5.0))
    assert found["pearson"] == pytest.approx(6.5 / sqrt(8.75 * 5))
    assert found["spearman"] == pytest.approx(1.0)


def test_a_prediction_is_the_largest_logit_or_the_score_itself():
    assert predictions(np.asarray([[0.1, -2, 0.3], [5, 1, 1]])).tolist() == [2, 0]
    assert predictions(np.asarray([[0.25], [-3.0]])).tolist() == [0.25, -3.0]


def test_a_constant_prediction_is_no_correlation_and_no_error():
    constant = np.full((4, 1), 2.5)
    assert task_metrics(("pearson", "spearman"), constant, np.arange(4.0)) == {"pearson": 0.0, "spearman": 0.0}
    negative = np.asarray([[1.0, 0.0]] * 4)
    labels = np.asarray([0.0, 1, 0, 1])
    assert task_metrics(("matthews", "f1", "accuracy"), negative, labels) == {"matthews": 0, "f1": 0, "accuracy": 0.5}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert task_metrics(("matthews",), negative, np.zeros(4)) == {"matthews": 0.0}


def test_unlabelled_rows_are_left_out():
    labels = np.asarray([1.0, np.nan, 0.0, np.nan])
    logits = np.asarray([[0.0, 1], [1, 0], [0, 1], [0, 1]])
    assert labelled_metrics(("accuracy",), logits, labels) == {"accuracy": 0.5}


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=40))
def test_metrics_keep_their_definitions(pairs: list[tuple[int, int]]):
    predicted, labels = np.asarray(pairs, dtype=float).T
    found = task_metrics(("accuracy", "f1", "matthews"), np.stack([1 - predicted, predicted], 1), labels)
    tp, fp, fn = (predicted * labels).sum(), (predicted * (1 - labels)).sum(), ((1 - predicted) * labels).sum()
    tn = len(pairs) - tp - fp - fn
    assert found["accuracy"] == pytest.approx((tp + tn) / len(pairs))
    assert found["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp else 0)
    root = sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert found["matthews"] == pytest.approx((tp * tn - fp * fn) / root if root else 0)


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(-50, 50)), min_size=3, max_size=30))
def test_pearson_is_the_cosine_of_the_centred_scores(pairs: list[tuple[float, int]]):
    scores, labels = np.asarray(pairs, dtype=float).T
    assume(np.ptp(scores) > 1e-3)
    assume(np.ptp(labels) > 0)
    a, b = scores - scores.mean(), labels - labels.mean()
    found = task_metrics(("pearson",), scores[:, None], labels)["pearson"]
    assert found == pytest.approx(a @ b / sqrt((a @ a) * (b @ b)), abs=1e-6)


def test_one_prediction_for_all_is_degenerate():
    assert degenerate(np.asarray([[0.1, 0.9], [0.4, 0.6]]))
    assert not degenerate(np.asarray([[0.1, 0.9], [0.6, 0.4]]))
    assert degenerate(np.full((3, 1), 2.0))
    assert not degenerate(np.asarray([[2.0], [2.5]]))


def test_the_metrics_of_every_task_are_known():
    assert {name for task in BUILT_IN.values() for name in task.metrics} <= set(METRICS)
    assert set(CLASS_METRICS) == set(CLASSES)
    assert set(SCORE_METRICS) == set(SCORES)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=12))
def test_every_metric_keeps_its_range(pairs: list[tuple[int, int]]):
    """The best there is scores 1, unless the labels are constant and it is a correlation."""
    predicted, labels = np.asarray(pairs, dtype=float).T
    for names, logits in ((CLASSES, np.stack([1 - predicted, predicted], 1)), (SCORES, predicted[:, None])):
        for name, value in task_metrics(names, logits, labels).items():
            assert METRICS[name].low - 1e-9 <= value <= 1 + 1e-9


def test_params_allow_each_metric_by_its_name_alone(tmp_path: Path):
    """A metric is added in one place."""
    for name, metric in METRICS.items():
        own = {"text": ["t"], "label": "l", "labels": [] if metric.regression else ["a", "b"], "metrics": [name]}
        changes = {"task": {"movies": {}, "mine": own}, "model.name": "a/hub-name"}
        path = write_params(tmp_path / "params.yaml", changes)
        assert load(path).task["mine"].metrics == (name,)
