"""The teacher: fine-tuned on the labelled rows, or adopted with its outputs in the order of the task's labels."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kdcore.artefacts import link_folder
from kdcore.data.examples import Examples, encode
from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.distil import teacher as stage
from kdcore.distil.training import Trainer
from kdcore.errors import UserError
from kdcore.model.encoder import Encoder
from kdcore.model.labels import labels_of
from kdcore.model.names import tokenizer_of
from kdcore.model.predict import logits_of
from kdcore.params.sections import Shared
from tests import on_disk, tiny

THREE = dataclasses.replace(on_disk.TASK, labels=("bad", "fair", "good"))


def adopt(data: Path, out: Path, name: Path, **changes: Any) -> Path:
    model = on_disk.pretrained("unused", **({"max_length": on_disk.MAX_LENGTH} | changes))
    link_folder(stage.adopt(Data.open(data), str(name), None, model, Shared(threads=1)).folder, out)
    return out


def logits(folder: Path, data: Path) -> np.ndarray:
    """Of the task's validation rows."""
    return logits_of(Encoder.load(folder), validation(data, folder), 16)


def validation(data: Path, model: Path) -> Examples:
    return encode(tokenizer_of(model), Data.open(data).frame("validation"), on_disk.MAX_LENGTH)


def three_classes(folder: Path) -> Path:
    raw = on_disk.rows()
    for frame in raw.values():
        frame.loc[::3, "label"] = "fair"
    return on_disk.prepared(folder, raw, THREE)


# Adopted


def test_an_adopted_teacher_answers_in_the_order_of_the_tasks_labels(
    tmp_path: Path, store: Path, tiny_classifier: Callable[..., Path]
):
    """Three labels in a cycle: a permutation that is not its own inverse."""
    data = three_classes(tmp_path)
    own = tiny_classifier(labels=("good", "bad", "fair"))
    before, after = logits(own, data), logits(adopt(data, tmp_path / "teacher", own), data)
    assert np.array_equal(after, before[:, [1, 2, 0]])
    assert Encoder.load(tmp_path / "teacher").config.id2label == {0: "bad", 1: "fair", 2: "good"}
    assert Encoder.load(tmp_path / "teacher").config.label2id == {"bad": 0, "fair": 1, "good": 2}


def test_a_teacher_of_a_hub_says_its_commit(
    tmp_path: Path,
    store: Path,
    tiny_classifier: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    monkeypatch: pytest.MonkeyPatch,
):
    """The cache of a hub, as downloads leave it: the branch main is at the second of two commits."""
    commits = {"c" * 40: tiny_classifier(), "d" * 40: tiny_classifier(seed=3)}
    cache = tmp_path / "hub/models--someone--classifier"
    for commit, folder in commits.items():
        shutil.copytree(folder, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("d" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    found = {}
    for revision, commit in ((None, "d" * 40), ("main", "d" * 40), ("c" * 40, "c" * 40)):
        model = on_disk.pretrained("unused", on_disk.MAX_LENGTH)
        made = stage.adopt(Data.open(tiny_ingredients.data), "someone/classifier", revision, model, Shared(threads=1))
        assert made.facts["model"] == {"name": "someone/classifier", "revision": commit}
        assert commit not in (made.folder / "config.json").read_text()
        plain = load_file(commits[commit] / "model.safetensors")["classifier.weight"]
        assert torch.equal(load_file(made.folder / "model.safetensors")["classifier.weight"], plain)
        found[revision] = made.folder
    assert found[None] == found["main"] != found["c" * 40]


def test_the_outputs_biases_move_with_their_weights(
    tmp_path: Path, store: Path, tiny_classifier: Callable[..., Path], tiny_ingredients: on_disk.Ingredients
):
    own, data = tmp_path / "own", tiny_ingredients.data
    biased = Encoder.load(tiny_classifier(labels=("good", "bad")))
    with torch.no_grad():
        biased.output.bias.copy_(torch.tensor([3.0, -3.0]))
    biased.model.save_pretrained(own)
    tiny.tokenizer().save_pretrained(own)
    assert np.array_equal(logits(adopt(data, tmp_path / "teacher", own), data), logits(own, data)[:, ::-1])


@pytest.mark.parametrize("family", ["roberta", "distilbert", "electra", "modernbert"])
def test_every_familys_outputs_are_put_in_order(
    tmp_path: Path,
    store: Path,
    tiny_classifier: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    family: str,
):
    own = tiny_classifier(family, labels=("good", "bad"))
    data = tiny_ingredients.data
    assert np.array_equal(logits(adopt(data, tmp_path / "teacher", own), data), logits(own, data)[:, ::-1])


def test_labels_match_whatever_their_case(
    tmp_path: Path, store: Path, tiny_classifier: Callable[..., Path], tiny_ingredients: on_disk.Ingredients
):
    own, data = tiny_classifier(labels=("GOOD", "Bad")), tiny_ingredients.data
    assert np.array_equal(logits(adopt(data, tmp_path / "teacher", own), data), logits(own, data)[:, ::-1])
    assert Encoder.load(tmp_path / "teacher").config.id2label == {0: "bad", 1: "good"}


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1"), ("bad", "fair", "good")], ids=["unnamed", "too many"])
def test_other_labels_than_the_tasks_are_refused_and_both_are_shown(
    tmp_path: Path,
    store: Path,
    tiny_classifier: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    labels: tuple[str, ...],
):
    own = tiny_classifier(labels=labels)
    with pytest.raises(UserError) as caught:
        adopt(tiny_ingredients.data, tmp_path / "teacher", own)
    message = str(caught.value)
    assert message.startswith(f"{own}: its labels {list(labels)} are not those of tiny, ['bad', 'good']")
    assert "id2label" in message
    assert not (tmp_path / "teacher").exists()


def test_an_adopted_teacher_keeps_its_weights_and_trains_nothing(
    tmp_path: Path,
    store: Path,
    tiny_classifier: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(Trainer, "train", lambda self: pytest.fail("trained"))
    own = tiny_classifier()
    folder = adopt(tiny_ingredients.data, tmp_path / "teacher", own)
    before, after = (Encoder.load(place).state_dict() for place in (own, folder))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    facts = on_disk.opened(folder).facts
    assert (facts["method"], facts["layers"], facts["epochs"], facts["gflop"]) == ("teacher", 4, 0, 0.0)
    assert facts["max_length"] == on_disk.MAX_LENGTH


def test_an_adopted_teacher_of_another_length_is_another_teacher(
    tmp_path: Path, store: Path, tiny_classifier: Callable[..., Path], tiny_ingredients: on_disk.Ingredients
):
    """Its weights are the same, but not what it reads: signals and students of one are not those of the other."""
    own, data = tiny_classifier(), tiny_ingredients.data
    prints = {on_disk.opened(adopt(data, tmp_path / str(n), own, max_length=n)).fingerprint for n in (8, 24)}
    assert len(prints) == 2


def test_a_longer_text_than_the_classifier_has_positions_for_is_refused(
    tmp_path: Path, store: Path, tiny_classifier: Callable[..., Path], tiny_ingredients: on_disk.Ingredients
):
    with pytest.raises(UserError, match=r"model\.max_length: at most 128 for .*, found 129"):
        adopt(tiny_ingredients.data, tmp_path / "teacher", tiny_classifier(), max_length=129)


# Regression


@pytest.fixture
def scores(tmp_path: Path, store: Path) -> Path:
    return on_disk.prepared(tmp_path, on_disk.rows(on_disk.SCORES), on_disk.SCORES)


def test_a_regression_takes_any_classifier_with_one_output(
    tmp_path: Path, scores: Path, tiny_classifier: Callable[..., Path]
):
    own = tiny_classifier(labels=("LABEL_0",))
    folder = adopt(scores, tmp_path / "teacher", own)
    assert np.array_equal(logits(folder, scores), logits(own, scores))
    config = Encoder.load(folder).config
    assert (config.problem_type, config.num_labels, config.id2label) == ("regression", 1, {0: "score"})


def test_a_regression_refuses_two_outputs(tmp_path: Path, scores: Path, tiny_classifier: Callable[..., Path]):
    with pytest.raises(UserError, match=r"tiny is a regression and needs one output, found labels \['bad', 'good'\]"):
        adopt(scores, tmp_path / "teacher", tiny_classifier())


def test_a_regressions_teacher_learns_its_scores(tmp_path: Path, scores: Path, tiny_ingredients: on_disk.Ingredients):
    """Squared error to scores of 0 and 1: predictions of the two groups part."""
    folder = on_disk.fine_tuned(tmp_path, scores, tiny_ingredients.model, rows=None, epochs=10)
    found = logits(folder, scores)
    known = tiny.texts(24, seed=2)["label"].to_numpy()
    rows = validation(scores, folder).labels
    assert sorted(rows) == sorted(known)
    assert found.shape == (24, 1)
    assert found[rows == 1].mean() > found[rows == 0].mean() + 0.2


# Fine-tuned


def test_a_fine_tuned_teacher_has_the_tasks_labels(tiny_ingredients: on_disk.Ingredients):
    config = Encoder.load(tiny_ingredients.teacher).config
    assert config.id2label == {0: "bad", 1: "good"}
    assert config.problem_type == "single_label_classification"


def test_a_teacher_learns_from_the_labelled_ones_of_its_rows_only(
    tmp_path: Path, store: Path, tiny_ingredients: on_disk.Ingredients
):
    """Unlabelled rows are a stratum of their own, so a quarter of the first 32 rows is as unlabelled as all are."""
    raw = on_disk.rows()
    raw["train"].loc[::4, "label"] = None
    data = on_disk.prepared(tmp_path, raw)
    folder = on_disk.fine_tuned(tmp_path, data, tiny_ingredients.model, rows=32)
    assert on_disk.opened(folder).facts["rows"] == 24


def test_a_teacher_without_a_labelled_row_is_refused_by_name_and_count(
    tmp_path: Path, store: Path, tiny_ingredients: on_disk.Ingredients
):
    raw = on_disk.rows()
    raw["train"]["label"] = None
    data = on_disk.prepared(tmp_path, raw)
    with pytest.raises(UserError, match=r"tiny/train: none of 32 rows has a label .*teacher\.finetuned"):
        on_disk.fine_tuned(tmp_path, data, tiny_ingredients.model, rows=32)


def test_an_adopted_teacher_needs_no_label_at_all(
    tmp_path: Path, store: Path, tiny_classifier: Callable[..., Path], tiny_ingredients: on_disk.Ingredients
):
    raw = on_disk.rows()
    raw["train"]["label"] = None
    data = on_disk.prepared(tmp_path, raw)
    folder = adopt(data, tmp_path / "teacher", tiny_classifier())
    made = on_disk.Ingredients(data, folder, on_disk.signals(tmp_path, data, folder), tiny_ingredients.model)
    assert (on_disk.distilled(made) / "model.safetensors").is_file()


def test_a_teacher_is_found_again_whatever_students_are_told(
    tmp_path: Path, store: Path, tiny_ingredients: on_disk.Ingredients, monkeypatch: pytest.MonkeyPatch
):
    """Its own steps and seed count; the students' steps, and how often a checkpoint is written, do not."""
    own, data = on_disk.teacher(), Data.open(tiny_ingredients.data)
    model = on_disk.pretrained(tiny_ingredients.model)
    first = stage.fine_tune(data, model, own, on_disk.loop(), 0)
    monkeypatch.setattr(Trainer, "train", lambda self: pytest.fail("trained again"))
    students = {"batch_size": 4, "accumulate": 2, "learning_rate": 0.5, "warmup": 0.5, "weight_decay": 0.5, "clip": 9.0}
    told = on_disk.loop(**students, schedule="whole", checkpoint_seconds=1)
    assert stage.fine_tune(data, model, own, told, 0).fingerprint == first.fingerprint


def test_more_rows_than_there_are_mean_all_and_are_the_same_run(
    tmp_path: Path, store: Path, tiny_ingredients: on_disk.Ingredients
):
    runs = [
        on_disk.opened(
            on_disk.fine_tuned(tmp_path / str(rows), tiny_ingredients.data, tiny_ingredients.model, rows=rows)
        ).fingerprint
        for rows in (4000, None)
    ]
    assert runs[0] == runs[1]


# What it says of itself


def test_a_task_tells_the_model_what_its_outputs_mean():
    mnli = Task("nli", ("a", "b"), "label", ("entailment", "neutral", "contradiction"), ("accuracy",))
    found = json.loads(json.dumps(labels_of(mnli)))
    assert found["num_labels"] == 3
    assert found["id2label"] == {"0": "entailment", "1": "neutral", "2": "contradiction"}
    assert found["label2id"] == {"entailment": 0, "neutral": 1, "contradiction": 2}
