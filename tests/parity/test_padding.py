"""Neither further padding nor the company in a batch changes an example's loss or the teacher's signals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcore.data.batches import Batch, collate
from kdcore.data.examples import Examples
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase
from kdcore.model.encoder import Encoder
from tests import tiny
from tests.distilling import encoder, examples, objective, padded, phases_of, stored, whole_batch

ROWS = 10
families = pytest.mark.parametrize("family", tiny.FAMILIES)


def setting(family: str, method: str = "all") -> tuple[Encoder, Objective, Examples]:
    found = examples(family, ROWS, pairs=True, unlabelled=(3,))
    return encoder(family, seed=1), objective(method, encoder(family), layer_map=(1, 2, 3, 4)), found


def per_example(student: Encoder, what: Objective, batch: Batch, phase: Phase) -> dict[str, Tensor]:
    with torch.no_grad():
        loss, terms = what(student, batch, phase)
    return {"loss": loss, **terms}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values.shape == expected[name].shape, name
        torch.testing.assert_close(values, expected[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("method", ["none", "soft", "all", "sid"])
@families
def test_padding_further_changes_no_loss(family: str, method: str):
    student, what, found = setting(family, method)
    batch = whole_batch(found)
    for phase in phases_of(method, layers=4):
        expected = per_example(student, what, batch, phase)
        assert_same(per_example(student, what, padded(batch, 9, found.pad), phase), expected)


@families
def test_an_example_alone_has_the_loss_that_it_has_in_a_batch(family: str):
    student, what, found = setting(family)
    (phase,) = phases_of("all", layers=4)
    together = per_example(student, what, whole_batch(found), phase)
    alone = [per_example(student, what, collate(found, np.asarray([row])), phase) for row in range(ROWS)]
    assert_same({name: torch.cat([one[name] for one in alone]) for name in together}, together)


@families
def test_the_order_of_a_batch_changes_no_loss(family: str):
    student, what, found = setting(family)
    (phase,) = phases_of("all", layers=4)
    order = np.random.default_rng(0).permutation(ROWS)
    together = per_example(student, what, whole_batch(found), phase)
    mixed = per_example(student, what, collate(found, order), phase)
    assert_same({name: values[np.argsort(order)] for name, values in mixed.items()}, together)


def test_what_stands_in_the_padding_does_not_matter(tmp_path: Path):
    student, what, found = setting("bert")
    (phase,) = phases_of("all", layers=4)
    batch = padded(whole_batch(found), 5, found.pad)
    other = {**batch.inputs, "input_ids": torch.where(batch.mask == 1, batch.inputs["input_ids"], 7)}
    expected = per_example(student, what, batch, phase)
    assert_same(per_example(student, what, Batch(batch.rows, other, batch.labels), phase), expected)


def test_padding_further_changes_no_stored_signal(tmp_path: Path):
    *_, found = setting("bert")
    read, every = stored(encoder(), found, tmp_path), (1, 2, 3, 4)
    batch = whole_batch(found)
    short, long = read.at(batch, every, every), read.at(padded(batch, 6, found.pad), every, every)
    tokens = batch.mask.shape[1]
    for layer in every:
        assert torch.equal(long.attention[layer][..., :tokens, :tokens], short.attention[layer])
        assert (long.attention[layer][..., tokens:] == 0).all()
        assert torch.equal(long.cls[layer], short.cls[layer])
