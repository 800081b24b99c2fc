"""The tasks as data: what GLUE says of them, and the way to task.json and back."""

import pytest

from kdcore.data import tasks
from kdcore.data.tasks import BUILT_IN, GLUE, MOVIES, Task, usual_metrics
from kdcore.errors import UserError
from kdcore.params.sections import TaskEntry

OWN = {
    "scores": TaskEntry(text=("a", "b"), label="score", metrics=("spearman",)),
    "reviews": TaskEntry(text=("review",), label="stars", labels=("bad", "good"), metrics=("accuracy", "f1")),
}


@pytest.mark.parametrize(
    ("name", "text", "labels", "metrics"),
    [
        ("cola", ("sentence",), ("unacceptable", "acceptable"), ("matthews",)),
        ("sst2", ("sentence",), ("negative", "positive"), ("accuracy",)),
        ("mrpc", ("sentence1", "sentence2"), ("not_equivalent", "equivalent"), ("accuracy", "f1")),
        ("qqp", ("question1", "question2"), ("not_duplicate", "duplicate"), ("accuracy", "f1")),
        ("stsb", ("sentence1", "sentence2"), (), ("pearson", "spearman")),
        ("mnli", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), ("accuracy",)),
        ("qnli", ("question", "sentence"), ("entailment", "not_entailment"), ("accuracy",)),
        ("rte", ("sentence1", "sentence2"), ("entailment", "not_entailment"), ("accuracy",)),
        ("wnli", ("sentence1", "sentence2"), ("not_entailment", "entailment"), ("accuracy",)),
    ],
)
def test_glue_is_as_published(name: str, text: tuple, labels: tuple, metrics: tuple):
    # Columns and label ids as on the card of nyu-mll/glue.
    task = GLUE[name]
    assert (task.text, task.labels, task.metrics, task.label) == (text, labels, metrics, "label")
    assert task.regression == (name == "stsb")


def test_mnli_has_two_validation_splits():
    assert GLUE["mnli"].splits == {
        "train": "train",
        "validation": "validation_matched",
        "validation_mismatched": "validation_mismatched",
        "test": "test_matched",
        "test_mismatched": "test_mismatched",
    }


def test_there_are_ten_built_in_tasks():
    assert sorted(BUILT_IN) == [
        "cola",
        "mnli",
        "movies",
        "mrpc",
        "qnli",
        "qqp",
        "rte",
        "sst2",
        "stsb",
        "wnli",
    ]


def test_find_knows_built_in_and_own_tasks():
    assert tasks.find("movies", {}) is MOVIES
    assert tasks.find("rte", OWN) is GLUE["rte"]
    assert tasks.find("scores", OWN) == Task("scores", ("a", "b"), "score", (), ("spearman",))
    assert tasks.find("reviews", OWN).columns == ("review", "stars")


@pytest.mark.parametrize(("name", "hint"), [("mprc", "mrpc"), ("review", "reviews"), ("../x", "known are")])
def test_an_unknown_name_is_refused(name: str, hint: str):
    with pytest.raises(UserError) as error:
        tasks.find(name, OWN)
    assert repr(name) in str(error.value)
    assert hint in str(error.value)


@pytest.mark.parametrize("task", [*BUILT_IN.values(), tasks.find("scores", OWN), tasks.find("reviews", OWN)])
def test_json_and_back_is_the_same_task(task: Task):
    again = tasks.from_json(tasks.to_json(task))
    assert again == task
    assert list(again.splits) == list(task.splits)
    assert tasks.to_json(again) == tasks.to_json(task)


def test_only_test_splits_may_lack_labels():
    mnli = GLUE["mnli"]
    assert {split for split in mnli.splits if mnli.optional(split)} == {"test", "test_mismatched"}
    assert mnli.optional("test") == ("label",)


@pytest.mark.parametrize(
    ("labels", "labelled", "metrics"),
    [
        (("bad", "good"), True, ("accuracy", "f1_macro")),
        ((), True, ("pearson", "spearman")),
        (("bad", "good"), False, ("teacher_agreement",)),
        ((), False, ("teacher_spearman",)),
    ],
)
def test_a_task_that_names_no_metrics_has_the_usual_ones(
    labels: tuple[str, ...], labelled: bool, metrics: tuple[str, ...]
):
    assert usual_metrics(labels, labelled) == metrics
