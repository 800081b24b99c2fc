"""Signals read from disk teach what the live teacher teaches: exactly from float32, nearly from float16."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcore.data.batches import Batch, collate, in_order
from kdcore.data.examples import Examples
from kdcore.distil import shards
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase
from kdcore.distil.signals import Live, Signals, Stored, Teaching
from kdcore.model.encoder import Encoder
from tests import tiny
from tests.distilling import encoder, examples, phases_of, stored

ROWS, BATCH = 14, 4
# Of a number, float16 keeps 11 significant bits, so it is off by 2**-11 of its size at most; a loss sums many.
FLOAT16: dict[str, Any] = {"rtol": 2**-11, "atol": 1e-4}
families = pytest.mark.parametrize("family", tiny.FAMILIES)


def every_phase(layers: int) -> tuple[Phase, ...]:
    """Each internal loss alone, all of them with the classification loss, and the classification loss alone."""
    return (*phases_of("pid", layers), *phases_of("all", layers))


def losses(student: Encoder, signals: Signals, found: Examples, batches: list[np.ndarray]) -> dict[str, Tensor]:
    """The loss of every example and every term, over all phases, in the examples' order."""
    what = Objective(signals, (1, 2, 3, 4), {"kl": 1.0, "cos": 1.0}, temperature=2.0, hard_label_weight=0.1)
    said: dict[str, Tensor] = {}
    for rows in batches:
        for number, phase in enumerate(every_phase(4)):
            with torch.no_grad():
                loss, terms = what(student, collate(found, rows), phase)
            for name, values in {"loss": loss, **terms}.items():
                said.setdefault(f"{number} {name}", torch.full((len(found),), torch.nan))[rows] = values
    return said


def as_extracted(found: Examples) -> list[np.ndarray]:
    """The batches that extraction makes of one shard: other batches round differently in the last bit."""
    return [rows.copy() for rows in in_order(found.lengths, BATCH)]


def as_shuffled(found: Examples) -> list[np.ndarray]:
    """Batches that extraction does not make, of another size."""
    return np.array_split(np.random.default_rng(5).permutation(len(found)), 3)


class SamePass(Live):
    """A live teacher that always captures all layers, as extraction does.

    transformers' fused attention, which runs where nothing is captured, rounds differently in the last bit.
    """

    def at(self, batch: Batch, attention: Collection[int], cls: Collection[int], *_: Any) -> Teaching:
        said = super().at(batch, range(1, self.layers + 1), cls)
        return Teaching({layer: said.attention[layer] for layer in attention}, said.cls, said.given_logits)


@families
def test_float32_signals_give_the_live_loss_exactly(family: str, tmp_path: Path):
    found, student, teacher = examples(family, ROWS), encoder(family, seed=1), encoder(family)
    read = stored(teacher, found, tmp_path, batch_size=BATCH)
    expected = losses(student, SamePass(teacher), found, as_extracted(found))
    for name, values in losses(student, read, found, as_extracted(found)).items():
        assert torch.equal(values, expected[name]), name


@pytest.mark.parametrize("attention", [True, False])
@families
def test_float32_signals_give_the_loss_of_the_teacher_as_it_is(family: str, attention: bool, tmp_path: Path):
    found, student, teacher = examples(family, ROWS), encoder(family, seed=1), encoder(family)
    read = stored(teacher, found, tmp_path, attention=attention, batch_size=BATCH)
    expected = losses(student, Live(teacher), found, as_shuffled(found))
    for name, values in losses(student, read, found, as_shuffled(found)).items():
        torch.testing.assert_close(values, expected[name], rtol=1e-5, atol=1e-5, msg=name)


@families
def test_float16_signals_give_the_live_loss_within_their_precision(family: str, tmp_path: Path):
    found, student, teacher = examples(family, ROWS), encoder(family, seed=1), encoder(family)
    read = stored(teacher, found, tmp_path, dtype="float16", batch_size=BATCH)
    expected = losses(student, SamePass(teacher), found, as_extracted(found))
    for name, values in losses(student, read, found, as_extracted(found)).items():
        torch.testing.assert_close(values, expected[name], **FLOAT16, msg=name)
        if name.endswith(("soft_labels", "hard_labels")):  # logits are float32 always
            assert torch.equal(values, expected[name])


def test_many_shards_say_what_one_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found, student, teacher = examples(rows=ROWS), encoder(seed=1), encoder()
    one = stored(teacher, found, tmp_path / "one", batch_size=ROWS)
    monkeypatch.setattr(shards, "SHARD_BYTES", 10_000)
    many = stored(teacher, found, tmp_path / "many", batch_size=ROWS)
    assert len(list((tmp_path / "one/signals").glob("attention-*.npy"))) == 1
    assert len(list((tmp_path / "many/signals").glob("attention-*.npy"))) > 4
    expected = losses(student, one, found, as_shuffled(found))
    for name, values in losses(student, many, found, as_shuffled(found)).items():
        torch.testing.assert_close(values, expected[name], rtol=1e-5, atol=1e-6, msg=name)


def test_signals_do_not_depend_on_the_batch_size_of_extraction(tmp_path: Path):
    found, teacher = examples(rows=ROWS), encoder()
    folders = {size: stored(teacher, found, tmp_path / str(size), batch_size=size) for size in (1, 5, ROWS)}
    batch, every = collate(found, np.arange(ROWS)), (1, 2, 3, 4)
    first, *rest = (read.at(batch, every, every) for read in folders.values())
    for other in rest:
        torch.testing.assert_close(other.logits, first.logits, rtol=1e-4, atol=1e-5)
        for layer in every:
            torch.testing.assert_close(other.attention[layer], first.attention[layer], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(other.cls[layer], first.cls[layer], rtol=1e-4, atol=1e-5)


def test_stored_maps_are_zero_at_padding_as_live_ones_are(tmp_path: Path):
    found, teacher = examples(rows=ROWS), encoder()
    batch = collate(found, np.arange(ROWS))
    real = batch.mask[:, None, :, None] * batch.mask[:, None, None, :]
    for signals in (Live(teacher), stored(teacher, found, tmp_path)):
        maps = signals.at(batch, (2,), ()).attention[2]
        assert (maps[(real == 0).expand_as(maps)] == 0).all()
        torch.testing.assert_close(maps.sum(-1), batch.mask[:, None].expand(-1, 4, -1).float())


def test_the_live_teacher_is_calm_and_still(tmp_path: Path):
    teacher = encoder().train()
    signals: Signals = Live(teacher)
    batch = collate(examples(), np.arange(12))
    first, second = signals.at(batch, (1,), (1,)), signals.at(batch, (1,), (1,))
    assert torch.equal(first.attention[1], second.attention[1])
    assert torch.equal(first.logits, second.logits)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not first.attention[1].requires_grad


@families
def test_a_live_teacher_runs_no_deeper_than_it_is_asked_and_says_the_same(family: str):
    teacher = encoder(family)
    batch = collate(examples(family), np.arange(12))
    ran: list[int] = []
    for number, layer in enumerate(teacher.layers, start=1):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    short = Live(teacher).at(batch, (1,), (1, 2), logits=False)
    assert (ran, short.given_logits) == ([1, 2], None)
    whole = Live(teacher).at(batch, (1,), (1, 2))
    torch.testing.assert_close(short.attention[1], whole.attention[1])
    torch.testing.assert_close(short.cls, whole.cls)


def test_both_sources_know_the_teachers_depth(tmp_path: Path):
    read = stored(encoder(layers=3), examples(), tmp_path)
    assert isinstance(read, Stored)
    assert (read.layers, Live(encoder(layers=3)).layers, len(read)) == ((1, 2, 3), 3, 12)
