"""A student's model card: the hub reads its metadata; it says what run.json says, and no number that is not known."""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from transformers import AutoTokenizer

from kdcore.distil.card import Scores, card, origin
from kdcore.distil.finished import Finished
from kdcore.distil.folder import copy_model
from tests import on_disk, tiny

HUB = {"source": "hub", "repository": "nyu-mll/glue", "configuration": "rte", "revision": "bcdcba7"}


@pytest.fixture(scope="module")
def student(tiny_ingredients: on_disk.Ingredients, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's folder in its store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCORE_WORK", str(tmp_path_factory.mktemp("work")))
        return on_disk.distilled(tiny_ingredients)


def facts(student: Path, **changes: Any) -> dict[str, Any]:
    return json.loads((student / "run.json").read_text()) | changes


def test_a_new_student_has_a_card_without_scores(student: Path):
    made = ModelCard.load(student / "README.md")
    assert made.data.library_name == "transformers"
    assert made.data.pipeline_tag == "text-classification"
    assert made.data.eval_results is None
    assert "## Scores" not in made.text
    assert "* layers: 1 to 2 match the teacher's 2, 4" in made.text
    assert "at most 24 tokens, and answers one of bad, good." in made.text
    assert "24 training rows, the user's own" in made.text


def test_equal_runs_have_equal_cards_whenever_they_ran(student: Path):
    again = facts(student, seconds=1e6, versions={"torch": "another"})
    assert card(again) == (student / "README.md").read_text()


def test_its_tokenizer_says_the_length_that_it_was_trained_with_and_not_the_teachers(
    student: Path, tiny_ingredients: on_disk.Ingredients
):
    lengths = [AutoTokenizer.from_pretrained(folder).model_max_length for folder in (student, tiny_ingredients.teacher)]
    assert lengths == [24, tiny.MAX_TOKENS]
    assert "texts that are cut to 24 tokens, its tokenizer's `model_max_length`" in (student / "README.md").read_text()


def test_a_student_of_one_layer_is_told_in_the_singular(student: Path):
    told = card(facts(student, layers=1, mapped=[4], epochs=1), Scores({"accuracy": 0.5}))
    assert ModelCard(told).data.model_name == "tiny-sid-1-layer"
    assert "# tiny: 1 layer by" in told
    assert "A classifier of 1 layer, distilled by kdcore from a teacher of 4 layers" in told
    assert "* layers: 1 matches the teacher's 4" in told
    assert "* length: 1 epoch," in told


def test_a_teacher_has_no_card(tiny_ingredients: on_disk.Ingredients):
    assert not (tiny_ingredients.teacher / "README.md").exists()


def test_base_model_licence_language_and_data_are_named_where_they_are_known(student: Path):
    base = {"name": "bert-base-uncased", "revision": None, "license": "apache-2.0", "language": "en"}
    teacher = {"layers": 12, "fine_tuned": True, "model": base}
    made = ModelCard(card(facts(student, teacher=teacher, data=HUB), Scores({"accuracy": 0.8125, "f1": 0.75})))
    assert (made.data.base_model, made.data.license, made.data.language) == ("bert-base-uncased", "apache-2.0", "en")
    assert made.data.datasets == ["nyu-mll/glue"]
    results = [
        (one.metric_type, one.metric_value, one.dataset_type, one.dataset_config) for one in made.data.eval_results
    ]
    assert results == [("accuracy", 0.8125, "nyu-mll/glue", "rte"), ("f1", 0.75, "nyu-mll/glue", "rte")]
    assert "teacher of 12 layers ([bert-base-uncased](https://huggingface.co/bert-base-uncased), fine" in made.text


def test_scores_of_a_labelled_test_split_stand_apart_from_those_of_validation(student: Path):
    told = card(facts(student), Scores({"accuracy": 0.8125}, teacher=0.9, test={"accuracy": 0.75, "f1": 0.5}))
    results = [(one.dataset_split, one.metric_type, one.metric_value) for one in ModelCard(told).data.eval_results]
    assert results == [("validation", "accuracy", 0.8125), ("test", "accuracy", 0.75), ("test", "f1", 0.5)]
    assert "\n| accuracy of the teacher | 0.9000 |\n| accuracy on the test split | 0.7500 |\n| f1 on the test" in told
    assert "Of validation rows, which were not trained on, and of the test split, which nothing was chosen by." in told
    assert "test split" not in card(facts(student), Scores({"accuracy": 0.8125}))


@pytest.mark.parametrize("method", ["none", "soft", "sid-kl"])
def test_what_a_method_does_not_use_is_not_told(student: Path, method: str):
    text = card(facts(student, method=method))
    assert ("soft labels: temperature" in text) == (method != "none")
    assert ("internal losses" in text) == (method == "sid-kl")
    assert "[CLS] cosine" not in text


def test_a_pair_and_a_score_are_loaded_and_told_as_such(student: Path):
    pair = {"name": "stsb", "text": ["one", "two"], "labels": [], "metrics": ["pearson"]}
    text = card(facts(student, described=facts(student)["described"] | pair), Scores({"pearson": 0.5}))
    assert 'classify({"text": "…", "text_pair": "…"})' in text
    assert "It reads the texts one and two, at most 24 tokens, and answers a number." in text
    assert ModelCard(text).data.eval_results[0].metric_type == "pearsonr"
    assert "A regression model of 2 layers" in text
    assert "probabilities" not in text


def test_scores_by_a_teachers_answers_are_told_as_such(student: Path):
    taught = {"labels": [], "metrics": ["teacher_spearman"]}
    onnx = {"rows": 16, "torch": {}, "float32": {"agreement": 1.0}, "int8": {"agreement": 0.9375}}
    text = card(facts(student, described=facts(student)["described"] | taught), Scores({"teacher_spearman": 0.9}), onnx)
    assert "trained on. The teacher's answers are the truth here: no label was used." in text
    assert "|  | answers as torch |\n| :--- | ---: |\n| torch |  |\n| float32 | 100.00% |\n| int8 | 93.75% |" in text


def test_an_export_is_loaded_by_what_loads_its_files(student: Path):
    """An exported folder holds no model.safetensors; what is loaded is tried in docs/serving.md's words."""
    onnx = {"rows": 16, "torch": {}, "float32": {"agreement": 1.0}}
    plain, exported = card(facts(student)), card(facts(student), onnx=onnx)
    codes = [re.search(r"```python\n(.*?)\n```", text, re.DOTALL)[1] for text in (plain, exported)]
    for code in codes:
        compile(code, "card", "exec")
        assert code.splitlines()[-1] == 'classify("…")'
    assert 'pipeline("text-classification", "path/to/this/folder")' in codes[0]
    assert "ORTModelForSequenceClassification.from_pretrained(folder)" in codes[1]
    assert [ModelCard(text).data.library_name for text in (plain, exported)] == ["transformers", "transformers.js"]


def test_a_models_own_card_tells_its_licence_and_no_folder_is_named(tmp_path: Path):
    assert origin(str(tmp_path), None) == {"name": None}
    (tmp_path / "README.md").write_text("---\nlicense: mit\nlanguage: [de, en]\ntags: [x]\n---\n# A model\n")
    assert origin(str(tmp_path), None) == {"name": None, "license": "mit", "language": ["de", "en"]}
    (tmp_path / "README.md").write_text("---\nlicense: [mit\n---\n")
    assert origin(str(tmp_path), None) == {"name": None}


def test_a_copy_is_writable_sealed_and_the_same_model(student: Path, tmp_path: Path):
    """Of a folder whose files DVC's cache holds too, and protects."""
    cached = tmp_path / "cached"
    cached.mkdir()
    for file in student.iterdir():
        os.link(file, cached / file.name)
        (cached / file.name).chmod(0o444)
    try:
        (tmp_path / "copy").mkdir()
        copy_model(cached, tmp_path / "copy", Scores({"accuracy": 0.75}))
    finally:
        for file in student.iterdir():
            file.chmod(0o644)
    modes = {stat.S_IMODE(file.stat().st_mode) & stat.S_IWUSR for file in (tmp_path / "copy").iterdir()}
    assert modes == {stat.S_IWUSR}
    assert Finished.open(tmp_path / "copy", "-").fingerprint == Finished.open(student, "-").fingerprint
    assert ModelCard.load(tmp_path / "copy/README.md").data.eval_results[0].metric_value == 0.75
