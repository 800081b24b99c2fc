"""Training only the words that occur ends with the weights that training every word ends with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdcore.distil import training
from kdcore.distil.schedule import Phase
from kdcore.model.encoder import Encoder
from kdcore.model.words import OccurringWords
from tests import tiny
from tests.distilling import encoder, examples, objective, trainer, whole_batch

families = pytest.mark.parametrize("family", tiny.FAMILIES)


class EveryWord:
    """In the place of OccurringWords: the encoder keeps its own embeddings, and AdamW runs over all of them."""

    def __init__(self, *_: Any) -> None:
        self.kept = 1.0

    def decay(self, share: float) -> None:
        pass

    def leave(self) -> None:
        pass


def words(model: Encoder) -> Tensor:
    embedding = model.model.base_model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    return embedding.weight.detach()


def trained(family: str, folder: Path) -> Encoder:
    """After two epochs of three steps each, with much weight decay and with clipping."""
    student = encoder(family, seed=1)
    phases = (Phase("layer 2", 1, internal=(1, 2), classification=False, layer=2), Phase("classification", 1))
    what = objective("sid", encoder(family), layer_map=(1, 2, 3, 4))
    knobs = {"weight_decay": 2.0, "clip": 1.0, "learning_rate": 1e-2, "batch_size": 4}
    trainer(student, examples(family), phases, what, folder, **knobs).train()
    return student


@families
def test_weights_are_those_of_training_every_word(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found, start = trained(family, tmp_path / "own"), words(encoder(family, seed=1))
    monkeypatch.setattr(training, "OccurringWords", EveryWord)
    expected = dict(trained(family, tmp_path / "plain").named_parameters())
    for name, weight in found.named_parameters():
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-5, msg=name)
    absent = np.setdiff1d(np.arange(len(start)), examples(family).tokens)
    shares = words(found)[absent] / start[absent]
    assert 0 < shares[shares.isfinite()].max() < 0.95  # decay reached the words that do not occur


def test_only_words_that_occur_have_gradients_and_moments():
    model, found = encoder(), examples()
    own = OccurringWords(model, found.words())
    assert len(own.weight) == len({0, *found.tokens.tolist()}) < len(own.whole)
    model.train()(whole_batch(found).inputs).logits.sum().backward()
    assert own.weight.grad is not None
    assert [name for name, _ in model.named_parameters() if "word_embeddings" in name] == [
        "model.bert.embeddings.word_embeddings.weight"
    ]


@torch.no_grad()
def test_in_eval_mode_every_word_is_known():
    model, plain = encoder(), encoder()
    OccurringWords(model, examples(rows=2).words())
    batch = whole_batch(examples(seed=5))
    torch.testing.assert_close(model.eval()(batch.inputs).logits, plain(batch.inputs).logits)


def test_words_that_occur_are_current_in_eval_mode_and_after_leaving():
    model = encoder()
    own = OccurringWords(model, np.asarray([7, 3]))
    before = own.whole.clone()
    model.train()
    with torch.no_grad():
        own.weight += 1.0  # in the order of ids: 3, 7
    own.decay(0.5)
    model.eval()
    expected = before / 2
    expected[[3, 7]] = before[[3, 7]] + 1.0
    assert torch.equal(own.whole, expected)
    own.leave()
    assert torch.equal(words(model), expected)


def test_nothing_decays_while_the_embeddings_do_not_train():
    model = encoder()
    own = OccurringWords(model, np.asarray([3]))
    own.weight.requires_grad_(False)
    own.decay(0.5)
    assert own.kept == 1.0
