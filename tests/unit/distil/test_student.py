"""What determines a student, what it is refused, and what it leaves."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdcore.artefacts import digest
from kdcore.distil import student, targets
from kdcore.distil.training import Trainer
from kdcore.errors import UserError
from kdcore.params import sections
from tests import on_disk


class Named(Exception):  # noqa: N818
    """The run is named, and is not to be trained."""


@pytest.fixture
def name_of(tiny_ingredients: on_disk.Ingredients, store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """name_of(method, knob=..., made=...): what names the student's run, without training it."""

    def named(kind: str, identity: dict[str, Any]) -> None:
        raise Named(digest(identity))

    def name(method: str = "sid", made: on_disk.Ingredients = tiny_ingredients, **changes: Any) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(student, "open_run", named)
            with pytest.raises(Named) as caught:
                on_disk.distilled(made, method, **changes)
        return str(caught.value)

    return name


# knob -> another value, and the methods that use it
INTERNAL = ("all", "pid", "sid", "pid-kl", "sid-cos")
EVERY = ("none", "soft", *INTERNAL)
KNOBS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "layers": (3, EVERY),
    "rows": (16, EVERY),
    "init": ("random", EVERY),
    "head": ("teacher", EVERY),
    "layer_map": ([1, 4], EVERY),
    "epochs_per_layer": (2, EVERY),
    "classification_epochs": (2, EVERY),
    "temperature": (2.0, ("soft", *INTERNAL)),
    "hard_label_weight": (0.5, ("soft", *INTERNAL)),
    "weights": ({"kl": 0.5, "cos": 0.5}, INTERNAL),
    "cosine_threshold": (0.1, ("pid", "sid", "pid-kl", "sid-cos")),
    "classification": ("always", ("pid", "sid", "pid-kl", "sid-cos")),
    "below": ("freeze", ("pid", "sid", "pid-kl", "sid-cos")),
    "trains": ("head", ("pid", "sid", "pid-kl", "sid-cos")),
}


@pytest.mark.parametrize("knob", KNOBS)
@pytest.mark.parametrize("method", EVERY)
def test_a_knob_makes_another_run_where_the_method_uses_it_and_nowhere_else(name_of: Any, method: str, knob: str):
    value, users = KNOBS[knob]
    changed = name_of(method, **{knob: value}) != name_of(method)
    assert changed == (method in users)


@pytest.mark.parametrize(("method", "differs"), [("sid", True), ("sid-kl", False), ("sid-cos", True), ("soft", False)])
def test_the_weight_of_a_loss_counts_where_it_is_minimised(name_of: Any, method: str, differs: bool):
    assert (name_of(method, weights={"kl": 1.0, "cos": 0.5}) != name_of(method)) == differs


def test_a_loss_without_a_weight_is_one_that_the_method_has_not(name_of: Any):
    assert name_of("sid", weights={"kl": 1.0, "cos": 0.0}) == name_of("sid", weights={"kl": 1.0}) != name_of("sid")


def test_every_knob_of_a_student_was_looked_at():
    assert {*KNOBS, "floor"} == {*sections.Student.model_fields, *sections.Distill.model_fields}


def test_the_floor_of_a_score_makes_no_other_run(name_of: Any):
    assert name_of(floor=0.1) == name_of()


OTHER_SETTINGS: dict[str, Any] = {
    "batch_size": 4,
    "accumulate": 2,
    "learning_rate": 1e-3,
    "schedule": "whole",
    "warmup": 0.2,
    "weight_decay": 0.1,
    "clip": 0.0,
    "precision": "bf16",
    "threads": 2,
    "history_rows": 4,
    "keep": "best",
    "dropout": 0.0,
    "seed": 1,
}


@pytest.mark.parametrize("knob", OTHER_SETTINGS)
def test_what_changes_bits_makes_another_run(name_of: Any, knob: str):
    assert name_of(**{knob: OTHER_SETTINGS[knob]}) != name_of()


def test_when_it_is_saved_and_who_is_told_makes_no_other_run(name_of: Any):
    assert name_of(checkpoint_seconds=1) == name_of()
    assert name_of(track=["tensorboard"]) == name_of()
    assert {*OTHER_SETTINGS, "checkpoint_seconds", "track"} == {*sections.Train.model_fields, "seed"}


@pytest.mark.parametrize("method", ["none", "soft", "all"])
def test_where_warm_up_begins_again_counts_only_with_several_phases(name_of: Any, method: str):
    assert name_of(method, schedule="whole") == name_of(method)


def test_the_pretrained_encoder_counts_only_for_a_student_that_starts_from_it(
    name_of: Any, tiny_ingredients: on_disk.Ingredients, tiny_folder: Any
):
    other = dataclasses.replace(tiny_ingredients, model=tiny_folder("bert", seed=5))
    assert name_of(made=other) == name_of()
    assert name_of(made=other, init="pretrained") != name_of(init="pretrained")


@pytest.mark.parametrize(("method", "differs"), [("none", False), ("soft", False), ("sid", True)])
def test_the_precision_of_the_signals_counts_where_internal_signals_are_read(
    name_of: Any, tiny_ingredients: on_disk.Ingredients, tmp_path: Path, method: str, differs: bool
):
    """Logits are stored in full precision whatever `targets.dtype` says."""
    exact = on_disk.signals(tmp_path, tiny_ingredients.data, tiny_ingredients.teacher, dtype="float32")
    made = dataclasses.replace(tiny_ingredients, targets=exact)
    assert (name_of(method, made=made) != name_of(method)) == differs


def test_signals_of_more_rows_make_no_other_run(name_of: Any, tiny_ingredients: on_disk.Ingredients, tmp_path: Path):
    """So a student of the headline is found again by the study of training sizes."""
    more = on_disk.signals(tmp_path, tiny_ingredients.data, tiny_ingredients.teacher, rows=40)
    assert name_of(made=dataclasses.replace(tiny_ingredients, targets=more)) == name_of()


def test_another_teacher_or_other_data_make_another_run(
    name_of: Any, tiny_ingredients: on_disk.Ingredients, tmp_path: Path
):
    raw = on_disk.rows()
    raw["train"].loc[0, "sentence"] += " again"
    data = on_disk.prepared(tmp_path, raw)
    same = {"data": tiny_ingredients.data, "teacher": tiny_ingredients.teacher}
    teacher = on_disk.fine_tuned(tmp_path, tiny_ingredients.data, tiny_ingredients.model, seeds=[1])
    others = [
        dataclasses.replace(tiny_ingredients, **change, targets=on_disk.signals(tmp_path / str(n), **(same | change)))
        for n, change in enumerate(({"data": data}, {"teacher": teacher}))
    ]
    assert len({name_of(), *(name_of(made=made) for made in others)}) == 3


def test_a_student_that_was_trained_is_found_and_not_trained_again(
    tiny_ingredients: on_disk.Ingredients, store: Path, monkeypatch: pytest.MonkeyPatch
):
    first = on_disk.distilled(tiny_ingredients)
    monkeypatch.setattr(Trainer, "train", lambda self: pytest.fail("trained again"))
    assert on_disk.distilled(tiny_ingredients, checkpoint_seconds=3) == first


def test_pid_and_sid_of_one_layer_are_one_student(tiny_ingredients: on_disk.Ingredients, store: Path, name_of: Any):
    assert name_of("pid", layers=1) == name_of("sid", layers=1)
    assert name_of("pid") != name_of("sid")


def test_a_trained_student_that_was_damaged_is_named_and_trained_again(
    tiny_ingredients: on_disk.Ingredients, store: Path, capsys: pytest.CaptureFixture[str]
):
    """It is found in the store by its name, so nothing that is asked for could ever repair it otherwise."""
    first = on_disk.distilled(tiny_ingredients)
    weights = (first / "model.safetensors").read_bytes()
    (first / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    again = on_disk.distilled(tiny_ingredients)
    assert (again / "model.safetensors").read_bytes() == weights
    said = capsys.readouterr().err
    assert "model.safetensors: its content is not what was written" in said
    assert "made again" in said


# Unlabelled rows


@pytest.fixture
def half_labelled(tmp_path: Path, tiny_ingredients: on_disk.Ingredients, store: Path) -> on_disk.Ingredients:
    """The tiny task with every second training row unlabelled; 24 of 48."""

    def unlabel(raw: dict[str, pd.DataFrame]) -> None:
        raw["train"].loc[::2, "label"] = None

    return on_disk.ingredients(tmp_path, tiny_ingredients.model, unlabel)


def test_none_refuses_unlabelled_rows_by_name_and_count(half_labelled: on_disk.Ingredients):
    with pytest.raises(UserError) as caught:
        on_disk.distilled(half_labelled, "none")
    assert "tiny/train: 12 of 24 rows have no label, and method none learns from labels only" in str(caught.value)


@pytest.mark.parametrize("method", ["soft", "all", "pid", "sid"])
def test_a_distilled_student_learns_from_the_teacher_where_there_is_no_label(
    half_labelled: on_disk.Ingredients, method: str
):
    """Hard labels weigh 0, so that only the soft loss of all rows moves the student."""
    folder = on_disk.distilled(half_labelled, method, hard_label_weight=0.0)
    assert json.loads((folder / "run.json").read_text())["rows"] == 24
    history = pd.read_csv(folder / "history.csv")
    assert history["soft_labels"].notna().any()
    assert np.isfinite(history["hard_labels"].dropna()).all()


# What is refused


def test_more_rows_than_there_are_mean_all_of_them_and_are_said(
    tiny_ingredients: on_disk.Ingredients, store: Path, capsys: pytest.CaptureFixture[str]
):
    whole = on_disk.distilled(tiny_ingredients, "none", rows=49)
    assert "tiny/train: 49 rows are asked for, and all 48 are taken" in capsys.readouterr().out
    assert on_disk.distilled(tiny_ingredients, "none", rows=None) == whole


def test_signals_of_fewer_rows_than_are_learned_from_are_refused(tiny_ingredients: on_disk.Ingredients, store: Path):
    with pytest.raises(UserError, match=r"train: holds signals of 24 rows, and 25 are to be learned from"):
        on_disk.distilled(tiny_ingredients, rows=25)


def test_a_deeper_student_than_its_teacher_is_refused(tiny_ingredients: on_disk.Ingredients, store: Path):
    with pytest.raises(UserError, match=r"student\.layers: must be 1 to 4 \(the teacher's depth\), found 5"):
        on_disk.distilled(tiny_ingredients, layers=5)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "run.json"])
def test_a_teacher_that_was_changed_is_refused_by_file(
    tiny_ingredients: on_disk.Ingredients, store: Path, tmp_path: Path, file: str
):
    teacher = tmp_path / "teacher"
    shutil.copytree(tiny_ingredients.teacher, teacher)
    raw = (teacher / file).read_bytes()
    (teacher / file).write_bytes(raw.replace(raw[-2:], b"  "))
    with pytest.raises(UserError) as caught:
        on_disk.distilled(dataclasses.replace(tiny_ingredients, teacher=teacher))
    assert f"{file}: " in str(caught.value)
    assert "run `dvc repro -f teacher`" in str(caught.value)


# What it leaves


def test_it_says_what_it_is(tiny_ingredients: on_disk.Ingredients, store: Path):
    folder = on_disk.distilled(tiny_ingredients, "pid", trains="head", seed=3)
    facts = json.loads((folder / "run.json").read_text())
    expected = {"task": "tiny", "method": "pid", "layers": 2, "rows": 24, "seed": 3, "trains": "head", "mapped": [2, 4]}
    assert {key: facts[key] for key in expected} == expected
    assert facts["epochs"] == len(pd.read_csv(folder / "history.csv")) == 3
    libraries = {"python", "torch", "transformers", "numpy"}
    surroundings = {"threads", "machine", "processor", "commit", "processes", "products"}
    assert set(facts["versions"]) == libraries | surroundings
    assert (facts["train"]["learning_rate"], facts["max_length"]) == (2e-3, on_disk.MAX_LENGTH)
    assert facts["data"]["source"] == "local"


@pytest.fixture
def of_two_layers(
    tiny_ingredients: on_disk.Ingredients, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> on_disk.Ingredients:
    """The same, with signals of the layers alone that a student of two layers maps."""
    with monkeypatch.context() as patch:
        patch.setattr(targets, "kept_layers", lambda *_: (2, 4))
        folder = on_disk.signals(tmp_path, tiny_ingredients.data, tiny_ingredients.teacher, mapped=(2, 4))
    return dataclasses.replace(tiny_ingredients, targets=folder)


def test_which_layers_are_stored_decides_no_bit(
    tiny_ingredients: on_disk.Ingredients,
    of_two_layers: on_disk.Ingredients,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    some = on_disk.distilled(of_two_layers)
    monkeypatch.setenv("KDCORE_WORK", str(tmp_path / "another"))
    every = on_disk.distilled(tiny_ingredients)
    assert some.parent.name == every.parent.name
    assert (some / "model.safetensors").read_bytes() == (every / "model.safetensors").read_bytes()


def test_layers_that_were_not_stored_are_named_before_training(of_two_layers: on_disk.Ingredients):
    problem = (
        rf"{of_two_layers.targets}/train: holds signals of teacher layers 2, 4, and the student maps 1, 3 too: name "
        r"its depth .*, or let targets\.disk_gb .*, and run `dvc repro -f targets`"
    )
    with pytest.raises(UserError, match=problem):
        on_disk.distilled(of_two_layers, layers=4)
    with pytest.raises(UserError, match="/validation: holds signals of teacher layers 2, 4"):
        on_disk.distilled(of_two_layers, "soft", layers=4)


def test_signals_of_an_older_kdcore_say_what_to_run(of_two_layers: on_disk.Ingredients, tmp_path: Path):
    manifest = json.loads((of_two_layers.targets / "train/manifest.json").read_text())
    shutil.copytree(of_two_layers.targets, tmp_path / "old")
    (tmp_path / "old/train/manifest.json").write_text(json.dumps(manifest | {"layers": 4}))
    with pytest.raises(UserError, match=r"old/train: were written by an older kdcore; run `dvc repro -f targets`"):
        dataclasses.replace(of_two_layers, targets=tmp_path / "old").opened()
