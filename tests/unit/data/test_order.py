"""The nested order: every prefix is a stratified subset of every longer one."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcore.data import order


def nested(strata: Sequence[Hashable], keys: Iterable[str]) -> list[int]:
    return order.nested(strata, order.digests(keys)).tolist()


def keys(rows: int) -> list[str]:
    return [str(i) for i in range(rows)]


def test_by_hand():
    # a: rows 0, 2, 4 at 1/6, 3/6, 5/6 in the order of their hashes; b: rows 1, 3 at 1/4, 3/4.
    a, b = (sorted(rows, key=lambda i: sha256(str(i).encode()).digest()) for rows in ([0, 2, 4], [1, 3]))
    assert nested(list("ababa"), keys(5)) == [a[0], b[0], a[1], b[1], a[2]]


def test_places_are_in_the_middle_of_their_share():
    # One a at 1/2; three b at 1/6, 1/2, 5/6; a comes first where both are at 1/2.
    assert ["abbb"[row] for row in nested(list("abbb"), keys(4))] == ["b", "a", "b", "b"]


def test_known_order():
    # sha256 of "0".."5" begins 5f, 6b, d4, 4e, 4b, ef: so the shuffle is 4, 3, 0, 1, 2, 5.
    assert nested([0] * 6, keys(6)) == [4, 3, 0, 1, 2, 5]


def test_no_rows_have_no_order():
    assert nested([], []) == []


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "None", None]), st.text(max_size=2)), max_size=60))
def test_it_is_a_sort_by_place_and_class_and_row(rows: list[tuple[str | None, str]]):
    """Also of rows with one key, and of classes that are written alike: those stay in the order of their hashes."""
    shuffled = sorted(range(len(rows)), key=lambda i: sha256(rows[i][1].encode()).digest())
    classes = sorted(dict.fromkeys(rows[i][0] for i in shuffled), key=str)
    members = [[i for i in shuffled if rows[i][0] == name] for name in classes]
    placed = [
        ((2 * i + 1) / (2 * len(own)), rank, row) for rank, own in enumerate(members) for i, row in enumerate(own)
    ]
    assert nested([name for name, _ in rows], [key for _, key in rows]) == [row for _, _, row in sorted(placed)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=200))
def test_every_prefix_has_the_balance_of_the_whole(strata: list[int]):
    rows, total, size = nested(strata, keys(len(strata))), Counter(strata), len(strata)
    assert sorted(rows) == list(range(size))
    seen: Counter[int] = Counter()
    for n, row in enumerate(rows, 1):
        seen[strata[row]] += 1
        for name, count in total.items():
            # Rounding moves each class by at most 1/2, and the sum of all by as much per class.
            assert abs(seen[name] - n * count / size) <= (len(total) + 1) / 2


@pytest.mark.parametrize("n", [1, 10, 99, 500])
def test_ten_per_cent_stay_ten_per_cent(n: int):
    strata = [int(i % 10 == 0) for i in range(1000)]
    rare = sum(strata[row] for row in nested(strata, keys(1000))[:n])
    assert abs(rare - n / 10) <= 1


def test_other_rows_do_not_change_the_order_within_a_class():
    few = nested(["a"] * 20, keys(20))
    many = [row for row in nested(["a"] * 20 + ["b"] * 13, keys(33)) if row < 20]
    assert many == few


def test_the_order_is_a_shuffle():
    rows = nested([0] * 1000, keys(1000))
    assert rows != list(range(1000))
    assert 400 < sum(rows[:500]) / 500 < 600  # the mean of the first half is near that of all
