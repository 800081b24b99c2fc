"""A point says what a model scores on which data, and is never that of another model, teacher or data."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kdcore.artefacts import link_folder, seal
from kdcore.data.prepared import Data
from kdcore.distil import teacher as stage
from kdcore.distil.finished import Finished
from kdcore.distil.written import Targets
from kdcore.errors import UserError
from kdcore.evaluation import scoring as module
from kdcore.evaluation.score import read_point, score_run, score_test
from kdcore.model.encoder import Encoder
from kdcore.params.sections import Shared
from tests import on_disk
from tests.distilling import examples


@pytest.fixture
def student(tiny_ingredients: on_disk.Ingredients, store: Path) -> Path:
    """A SID student of two layers, of the shared tiny task."""
    return on_disk.distilled(tiny_ingredients)


def scored(model: Path, found: on_disk.Ingredients, **changes: Any) -> Path:
    """As `kdcore evaluate` scores a model; changes: other folders than those of `found`, another batch_size."""
    given = {"data": found.data, "teacher": found.teacher, "targets": found.targets, "batch_size": 8} | changes
    data, teacher = Data.open(given["data"]), on_disk.opened(given["teacher"])
    targets = given["targets"] and Targets.open(given["targets"], data, teacher)
    return score_run(Finished.open(model, "dvc repro -f student"), data, teacher, targets, given["batch_size"])


def scored_teacher(teacher: Path, data: Path) -> Path:
    made = on_disk.opened(teacher)
    return score_run(made, Data.open(data), made, None, 8)


def test_a_students_point(tiny_ingredients: on_disk.Ingredients, student: Path):
    point = read_point(scored(student, tiny_ingredients))
    run = json.loads((student / "run.json").read_text())
    kept = ("task", "method", "layers", "rows", "seed", "teacher_seed", "init", "head", "layer_map", "trains")
    kept += ("epochs", "last_losses", "selected", "gflop")
    assert {key: point[key] for key in kept} == {key: run[key] for key in kept}
    measured = {"metric", "score", "scores", "examples", "chance", "standard_error", "degenerate", "classification"}
    assert set(point) == {*kept, *measured, "warnings", "fidelity", "parameters", "bytes"}
    assert point["examples"] == {"validation": 24}
    assert np.trace(point["classification"]["validation"]["confusion"]) == pytest.approx(24 * point["score"])
    assert point["metric"] == "accuracy"
    assert point["scores"] == {"validation": {"accuracy": point["score"]}}
    assert point["bytes"] == (student / "model.safetensors").stat().st_size
    # Width 32, inner 64. A layer: 4·(32·32 + 32) + 2·32·64 + 64 + 32 + 2·(32 + 32) = 8544. The pooler: 32·32 + 32.
    assert point["parameters"]["encoder_and_pooler"] == 2 * 8544 + 1056
    assert point["parameters"]["total"] == sum(p.numel() for p in Encoder.load(student).parameters())


@pytest.fixture
def threads() -> Iterator[set[int]]:
    """The numbers of threads that modules compute with, in a process that has two before."""
    seen: set[int] = set()
    torch.set_num_threads(2)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(lambda *_: seen.add(torch.get_num_threads()))
    yield seen
    hook.remove()
    torch.set_num_threads(1)


def test_what_a_model_computes_takes_the_threads_that_it_was_made_with(
    tmp_path: Path, tiny_ingredients: on_disk.Ingredients, student: Path, store: Path, threads: set[int]
):
    """Found models are scored, and their signals written, as if they had been made just now; their number is in the
    names of these runs, since it changes last bits."""
    scored(student, tiny_ingredients)
    torch.set_num_threads(2)
    scored_teacher(tiny_ingredients.teacher, tiny_ingredients.data)
    torch.set_num_threads(2)
    on_disk.signals(tmp_path, tiny_ingredients.data, tiny_ingredients.teacher, rows=8)
    assert threads == {1}
    files = [file for kind in ("evaluation", "targets") for file in store.glob(f"{kind}-*/identity.json")]
    assert [json.loads(file.read_text())["threads"] for file in files] == [1] * 4


def test_a_students_fidelity_is_per_layer_and_head_of_its_layer_map(
    tiny_ingredients: on_disk.Ingredients, student: Path
):
    fidelity = read_point(scored(student, tiny_ingredients))["fidelity"]
    assert np.shape(fidelity["attention_kl"]) == (2, 4)
    assert np.shape(fidelity["cls_cosine"]) == (2,)
    assert 0 <= fidelity["agreement"] <= 1
    assert fidelity["soft_label_kl"] > 0


def test_a_teachers_point_has_no_fidelity_and_no_student_knobs(tiny_ingredients: on_disk.Ingredients, store: Path):
    point = read_point(scored(tiny_ingredients.teacher, tiny_ingredients, targets=None))
    assert "fidelity" not in point
    assert (point["method"], point["layers"], point["init"], point["layer_map"]) == ("teacher", 4, None, None)


def test_the_score_is_that_of_the_predictions_beside_it(tiny_ingredients: on_disk.Ingredients, student: Path):
    folder = scored(student, tiny_ingredients)
    table = pd.read_parquet(folder / "predictions.parquet")
    assert list(table) == ["row", "label", "split", "logit_0", "logit_1"]
    assert set(table["split"]) == {"validation"}
    right = (table["logit_1"] > table["logit_0"]) == (table["label"] == 1)
    assert read_point(folder)["score"] == pytest.approx(right.mean())


def test_predictions_say_of_which_data_they_are(tiny_ingredients: on_disk.Ingredients, student: Path):
    """What reads texts beside them, as the error analysis does, is made again where these change."""
    predictions = pd.read_parquet(scored(student, tiny_ingredients) / "predictions.parquet")
    assert predictions.attrs == {"data": Data.open(tiny_ingredients.data).fingerprint}


def test_predictions_are_in_the_datas_order_whatever_the_model_and_the_batch(
    tiny_ingredients: on_disk.Ingredients, student: Path, monkeypatch: pytest.MonkeyPatch
):
    expected = Data.open(tiny_ingredients.data).frame("validation")
    tables = [
        pd.read_parquet(scored(student, tiny_ingredients) / "predictions.parquet"),
        pd.read_parquet(scored(tiny_ingredients.teacher, tiny_ingredients, targets=None) / "predictions.parquet"),
    ]
    for table in tables:
        assert table["row"].tolist() == expected["row"].tolist()
        assert table["label"].tolist() == expected["label"].tolist()
    again = scored(student, tiny_ingredients, batch_size=3)
    assert pd.read_parquet(again / "predictions.parquet").equals(tables[0])


def test_every_validation_split_is_scored_and_the_headline_is_the_plain_one(
    tmp_path: Path, store: Path, tiny_ingredients: on_disk.Ingredients
):
    splits = {"train": "train", "validation": "matched", "validation_mismatched": "mismatched"}
    task = dataclasses.replace(on_disk.TASK, splits=splits, metrics=("accuracy", "f1"))
    raw = on_disk.rows()
    raw["validation_mismatched"] = raw["validation"].assign(label=["bad", "good"] * 12).head(20)
    data = on_disk.prepared(tmp_path, raw, task)
    teacher = on_disk.fine_tuned(tmp_path, data, tiny_ingredients.model)
    folder = scored_teacher(teacher, data)
    point = read_point(folder)
    assert set(point["scores"]) == {"validation", "validation_mismatched"}
    assert all(set(found) == {"accuracy", "f1"} for found in point["scores"].values())
    assert point["score"] == point["scores"]["validation"]["accuracy"]
    counts = pd.read_parquet(folder / "predictions.parquet")["split"].value_counts()
    assert counts.to_dict() == {"validation": 24, "validation_mismatched": 20}


def test_a_regressions_point(tmp_path: Path, store: Path, tiny_ingredients: on_disk.Ingredients):
    data = on_disk.prepared(tmp_path, on_disk.rows(on_disk.SCORES), on_disk.SCORES)
    teacher = on_disk.fine_tuned(tmp_path, data, tiny_ingredients.model)
    made = on_disk.Ingredients(data, teacher, on_disk.signals(tmp_path, data, teacher), tiny_ingredients.model)
    student = on_disk.distilled(made)
    folder = scored(student, made)
    point = read_point(folder)
    assert set(point["scores"]["validation"]) == {"pearson", "spearman"}
    assert point["metric"] == "pearson"
    assert point["fidelity"]["agreement"] is None
    assert "soft_label_kl" not in point["fidelity"]
    table, teachers = (
        pd.read_parquet(place / "predictions.parquet") for place in (folder, scored(teacher, made, targets=None))
    )
    assert list(table) == ["row", "label", "split", "logit_0"]
    assert table["label"].dtype == "float64"
    squares = (table["logit_0"].astype("float64") - teachers["logit_0"]) ** 2
    assert point["fidelity"]["score_mse"] == pytest.approx(squares.mean(), rel=1e-4)


def test_one_class_for_everything_is_degenerate():
    found = {"validation": examples(rows=6)}
    for column, expected in ((np.arange(6) - 2.5, False), (np.full(6, 0.1), True)):
        logits = {"validation": np.stack([np.zeros(6), column], axis=1)}
        assert module.score(on_disk.TASK, logits, found)["degenerate"] is expected


# Nothing stale


def test_a_model_that_was_scored_is_not_scored_again(
    tiny_ingredients: on_disk.Ingredients, student: Path, monkeypatch: pytest.MonkeyPatch
):
    first = scored(student, tiny_ingredients)
    monkeypatch.setattr(module, "logits_of", lambda *_: pytest.fail("scored again"))
    assert scored(student, tiny_ingredients) == first


def test_other_validation_rows_are_scored_anew_for_teacher_and_student(
    tmp_path: Path, tiny_ingredients: on_disk.Ingredients, student: Path
):
    """Training never sees them, so the models are the same; their scores are not."""
    raw = on_disk.rows()
    raw["validation"] = raw["validation"].assign(label=raw["validation"]["label"].map({"bad": "good", "good": "bad"}))
    data = on_disk.prepared(tmp_path, raw)
    relabelled = {"data": data, "targets": on_disk.signals(tmp_path, data, tiny_ingredients.teacher)}
    for model, own in ((student, {}), (tiny_ingredients.teacher, {"targets": None})):
        before = read_point(scored(model, tiny_ingredients, **own))["score"]
        after = read_point(scored(model, tiny_ingredients, **(relabelled | own)))["score"]
        assert after == pytest.approx(1 - before)


def test_an_adopted_teacher_of_another_length_is_scored_anew(
    tmp_path: Path, tiny_ingredients: on_disk.Ingredients, store: Path, tiny_classifier: Callable[..., Path]
):
    """Eight tokens are too few for most sentences."""
    tables = []
    for length in (8, 24):
        out = tmp_path / str(length)
        model = on_disk.pretrained("unused", length)
        made = stage.adopt(Data.open(tiny_ingredients.data), str(tiny_classifier()), None, model, Shared(threads=1))
        link_folder(made.folder, out)
        tables.append(pd.read_parquet(scored_teacher(out, tiny_ingredients.data) / "predictions.parquet"))
    assert not tables[0].equals(tables[1])


@pytest.mark.parametrize("method", ["none", "sid"])
def test_fidelity_is_that_to_the_signals_which_are_given(
    tmp_path: Path, tiny_ingredients: on_disk.Ingredients, store: Path, method: str
):
    """Also where the student does not depend on their precision."""
    student = on_disk.distilled(tiny_ingredients, method)
    exact = on_disk.signals(tmp_path, tiny_ingredients.data, tiny_ingredients.teacher, dtype="float32")
    rough, fine = (
        read_point(scored(student, tiny_ingredients, targets=t))["fidelity"] for t in (tiny_ingredients.targets, exact)
    )
    assert rough["attention_kl"] != fine["attention_kl"]
    assert np.allclose(rough["attention_kl"], fine["attention_kl"], atol=1e-3)


def test_students_that_are_told_apart_by_name_only_keep_their_names(tiny_ingredients: on_disk.Ingredients, store: Path):
    """Equal weights by other methods: the point says which method it was."""
    one = on_disk.distilled(tiny_ingredients, "none")
    other = store / "other"
    shutil.copytree(one, other)
    facts = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(facts | {"method": "soft"}))
    (other / "manifest.json").unlink()
    seal(other)
    assert [read_point(scored(folder, tiny_ingredients))["method"] for folder in (one, other)] == ["none", "soft"]


@pytest.mark.parametrize("place", ["model", "targets", "data"])
def test_what_was_changed_is_refused_by_file(
    tmp_path: Path, tiny_ingredients: on_disk.Ingredients, student: Path, place: str
):
    file = {"model": "model.safetensors", "targets": "validation/logits.npy", "data": "validation.parquet"}[place]
    source = student if place == "model" else getattr(tiny_ingredients, place)
    copy = tmp_path / place
    shutil.copytree(source, copy)
    raw = bytearray((copy / file).read_bytes())
    raw[-1] ^= 1
    (copy / file).write_bytes(raw)
    with pytest.raises(UserError) as caught:
        scored(**({"model": student, "found": tiny_ingredients} | {place: copy}))
    assert Path(file).name in str(caught.value)
    assert "run `dvc repro -f" in str(caught.value)


def test_texts_that_the_tokenizer_has_never_seen_are_scored_all_the_same(
    tmp_path: Path, tiny_ingredients: on_disk.Ingredients, store: Path
):
    raw = on_disk.rows()
    raw["validation"]["sentence"] = ["🎬 שלום 映画 " + "x" * 500] * len(raw["validation"])
    data = on_disk.prepared(tmp_path, raw)
    point = read_point(scored_teacher(tiny_ingredients.teacher, data))
    assert point["degenerate"] is True


def with_test(folder: Path, labels: list[str | None], model: Path) -> tuple[Finished, Data]:
    """A teacher, and its task with a test split of these labels, one per text."""
    raw = on_disk.rows()
    raw["test"] = raw["validation"].head(len(labels)).assign(label=labels)
    task = dataclasses.replace(on_disk.TASK, splits={name: name for name in ("train", "validation", "test")})
    data = on_disk.prepared(folder, raw, task)
    return on_disk.opened(on_disk.fine_tuned(folder, data, model)), Data.open(data)


def test_a_labelled_test_split_is_scored_apart(tmp_path: Path, store: Path, tiny_ingredients: on_disk.Ingredients):
    made, data = with_test(tmp_path, ["bad", "good", None, "good", "good"], tiny_ingredients.model)
    scored = score_test(made, data, made, 8)
    assert scored is not None
    assert scored["examples"] == {"test": 4}  # those with a label
    assert set(scored["scores"]) == {"test"}
    assert sum(scored["classification"]["test"]["support"]) == 4
    folder = score_run(made, data, made, None, 8)
    assert set(read_point(folder)["scores"]) == {"validation"}
    assert "test" not in read_point(folder)
    assert set(pd.read_parquet(folder / "predictions.parquet")["split"]) == {"validation"}


def test_an_unlabelled_test_split_is_not_scored(
    tmp_path: Path, store: Path, tiny_ingredients: on_disk.Ingredients, student: Path
):
    made, data = with_test(tmp_path, [None, None], tiny_ingredients.model)
    assert score_test(made, data, made, 8) is None
    opened = on_disk.opened(tiny_ingredients.teacher)
    assert score_test(opened, Data.open(tiny_ingredients.data), opened, 8) is None
