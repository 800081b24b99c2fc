"""The score of an epoch: the headline metric on the labelled ones of the first validation rows."""

import dataclasses

import numpy as np
import pytest
import torch

from kdcore.distil.training import validator
from kdcore.model.predict import logits_of
from tests.distilling import encoder, examples, train
from tests.on_disk import SCORES, TASK


def answers(model: torch.nn.Module, rows: int) -> np.ndarray:
    return logits_of(model, examples(rows=rows), 4).argmax(1)


def test_it_is_the_accuracy_of_the_first_rows_only():
    model, found = encoder(), examples(rows=20)
    right = answers(model, 20) == found.labels
    assert right[:7].mean() != right.mean()
    assert validator(TASK, found, train(history_rows=7, batch_size=4))(model) == pytest.approx(right[:7].mean())


def test_more_rows_than_there_are_is_all_of_them():
    model, found = encoder(), examples(rows=20)
    right = answers(model, 20) == found.labels
    assert validator(TASK, found, train(history_rows=1000))(model) == pytest.approx(right.mean())


def test_unlabelled_rows_count_neither_way():
    model, found = encoder(), examples(rows=20, unlabelled=(0, 3, 4))
    right = (answers(model, 20) == examples(rows=20).labels)[[1, 2, 5, 6, 7]]
    assert validator(TASK, found, train(history_rows=8))(model) == pytest.approx(right.mean())


def test_the_first_metric_of_the_task_is_the_headline():
    """Where every answer is wrong, Matthews is -1 and accuracy is 0."""
    model, found = encoder(), examples(rows=20)
    labels = answers(model, 20)
    assert 0 < labels.mean() < 1
    wrong = dataclasses.replace(found, labels=1.0 - labels)
    for metrics, expected in ((("matthews", "accuracy"), -1.0), (("accuracy", "matthews"), 0.0)):
        task = dataclasses.replace(TASK, metrics=metrics)
        assert validator(task, wrong, train(history_rows=20))(model) == pytest.approx(expected)


def test_a_regression_is_scored_by_its_correlation():
    model, found = encoder(labels=1), examples(rows=12, labels=1)
    own = logits_of(model, found, 4)[:, 0].astype(np.float64)
    same = dataclasses.replace(found, labels=2 * own + 1)
    assert validator(SCORES, same, train(history_rows=12))(model) == pytest.approx(1.0)


def test_it_scores_without_dropout_and_draws_nothing_at_random():
    model, found = encoder(), examples(rows=20)
    score = validator(TASK, found, train(history_rows=20))
    expected = score(model)
    before = torch.get_rng_state()
    assert [score(model.train()) for _ in range(5)] == [expected] * 5
    assert torch.equal(torch.get_rng_state(), before)
