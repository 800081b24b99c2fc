"""Teacher and students on chosen examples, against plain forward passes."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdcore.data.batches import collate
from kdcore.data.examples import encode
from kdcore.distil.finished import Finished
from kdcore.errors import UserError
from kdcore.evaluation.attention import TEACHER, compare
from kdcore.evaluation.score import score_run
from kdcore.model.encoder import Encoder
from tests import on_disk

METHODS = ("soft", "sid")


@pytest.fixture(scope="module")
def opened(tiny_ingredients) -> dict:
    """data, teacher, targets and model, as `distil` takes them."""
    return tiny_ingredients.opened()


def compared(opened, students, logits, count):
    return compare(opened["data"], opened["teacher"], opened["targets"], students, logits, count)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_ingredients, opened) -> dict[str, dict]:
    """students and logits, as `compare` takes them; the students are two layers deep, on teacher layers 2 and 4."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCORE_WORK", str(tmp_path_factory.mktemp("work")))
        students = {method: student(tiny_ingredients, method) for method in METHODS}
        scored = {TEACHER: score_run(opened["teacher"], opened["data"], opened["teacher"], None, 8)}
        scored |= {
            name: score_run(model, opened["data"], opened["teacher"], opened["targets"], 8)
            for name, model in students.items()
        }
    return {"students": students, "logits": {name: path / "predictions.parquet" for name, path in scored.items()}}


def student(made: on_disk.Ingredients, method: str, **changes) -> Finished:
    return Finished.open(on_disk.distilled(made, method, **changes), "dvc repro -f student")


@pytest.fixture(scope="module")
def found(folders, opened):
    return compared(opened, folders["students"], folders["logits"], 4)


def test_every_example_has_every_model_and_every_matched_layer(found):
    assert found.layer_map == (2, 4)
    assert len(found.examples) == 4
    for example in found.examples:
        n = len(example.tokens)
        assert list(example.seen) == [TEACHER, *METHODS]
        for seen in example.seen.values():
            assert seen.maps.shape == (2, 4, n, n)
            assert seen.maps.sum(-1) == pytest.approx(1.0, abs=2e-3)


def test_texts_labels_and_tokens_are_those_of_the_row(found, opened):
    frame = opened["data"].frame("validation").set_index("row")
    for example in found.examples:
        assert example.texts == (frame.loc[example.row, "text_a"],)
        assert example.label == frame.loc[example.row, "label"]
        assert " ".join(example.tokens[1:-1]).replace(" ##", "") == example.texts[0]


def test_maps_and_logits_are_those_of_a_plain_pass(found, folders, opened):
    frame, teacher = opened["data"].frame("validation"), opened["teacher"]
    examples = encode(teacher.tokenizer, frame, on_disk.MAX_LENGTH)
    batch = collate(examples, np.flatnonzero(frame["row"] == found.examples[0].row))
    for name, model, layers in ((TEACHER, teacher, (2, 4)), ("sid", folders["students"]["sid"], (1, 2))):
        with torch.no_grad():
            internals = Encoder.load(model.folder).eval()(batch.inputs, attention=layers)
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


def test_without_students_the_teacher_is_shown_at_every_layer(folders, opened):
    found = compared(opened, {}, {TEACHER: folders["logits"][TEACHER]}, 2)
    assert found.layer_map == (1, 2, 3, 4)
    assert list(found.examples[0].seen) == [TEACHER]


def test_predictions_of_other_rows_are_refused(folders, opened, tmp_path):
    table = pd.read_parquet(folders["logits"]["soft"])
    table.assign(row=table["row"] + 1).to_parquet(tmp_path / "soft.parquet")
    logits = folders["logits"] | {"soft": tmp_path / "soft.parquet"}
    with pytest.raises(UserError, match=r"soft\.parquet: is not of the examples"):
        compared(opened, folders["students"], logits, 2)


def test_missing_predictions_are_named(folders, opened, tmp_path):
    logits = folders["logits"] | {"sid": tmp_path / "sid.parquet"}
    with pytest.raises(UserError, match=r"sid\.parquet: predictions can.t be read"):
        compared(opened, folders["students"], logits, 2)
