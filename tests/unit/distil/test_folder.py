"""A finished run's folder is an ordinary Hugging Face folder, and says what it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from kdcore.artefacts import seal
from kdcore.distil.checkpoint import Record
from kdcore.distil.folder import write_history, write_model
from kdcore.model.encoder import Encoder
from kdcore.model.families import FAMILIES
from kdcore.model.predict import logits_of
from tests import tiny
from tests.distilling import MAX_TOKENS, examples

HISTORY = [{"epoch": 1, "phase": "classification", "layer": None, "completed": None, "hard_labels": 0.5}]


def write(folder: Path, classifier: Path, family: str = "bert", **facts: Any) -> Encoder:
    """Write and seal a finished run from a classifier with the labels bad and good."""
    folder.mkdir()
    encoder = Encoder.load(classifier)
    history = [{**row, "score": 0.5, "gflop": 1.0} for row in HISTORY]
    record = Record(history, gflop=1.23456, seconds=9.87)
    write_model(folder, encoder, tiny.tokenizer(family), {"max_length": MAX_TOKENS} | facts, record)
    seal(folder)
    return encoder


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_alone_loads_it_and_says_the_same(
    tmp_path: Path, tiny_classifier: Callable[..., Path], family: str
):
    """Tokenizer and model from the folder, one sentence at a time, without padding: the logits that kdcore has."""
    encoder = write(tmp_path / "run", tiny_classifier(family), family)
    ours = logits_of(encoder, examples(family, rows=6), batch_size=6)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    words = AutoTokenizer.from_pretrained(tmp_path / "run")
    texts = tiny.texts(6)["sentence"].tolist()
    encoded = [words(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt") for text in texts]
    with torch.inference_mode():
        theirs = np.concatenate([model(**one).logits.numpy() for one in encoded])
    assert model.training is False
    assert np.abs(theirs - ours).max() < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_config_has_no_trace_of_the_capture(tmp_path: Path, tiny_classifier: Callable[..., Path], family: str):
    encoder = write(tmp_path / "run", tiny_classifier(family), family)
    text = (tmp_path / "run/config.json").read_text()
    assert "kdcore" not in text
    assert not [key for key in json.loads(text) if "attn_implementation" in key]
    assert json.loads(text)["architectures"] == [type(encoder.model).__name__]


def test_a_pipeline_answers_with_the_labels_names(tmp_path: Path, tiny_classifier: Callable[..., Path]):
    encoder = write(tmp_path / "run", tiny_classifier())
    classify = pipeline("text-classification", str(tmp_path / "run"))
    texts = tiny.texts(6)["sentence"].tolist()
    said = [answer["label"] for answer in classify(texts)]
    assert said == [("bad", "good")[k] for k in logits_of(encoder, examples(rows=6), 6).argmax(1)]


def test_weights_are_safetensors_and_nothing_is_pickled(tmp_path: Path, tiny_classifier: Callable[..., Path]):
    write(tmp_path / "run", tiny_classifier())
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("run.json", "history.csv", "manifest.json"),
    }


def test_run_json_holds_facts_costs_and_versions(tmp_path: Path, tiny_classifier: Callable[..., Path]):
    write(tmp_path / "run", tiny_classifier(), method="sid", layers=4, max_length=8)
    facts = json.loads((tmp_path / "run/run.json").read_text())
    versions = facts.pop("versions")
    expected = {"method": "sid", "layers": 4, "max_length": 8, "epochs": 1, "last_losses": [0.5], "selected": None}
    assert facts == expected | {"gflop": 1.235, "seconds": 9.9}
    assert versions["torch"] == torch.__version__
    assert versions["threads"] == 1
    assert versions["products"] in ("oneDNN", "torch")


def test_histories_columns_are_in_reading_order_and_layers_in_counting_order(tmp_path: Path):
    """Ten layers: attention_kl_10 comes after attention_kl_9, not after attention_kl_1."""
    internal = [f"{kind}_{layer}" for kind in ("attention_kl", "cls_cosine") for layer in range(1, 11)]
    row = dict.fromkeys([*reversed(internal), "soft_labels", "hard_labels", "gflop", "score"], 0.5)
    write_history(tmp_path / "history.csv", [{"epoch": 1, "phase": "all", "layer": None, "completed": None, **row}])
    head = (tmp_path / "history.csv").read_text().splitlines()[0].split(",")
    assert head[:4] == ["epoch", "phase", "layer", "completed"]
    assert head[4:6] == ["hard_labels", "soft_labels"]
    assert head[6:-2] == internal
    assert head[-2:] == ["score", "gflop"]


def test_history_keeps_every_digit_and_whole_layers(tmp_path: Path):
    rows = [
        {
            "epoch": 1,
            "phase": "layer 1",
            "layer": 1,
            "completed": 1,
            "cls_cosine_1": 0.1 + 0.2,
            "score": 1 / 3,
            "gflop": 1.0,
        },
        {"epoch": 2, "phase": "classification", "layer": None, "completed": None, "score": 0.5, "gflop": 2.0},
    ]
    write_history(tmp_path / "history.csv", rows)
    assert (tmp_path / "history.csv").read_text().splitlines()[1:] == [
        "1,layer 1,1,1,0.30000000000000004,0.3333333333333333,1.0",
        "2,classification,,,,0.5,2.0",
    ]
    assert pd.read_csv(tmp_path / "history.csv")["cls_cosine_1"].tolist()[0] == 0.1 + 0.2


def test_a_history_of_no_epoch_has_its_columns(tmp_path: Path):
    write_history(tmp_path / "history.csv", [])
    assert (tmp_path / "history.csv").read_text() == "epoch,phase,layer,completed,score,gflop\n"
