"""Batches: what padding is, and an order that is random, the same for one seed, and nearly without padding."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcore.data.batches import POOL, collate, in_order, shuffled
from kdcore.data.examples import Examples
from tests import tiny
from tests.distilling import examples

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=300).map(np.asarray)
sizes, seeds = st.integers(1, 40), st.integers(0, 2**32 - 1)


def by_hand(types: bool = True) -> Examples:
    """Three examples of 3, 1 and 2 tokens."""
    return Examples(
        tokens=np.asarray([11, 12, 13, 21, 31, 32], np.int32),
        types=np.asarray([0, 1, 1, 0, 0, 1], np.int32) if types else None,
        start=np.asarray([0, 3, 4, 6]),
        labels=np.asarray([1.0, np.nan, 0.0]),
        pad=9,
    )


def test_a_batch_by_hand():
    batch = collate(by_hand(), np.asarray([2, 0]))
    assert batch.rows.tolist() == [2, 0]
    assert {name: value.tolist() for name, value in batch.inputs.items()} == {
        "input_ids": [[31, 32, 9], [11, 12, 13]],
        "attention_mask": [[1, 1, 0], [1, 1, 1]],
        "token_type_ids": [[0, 1, 0], [0, 1, 1]],
    }
    assert batch.labels.tolist() == [0.0, 1.0]
    assert batch.mask is batch.inputs["attention_mask"]


def test_a_batch_is_as_long_as_its_longest_example():
    assert collate(by_hand(), np.asarray([1])).mask.tolist() == [[1]]
    assert collate(by_hand(), np.asarray([1, 2])).mask.tolist() == [[1, 0], [1, 1]]


def test_a_family_without_token_types_gets_none():
    assert set(collate(by_hand(types=False), np.asarray([0])).inputs) == {"input_ids", "attention_mask"}


def test_an_unlabelled_example_has_nan():
    assert collate(by_hand(), np.asarray([1, 2])).labels.isnan().tolist() == [True, False]


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("pairs", [False, True])
def test_a_batch_is_what_the_tokenizer_would_pad(family: str, pairs: bool):
    frame = tiny.texts(12, pairs)
    texts = [list(frame[column]) for column in frame.columns if column != "label"]
    expected = tiny.tokenizer(family)(*texts, padding=True, return_tensors="pt")
    batch = collate(examples(family, pairs=pairs), np.arange(12))
    assert set(batch.inputs) == set(expected)
    for name, values in batch.inputs.items():
        assert torch.equal(values, expected[name]), name
    assert batch.labels.tolist() == frame["label"].tolist()


def test_a_moved_batch_is_the_same_batch():
    batch = collate(by_hand(), np.asarray([2, 0]))
    moved = batch.to(torch.device("cpu"))
    assert moved.rows is batch.rows
    assert all(torch.equal(moved.inputs[name], value) for name, value in batch.inputs.items())
    assert torch.equal(moved.labels, batch.labels)


@given(lengths, sizes, seeds, st.integers(0, 5))
def test_an_epoch_has_every_row_once_in_full_batches(found: np.ndarray, size: int, seed: int, epoch: int):
    batches = shuffled(found, size, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(found)))
    assert len(batches) == -(-len(found) // size)
    assert sorted(len(batch) for batch in batches)[1:] == [size] * (len(batches) - 1)


@given(lengths, sizes, seeds)
def test_an_order_is_of_its_seed_and_epoch(found: np.ndarray, size: int, seed: int):
    one, same = shuffled(found, size, seed, 3), shuffled(found, size, seed, 3)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))


def one_block(found: np.ndarray, size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The order as it was before there were blocks, written out."""
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(found))
    pools = [order[start : start + size * POOL] for start in range(0, len(order), size * POOL)]
    sorted_pools = [pool[np.argsort(found[pool], kind="stable")] for pool in pools]
    cut = [pool[start : start + size] for pool in sorted_pools for start in range(0, len(pool), size)]
    return [cut[index] for index in random.permutation(len(cut))]


@given(lengths, sizes, seeds, st.integers(0, 5))
def test_up_to_a_block_all_rows_are_shuffled_together(found: np.ndarray, size: int, seed: int, epoch: int):
    expected, batches = one_block(found, size, seed, epoch), shuffled(found, size, seed, epoch)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in expected]


@given(lengths, sizes, seeds, st.integers(0, 5), st.integers(1, 100))
def test_an_epoch_of_blocks_has_every_row_once_in_full_batches(
    found: np.ndarray, size: int, seed: int, epoch: int, block: int
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdcore.data.batches.BLOCK", block)
        batches = shuffled(found, size, seed, epoch)
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(found)))
        assert len(batches) == -(-len(found) // size)
        assert sorted(len(batch) for batch in batches)[1:] == [size] * (len(batches) - 1)


@given(lengths, sizes, seeds, st.integers(0, 300), st.integers(1, 100))
def test_what_is_left_of_an_epoch_is_its_end(found: np.ndarray, size: int, seed: int, begin: int, block: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdcore.data.batches.BLOCK", block)
        whole, left = shuffled(found, size, seed, 1), shuffled(found, size, seed, 1)[begin:]
        assert [batch.tolist() for batch in left] == [batch.tolist() for batch in whole][begin:]


def test_blocks_mix_over_the_epochs_and_stay_random(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kdcore.data.batches.BLOCK", 100)
    found = np.random.default_rng(0).integers(3, 30, size=1000)
    starts = set()
    for epoch in range(4):
        order = np.concatenate(shuffled(found, 10, 0, epoch))
        blocks = [order[start : start + 100] for start in range(0, 1000, 100)]
        firsts = [min(((block - anchor) % 1000).max() for anchor in block) for block in blocks]
        assert firsts == [99] * 10  # each block is one stretch of rows, which may go over the end
        assert all((np.diff(block) != 1).mean() > 0.9 for block in blocks)
        starts.add(tuple(int(block.min()) for block in blocks))
    assert len(starts) == 4


def test_other_seeds_and_epochs_have_other_orders():
    found = np.random.default_rng(0).integers(3, 30, size=200)
    orders = [np.concatenate(shuffled(found, 8, seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    # Not only the batches: their members change too.
    members = [frozenset(frozenset(batch.tolist()) for batch in shuffled(found, 8, 0, epoch)) for epoch in range(3)]
    assert len(members[0] & members[1]) < 5
    assert len(set(members)) == 3


def test_an_order_does_not_depend_on_numpys_own_state():
    found = np.arange(1, 50)
    np.random.seed(0)
    first = np.concatenate(shuffled(found, 4, 0, 0))
    np.random.seed(1)
    assert np.array_equal(np.concatenate(shuffled(found, 4, 0, 0)), first)


def padding(found: np.ndarray, batches: list[np.ndarray]) -> int:
    return sum(int((found[batch].max() - found[batch]).sum()) for batch in batches)


def test_batches_are_of_about_one_length_and_not_in_order_of_it():
    found = np.random.default_rng(0).integers(3, 60, size=64 * POOL)
    batches = shuffled(found, 16, 0, 0)
    unsorted = np.array_split(np.random.default_rng(1).permutation(len(found)), len(batches))
    assert padding(found, batches) < padding(found, unsorted) / 10
    longest = np.asarray([found[batch].max() for batch in batches], dtype=float)
    assert abs(np.corrcoef(longest, np.arange(len(batches)))[0, 1]) < 0.2


@given(lengths, sizes)
def test_in_order_has_every_row_once_longest_first(found: np.ndarray, size: int):
    batches = list(in_order(found, size))
    rows = np.concatenate(batches)
    assert sorted(rows.tolist()) == list(range(len(found)))
    assert (np.diff(found[rows]) <= 0).all()
    assert all(len(batch) == size for batch in batches[:-1])
