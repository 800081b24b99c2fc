"""What the encoder hands out is what plain Hugging Face computes with eager attention, for every family."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from kdcore.data.batches import Batch, collate
from kdcore.model.capture import Internals
from kdcore.model.encoder import Encoder
from tests import tiny
from tests.distilling import encoder, examples, padded, whole_batch

EVERY = (1, 2, 3, 4)
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-5}
families = pytest.mark.parametrize("family", tiny.FAMILIES)


def batch_of(family: str, pairs: bool = False) -> Batch:
    """Nine examples of several lengths, and three columns of padding beyond the longest."""
    found = examples(family, 9, pairs=pairs)
    assert len(set(found.lengths)) > 2
    return padded(whole_batch(found), 3, found.pad)


def eager(family: str, folder: Path) -> Any:
    """Hugging Face's own model, of the same weights."""
    tiny.model(family).save_pretrained(folder)
    return AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")


def real(maps: Tensor, batch: Batch) -> Tensor:
    """(B, A, T, T) maps with the rows of padding set to 0: what a padding token attends to counts nowhere."""
    return maps * batch.mask[:, None, :, None]


@torch.no_grad()
def both(family: str, folder: Path, pairs: bool = False) -> tuple[Internals, Any, Batch]:
    batch, plain = batch_of(family, pairs), eager(family, folder)
    expected = plain.eval()(**batch.inputs, output_attentions=True, output_hidden_states=True)
    return encoder(family)(batch.inputs, attention=EVERY), expected, batch


@pytest.mark.parametrize("pairs", [False, True])
@families
def test_attention_is_that_of_hugging_face(family: str, pairs: bool, tmp_path: Path):
    found, expected, batch = both(family, tmp_path, pairs)
    assert sorted(found.attention) == list(EVERY)
    for layer in EVERY:
        maps = found.attention[layer].exp()
        torch.testing.assert_close(real(maps, batch), real(expected.attentions[layer - 1], batch), **CLOSE)


@families
def test_logits_are_those_of_hugging_face_whatever_is_captured(family: str, tmp_path: Path):
    found, expected, batch = both(family, tmp_path)
    torch.testing.assert_close(found.logits, expected.logits, **CLOSE)
    for wanted in ((), (2,), (1, 4)):
        some = encoder(family)(batch.inputs, attention=wanted)
        assert sorted(some.attention) == list(wanted)
        torch.testing.assert_close(some.logits, expected.logits, **CLOSE)


@families
def test_hidden_states_of_every_token_are_those_of_hugging_face(family: str, tmp_path: Path):
    """Of the last layer too, where nothing else reads any token but [CLS], whether the classifier runs or not."""
    _, expected, batch = both(family, tmp_path)
    tokens = batch.mask.bool()
    for depth in (None, 2):
        wanted = (1, depth or 4)
        with torch.no_grad():
            found = encoder(family)(batch.inputs, depth, hidden=wanted)
        assert tuple(found.hidden) == wanted
        for layer, values in found.hidden.items():
            last = family == "modernbert" and layer == 4
            values = encoder(family).model.base_model.final_norm(values) if last else values
            torch.testing.assert_close(values[tokens], expected.hidden_states[layer][tokens], **CLOSE)
    torch.testing.assert_close(encoder(family)(batch.inputs, hidden=(4,)).logits, expected.logits, **CLOSE)


@families
def test_cls_vectors_are_those_of_hugging_face(family: str, tmp_path: Path):
    found, expected, _ = both(family, tmp_path)
    assert sorted(found.cls) == list(EVERY)
    hidden = list(expected.hidden_states)  # the embeddings, then each layer
    for layer in EVERY[:-1]:
        torch.testing.assert_close(found.cls[layer], hidden[layer][:, 0], **CLOSE)
    last = found.cls[EVERY[-1]]
    if family == "modernbert":  # Hugging Face shows its last layer after the encoder's final norm
        last = encoder(family).model.base_model.final_norm(last)
    torch.testing.assert_close(last, hidden[-1][:, 0], **CLOSE)


@families
def test_rows_sum_to_one_while_training_where_those_of_hugging_face_do_not(family: str, tmp_path: Path):
    batch, plain = batch_of(family), eager(family, tmp_path)
    torch.manual_seed(0)
    found = encoder(family).train()(batch.inputs, attention=EVERY)
    theirs = plain.train()(**batch.inputs, output_attentions=True).attentions
    tokens = batch.mask[:, None].bool().expand(-1, 4, -1)  # (B, A, T): the rows of real tokens
    for layer in EVERY:
        sums = found.attention[layer].exp().sum(-1)[tokens]
        torch.testing.assert_close(sums, torch.ones_like(sums), **CLOSE)
        assert (theirs[layer - 1].sum(-1)[tokens] - 1).abs().max() > 0.05


def with_attention_dropout_only(family: str, p: float) -> Encoder:
    """A model in train mode that drops attention probabilities, and nothing else."""
    model = encoder(family)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout):
            parent, _, last = name.rpartition(".")
            inside = hasattr(model.get_submodule(parent), "is_causal") or parent.endswith((".self", ".attn"))
            module.p = p if inside and last == "dropout" else 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = p
    return model.train()


@families
def test_maps_are_those_before_dropout_and_dropout_still_acts(family: str):
    batch = batch_of(family)
    calm = encoder(family)(batch.inputs, attention=EVERY)
    torch.manual_seed(0)
    dropped = with_attention_dropout_only(family, 0.5)(batch.inputs, attention=EVERY)
    # Nothing is dropped before layer 1 attends, so its map is that of eval mode; its output is not.
    expected = real(calm.attention[1].exp(), batch)
    torch.testing.assert_close(real(dropped.attention[1].exp(), batch), expected, **CLOSE)
    assert (dropped.cls[1] - calm.cls[1]).abs().max() > 0.05


@families
def test_dropout_keeps_the_mean_of_what_attention_gives(family: str):
    model, values = with_attention_dropout_only(family, 0.2), []
    into = model.layers[0].get_submodule(AFTER_ATTENTION[family])
    into.register_forward_pre_hook(lambda _, inputs: values.append(inputs[0][:, 0].detach()))  # (B, H)
    many = collate(examples(family, 1), np.zeros(2000, dtype=np.int64))
    torch.manual_seed(0)
    model(many.inputs, depth=1, attention=(1,))
    model.eval()(many.inputs, depth=1, attention=(1,))
    noisy, calm = (seen.mean(0) for seen in values)
    assert (noisy - calm).abs().mean() < 0.03 * calm.abs().mean()


AFTER_ATTENTION = {
    **dict.fromkeys(tiny.FAMILIES, "attention.output.dense"),
    "mpnet": "attention.attn.o",
    "distilbert": "attention.out_lin",
    "modernbert": "attn.Wo",
}


@families
def test_a_gradient_reaches_queries_and_keys_through_the_maps(family: str):
    model, batch = encoder(family).train(), batch_of(family)
    found = model(batch.inputs, depth=1, attention=(1,))
    real(found.attention[1].exp(), batch).square().sum().backward()
    moved = [p.grad.abs().max() for p in model.layers[0].parameters() if p.grad is not None]
    assert max(moved) > 1e-4
    assert all(p.grad is None for layer in model.layers[1:] for p in layer.parameters())
