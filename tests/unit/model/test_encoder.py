"""The adapter: its parts in every family, what it counts, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from kdcore.errors import UserError
from kdcore.model.capture import NONE, in_progress
from kdcore.model.config import load_config
from kdcore.model.encoder import ATTENTION, Encoder
from kdcore.model.families import FAMILIES
from kdcore.model.loading import load_classifier
from tests import tiny
from tests.distilling import encoder, examples, whole_batch

families = pytest.mark.parametrize("family", tiny.FAMILIES)
# What is above the layers in each family, the pooler included.
HEADS = {
    "bert": ("bert.pooler.dense", "classifier"),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "electra"), ("classifier.dense", "classifier.out_proj")),
    "mpnet": ("classifier.dense", "classifier.out_proj"),
    **dict.fromkeys(("deberta", "deberta-v2"), ("pooler.dense", "classifier")),
    "distilbert": ("pre_classifier", "classifier"),
    "modernbert": ("head.dense", "head.norm", "classifier"),
}


def test_every_family_has_a_tiny_model():
    assert set(FAMILIES) == set(tiny.FAMILIES)


@families
def test_layers_and_output_are_the_models_own(family: str):
    model = encoder(family, layers=3, labels=5)
    assert len(model.layers) == 3
    assert model.output.out_features == 5
    batch = whole_batch(examples(family))
    seen: list[torch.Tensor] = []
    model.output.register_forward_hook(lambda _, __, output: seen.append(output))
    assert torch.equal(model(batch.inputs).logits, seen[0].reshape(12, 5))


@families
def test_the_head_is_what_is_above_the_layers(family: str):
    model = encoder(family)
    head = {id(p) for p in model.head_parameters()}
    names = {name.rpartition(".")[0] for name, p in model.model.named_parameters() if id(p) in head}
    assert names == set(HEADS[family])


def meta(layers: int) -> Encoder:
    """BERT-base of this depth, without memory for its weights."""
    config = AutoConfig.for_model("bert", num_hidden_layers=layers)
    with torch.device("meta"):
        return Encoder(AutoModelForSequenceClassification.from_config(config))


@pytest.mark.parametrize(("layers", "expected"), [(12, 85_645_056), (6, 43_117_824)])
def test_bert_counts_as_in_the_paper(layers: int, expected: int):
    assert meta(layers).parameter_counts()["encoder_and_pooler"] == expected


def test_bert_counts_by_hand():
    # A layer: 4 projections of 768² + 768, 2 of 768 · 3072 with 3072 and 768 biases, 2 norms of 2 · 768.
    layer = 4 * (768 * 768 + 768) + (768 * 3072 + 3072) + (3072 * 768 + 768) + 2 * 2 * 768
    pooler, output = 768 * 768 + 768, 2 * 768 + 2
    embeddings = (30522 + 512 + 2) * 768 + 2 * 768
    assert meta(12).parameter_counts() == {
        "encoder_and_pooler": 12 * layer + pooler,
        "total": embeddings + 12 * layer + pooler + output,
    }


@families
def test_a_layer_less_is_a_layers_parameters_less(family: str):
    four, three = encoder(family, layers=4), encoder(family, layers=3)
    layer = sum(p.numel() for p in four.layers[3].parameters())
    for name, count in four.parameter_counts().items():
        assert count - three.parameter_counts()[name] == layer


@families
def test_embeddings_and_output_layer_are_not_on_the_papers_axis(family: str):
    model = encoder(family)
    counts = model.parameter_counts()
    embeddings = ("embeddings", "encoder.rel_embeddings")
    apart = sum(
        p.numel() for name, p in model.model.base_model.named_parameters() if name.startswith(embeddings)
    ) + sum(p.numel() for p in model.output.parameters())
    assert counts["total"] - counts["encoder_and_pooler"] == apart
    assert counts["total"] == sum(p.numel() for p in model.parameters())


# What it refuses


def test_an_unknown_architecture_is_refused_by_name_with_those_that_are_known(tmp_path: Path):
    folder = tiny.save_finetuned(tmp_path, tiny.UNSUPPORTED)
    for load in (Encoder.load, load_config, load_classifier):
        with pytest.raises(UserError) as raised:
            load(folder)
        assert str(raised.value) == (
            f"{folder}: architecture 'albert' can't be captured; these can: "
            "bert, camembert, deberta, deberta-v2, distilbert, electra, modernbert, mpnet, roberta, xlm-roberta"
        )
    with pytest.raises(UserError, match="'albert' can't be captured"):
        Encoder(tiny.model(tiny.UNSUPPORTED))


# Loading


@families
def test_a_loaded_classifier_is_the_one_that_was_saved(tiny_classifier: Callable[..., Path], family: str):
    loaded = Encoder.load(tiny_classifier(family, labels=("bad", "good"))).eval()
    inputs = whole_batch(examples(family)).inputs
    torch.testing.assert_close(loaded(inputs).logits, encoder(family)(inputs).logits)
    assert loaded.config.id2label == {0: "bad", 1: "good"}


def test_a_model_that_could_not_be_written_still_captures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model, inputs = encoder(), whole_batch(examples()).inputs

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(model.model, "save_pretrained", full)
    with pytest.raises(OSError, match="no space left"):
        model.save(tmp_path)
    assert set(model(inputs, attention=(1,)).attention) == {1}


def test_weights_are_loaded_in_float32(tmp_path: Path):
    tiny.model().half().save_pretrained(tmp_path)
    assert {p.dtype for p in Encoder.load(tmp_path).parameters()} == {torch.float32}


# The capture's state


def test_a_model_outside_of_an_encoder_is_not_captured():
    model, batch = encoder(), whole_batch(examples())
    expected = model(batch.inputs).logits
    torch.testing.assert_close(model.model(**batch.inputs).logits, expected)
    assert in_progress() is NONE


def test_a_failed_pass_leaves_no_capture_behind():
    model = encoder()
    with pytest.raises(ValueError, match="input_ids"):
        model({"no_such_input": torch.zeros(1)}, attention=(1,))
    assert in_progress() is NONE
    inputs = whole_batch(examples()).inputs
    assert sorted(model(inputs, attention=(2,)).attention) == [2]


def test_passes_of_two_models_do_not_mix():
    student, teacher, inputs = encoder(layers=2, seed=1), encoder(), whole_batch(examples()).inputs
    own, theirs = student(inputs, attention=(1,)), teacher(inputs, attention=(4,))
    assert (list(own.attention), list(theirs.attention)) == ([1], [4])
    assert (sorted(own.cls), sorted(theirs.cls)) == ([1, 2], [1, 2, 3, 4])
    torch.testing.assert_close(own.attention[1], student(inputs, attention=(1, 2)).attention[1])


def test_the_capture_is_what_the_model_runs():
    assert encoder().config._attn_implementation == ATTENTION


def test_half_precision_scores_have_float32_log_probabilities():
    model, batch = encoder(), whole_batch(examples())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(batch.inputs, attention=(1, 4))
    for maps in found.attention.values():
        assert maps.dtype == torch.float32
        sums = maps.exp().sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-5)
        assert (maps.exp().masked_select(batch.mask[:, None, None] == 0) == 0).all()
