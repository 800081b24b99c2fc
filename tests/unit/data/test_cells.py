"""Single cells: which texts are fine, and what a label may look like."""

import math
from decimal import Decimal
from typing import Any

import pytest

from kdcore.data import checks


@pytest.mark.parametrize(
    "text",
    ["a", " a ", "a\tb", "a\nb", "a\r\nb", "😀", "مرحبا", "你好", "\u200bx", "\x85x", "x" * checks.MOST_BYTES],
)
def test_texts_that_are_fine(text: str):
    assert checks.fault(text) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (None, checks.OTHER),
        (math.nan, checks.OTHER),
        (3, checks.OTHER),
        (b"a", checks.OTHER),
        ("", checks.EMPTY),
        ("\u3000\n", checks.EMPTY),
        ("a\x00", checks.OTHER),
        ("a\x1b", checks.CONTROL),
        ("a\x7f", checks.CONTROL),
        ("a\ud83d", checks.OTHER),
        ("x" * (checks.MOST_BYTES + 1), checks.OTHER),
        ("é" * (checks.MOST_BYTES // 2 + 1), checks.OTHER),
        ("\x07" + "x" * checks.MOST_BYTES, checks.OTHER),  # the worse fault wins
    ],
)
def test_texts_with_a_fault(text: Any, kind: str):
    fault = checks.fault(text)
    assert fault is not None
    assert fault[0] == kind


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("bad", 0),
        ("good", 1),
        (0, 0),
        (1, 1),
        ("1", 1),
        (1.0, 1),
        (True, 1),
        (False, 0),
        (-1, None),
        ("-1", None),
    ],
)
def test_labels_are_names_or_ids(value: Any, label: int | None):
    assert checks.class_id(("bad", "good"))(value) == label


@pytest.mark.parametrize("value", [1, "1", 1.0])
def test_names_that_look_like_numbers_are_names(value: Any):
    assert checks.class_id(("1", "2"))(value) == 0


@pytest.mark.parametrize("value", [0, "0", 3])
def test_there_are_no_ids_beside_names_that_look_like_numbers(value: Any):
    with pytest.raises(ValueError, match=r"must be 1, 2, found"):
        checks.class_id(("1", "2"))(value)


def test_minus_one_may_be_a_name():
    assert checks.class_id(("-1", "1"))(-1) == 0


def test_floats_may_be_names():
    assert [checks.class_id(("1.0", "2.0"))(value) for value in (1.0, "2.0")] == [0, 1]


@pytest.mark.parametrize("value", ["Good", " good", "", 2, -2, 0.5, [1], None, "01", "1_0"])
def test_other_labels_are_refused(value: Any):
    with pytest.raises(ValueError, match="must be bad, good, or an id from 0 to 1, found"):
        checks.class_id(("bad", "good"))(value)


@pytest.mark.parametrize(("value", "number"), [(3, 3.0), ("2.5", 2.5), ("-1e3", -1000.0), (Decimal("1.5"), 1.5)])
def test_numbers(value: Any, number: float):
    assert checks.number(value) == number


@pytest.mark.parametrize("value", ["x", "", None, True, math.inf, "nan", [1], 10**400, "1,5"])
def test_other_numbers_are_refused(value: Any):
    with pytest.raises(ValueError, match="must be a finite number, found"):
        checks.number(value)


def test_scores_are_hidden_where_all_are_minus_one():
    assert checks.hidden([-1, -1.0, "-1", "-1.0"])
    assert not checks.hidden([-1, 2])
    assert not checks.hidden([])
