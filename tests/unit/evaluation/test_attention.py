"""Teacher and students on chosen examples, against plain forward passes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kdcore.data.batches import collate
from kdcore.data.examples import Prepared
from kdcore.data.prepared import load_split
from kdcore.distil.student import distil
from kdcore.errors import UserError
from kdcore.evaluation.attention import TEACHER, compare
from kdcore.evaluation.score import score_run
from kdcore.model.encoder import Encoder
from kdcore.model.names import tokenizer_of
from tests import on_disk

METHODS = ("soft", "sid")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_ingredients) -> dict[str, dict[str, Path]]:
    """students and logits, as `compare` takes them; the students are two layers deep, on teacher layers 2 and 4."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCORE_WORK", str(tmp_path_factory.mktemp("work")))
        made, loop = tiny_ingredients, on_disk.loop()
        students = {method: distil(on_disk.recipe(method), made.sources(), loop) for method in METHODS}
        scored = {TEACHER: score_run(made.teacher, made.data, made.teacher, None, 8)}
        scored |= {name: score_run(path, made.data, made.teacher, made.targets, 8) for name, path in students.items()}
    return {"students": students, "logits": {name: path / "predictions.parquet" for name, path in scored.items()}}


@pytest.fixture(scope="module")
def found(folders, tiny_ingredients):
    made = tiny_ingredients
    return compare(made.data, made.teacher, made.targets, folders["students"], folders["logits"], 4)


def test_every_example_has_every_model_and_every_matched_layer(found):
    assert found.layer_map == (2, 4)
    assert len(found.examples) == 4
    for example in found.examples:
        n = len(example.tokens)
        assert list(example.seen) == [TEACHER, *METHODS]
        for seen in example.seen.values():
            assert seen.maps.shape == (2, 4, n, n)
            assert seen.maps.sum(-1) == pytest.approx(1.0, abs=2e-3)


def test_texts_labels_and_tokens_are_those_of_the_row(found, tiny_ingredients):
    frame = load_split(tiny_ingredients.data, "validation").set_index("row")
    for example in found.examples:
        assert example.texts == (frame.loc[example.row, "text_a"],)
        assert example.label == frame.loc[example.row, "label"]
        assert " ".join(example.tokens[1:-1]).replace(" ##", "") == example.texts[0]


def test_maps_and_logits_are_those_of_a_plain_pass(found, folders, tiny_ingredients):
    made = tiny_ingredients
    prepared = Prepared.open(made.data, tokenizer_of(made.teacher), on_disk.MAX_LENGTH)
    examples, frame = prepared.split("validation"), load_split(made.data, "validation")
    batch = collate(examples, np.flatnonzero(frame["row"] == found.examples[0].row))
    for name, folder, layers in ((TEACHER, made.teacher, (2, 4)), ("sid", folders["students"]["sid"], (1, 2))):
        with torch.no_grad():
            internals = Encoder.load(folder).eval()(batch.inputs, attention=layers)
        seen = found.examples[0].seen[name]
        expected = np.concatenate([internals.attention[layer].exp() for layer in layers])
        assert seen.maps == pytest.approx(expected, abs=2e-3)  # the teacher's are stored as float16
        assert seen.logits == pytest.approx(internals.logits[0].numpy(), abs=1e-5)


def test_kl_is_that_of_the_maps(found):
    for example in found.examples:
        p = example.seen[TEACHER].maps.astype(np.float64)
        for name in METHODS:
            q = example.seen[name].maps.astype(np.float64)
            by_hand = (p * np.log(p / q)).sum(-1).mean(-1)  # over keys, then over queries
            assert example.seen[name].kl == pytest.approx(by_hand, abs=2e-3)
    assert all(example.seen[TEACHER].kl is None for example in found.examples)


def test_without_students_the_teacher_is_shown_at_every_layer(folders, tiny_ingredients):
    made = tiny_ingredients
    found = compare(made.data, made.teacher, made.targets, {}, {TEACHER: folders["logits"][TEACHER]}, 2)
    assert found.layer_map == (1, 2, 3, 4)
    assert list(found.examples[0].seen) == [TEACHER]


def test_predictions_of_other_rows_are_refused(folders, tiny_ingredients, tmp_path):
    made = tiny_ingredients
    table = pd.read_parquet(folders["logits"]["soft"])
    table.assign(row=table["row"] + 1).to_parquet(tmp_path / "soft.parquet")
    logits = folders["logits"] | {"soft": tmp_path / "soft.parquet"}
    with pytest.raises(UserError, match=r"soft\.parquet: holds other rows"):
        compare(made.data, made.teacher, made.targets, folders["students"], logits, 2)


def test_missing_predictions_are_named(folders, tiny_ingredients, tmp_path):
    made = tiny_ingredients
    logits = folders["logits"] | {"sid": tmp_path / "sid.parquet"}
    with pytest.raises(UserError, match=r"sid\.parquet: can't be read"):
        compare(made.data, made.teacher, made.targets, folders["students"], logits, 2)


def test_students_of_different_layer_maps_are_not_compared(folders, tiny_ingredients, tmp_path, monkeypatch):
    monkeypatch.setenv("KDCORE_WORK", str(tmp_path / "work"))
    made = tiny_ingredients
    other = distil(replace(on_disk.recipe("sid"), layer_map="last"), made.sources(), on_disk.loop())
    students = folders["students"] | {"sid": other}
    with pytest.raises(UserError, match=r"(?s)soft: matches teacher layers \[2, 4\].*sid: .*\[3, 4\]"):
        compare(made.data, made.teacher, made.targets, students, folders["logits"], 2)
