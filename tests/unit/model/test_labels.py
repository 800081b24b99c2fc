"""Labels: outputs in the task's order by name, never two for one, and only for the task's kind of problem."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcore.data.tasks import Task
from kdcore.errors import UserError
from kdcore.model.encoder import Encoder
from kdcore.model.labels import check_scale, labels_of, match_labels
from tests import tiny

TASK = Task("mine", ("sentence",), "label", ("bad", "good"), ("accuracy",))
SCORES = Task("mine", ("sentence",), "label", (), ("pearson",))


def matched(folder: Path, own: tuple[str, ...], task: Task) -> list[int]:
    """Which output of the file each of the task's labels got."""
    before = Encoder.load(tiny.save_finetuned(folder, labels=own)).output.weight
    encoder = Encoder.load(folder)
    match_labels(encoder, task, "mine")
    assert encoder.config.id2label == dict(enumerate(task.labels))
    rows = [next(i for i, row in enumerate(before) if (row == moved).all()) for moved in encoder.output.weight]
    biases = Encoder.load(folder).output.bias[rows]
    assert (encoder.output.bias == biases).all()
    return rows


@pytest.mark.parametrize(
    ("own", "task", "rows"),
    [
        (("bad", "good"), ("bad", "good"), [0, 1]),
        (("good", "bad"), ("bad", "good"), [1, 0]),
        (("GOOD", "Bad"), ("bad", "good"), [1, 0]),
        (("US", "us"), ("us", "US"), [1, 0]),
        (("us", "US"), ("us", "US"), [0, 1]),
        (("c", "a", "b"), ("a", "b", "c"), [1, 2, 0]),
    ],
)
def test_outputs_are_matched_by_name(tmp_path: Path, own: tuple[str, ...], task: tuple[str, ...], rows: list[int]):
    assert matched(tmp_path, own, replace(TASK, labels=task)) == rows


@pytest.mark.parametrize(
    ("own", "task"),
    [
        (("LABEL_0", "LABEL_1"), ("bad", "good")),
        (("bad", "good", "fair"), ("bad", "good")),
        (("us", "Us"), ("us", "US")),  # which of them is US?
        (("US", "Us"), ("us", "other")),
    ],
)
def test_names_that_leave_a_choice_or_none_are_refused(tmp_path: Path, own: tuple[str, ...], task: tuple[str, ...]):
    with pytest.raises(UserError, match=r"its labels \[.*\] are not those of mine"):
        matched(tmp_path, own, replace(TASK, labels=task))


@pytest.mark.parametrize(
    ("kind", "task", "said"),
    [
        ("multi_label_classification", TASK, "a classifier of several labels each"),
        ("regression", TASK, "a regression"),
        ("no-such-problem", TASK, "'no-such-problem'"),
        (["regression"], TASK, r"\['regression'\]"),
        ("single_label_classification", SCORES, "a classifier of one label each"),
    ],
)
def test_a_model_of_another_kind_of_problem_is_refused(kind: Any, task: Task, said: str):
    encoder = Encoder(tiny.model(labels=len(task.labels) or 1))
    encoder.config.id2label, encoder.config.problem_type = dict(enumerate(task.labels or ("score",))), kind
    with pytest.raises(UserError, match=rf"mine: is {said} \(config\.json: problem_type\)"):
        match_labels(encoder, task, "mine")


def test_what_a_config_says_of_a_tasks_outputs():
    assert labels_of(TASK)["id2label"] == {0: "bad", 1: "good"}
    assert labels_of(SCORES) | {"id2label": {0: "score"}} == labels_of(SCORES)


LABELS = np.array([0.0, 1.5, np.nan, 5.0])


@pytest.mark.parametrize(
    ("scores", "warned"),
    [
        ([0.2, 1.4, 2.0, 4.8], False),
        ([0.5, 1.0, 2.0, 4.0], False),
        ([0.0, 0.3, 0.5, 1.0], True),  # 0..1 against 0..5
        ([0.0, 30.0, 50.0, 100.0], True),
        ([10.0, 11.0, 12.0, 14.0], True),
    ],
)
def test_scores_on_another_scale_are_warned_of_with_both_ranges(
    scores: list[float], warned: bool, capsys: pytest.CaptureFixture[str]
):
    check_scale(np.array(scores), LABELS, "mine")
    said = capsys.readouterr().err
    assert bool(said) == warned
    if warned:
        assert f"mine gives scores from {scores[0]:.3g} to {scores[-1]:.3g}, the labels go from 0 to 5" in said


def test_unlabelled_rows_and_one_score_for_all_labels_say_nothing(capsys: pytest.CaptureFixture[str]):
    check_scale(np.ones(3), np.full(3, np.nan), "mine")
    check_scale(np.ones(3), np.ones(3), "mine")
    assert capsys.readouterr().err == ""
