"""What is only odd is counted and warned about, never refused; GLUE is taken as it is published."""

from dataclasses import replace

import pandas as pd
import pytest

from kdcore.data.checks import check
from kdcore.data.tables import Raw, Table
from kdcore.data.tasks import GLUE, Task
from kdcore.errors import UserError
from tests.unit.raw_files import PAIRS, REVIEWS, SCORES

THREE = replace(REVIEWS, labels=("bad", "fair", "good"))


def raw(task: Task, **splits: list[tuple]) -> Raw:
    tables = {
        split: Table(pd.DataFrame(rows, columns=list(task.columns), dtype=object), f"{split}.tsv")
        for split, rows in splits.items()
    }
    return Raw(tables, "here", {})


BASE = [("a", "bad"), ("b", "good")]


@pytest.mark.parametrize(
    ("task", "train", "validation", "odd"),
    [
        (REVIEWS, BASE, [("c", 0), ("d", 1)], {}),
        (REVIEWS, [*BASE, *BASE, ("a", "bad")], [("c", 0), ("d", 1)], {"train": {"duplicate rows": 3}}),
        (
            REVIEWS,
            [*BASE, ("a", "good")],
            [("c", 0), ("d", 1)],
            {"train": {"texts with more than one label": 1}},
        ),
        (
            REVIEWS,
            [*BASE, ("a", None)],
            [("c", 0), ("d", 1)],
            {"train": {"rows without a label, of which students learn from the teacher alone": 1}},
        ),  # a text with and without a label is no doubt
        (
            REVIEWS,
            [*BASE, ("NaN", "good"), ("None", "bad"), ("nan and none", "good")],
            [("c", 0), ("d", 1)],
            {"train": {"texts that say only nan, None or null, as missing ones do that were turned into text": 2}},
        ),
        (
            REVIEWS,
            BASE,
            [("a", 1), ("a", 0), ("d", 1)],
            {"validation": {"rows whose text is also in train": 2}},
        ),
        (REVIEWS, BASE, [("c", 0)], {"validation": {"classes without a row: good": 1}}),
        (THREE, BASE, [("c", 0), ("d", 1), ("e", 2)], {"train": {"classes without a row: fair": 1}}),
        (
            REVIEWS,
            [("a", None), ("b", -1)],
            [("c", 0), ("d", 1)],
            {"train": {"rows, none of which has a label": 2}},
        ),
        (
            SCORES,
            [("a", "b", 1.0), ("a", "c", 2.0)],
            [("c", "a", 3.0), ("x", "y", 3.0)],
            {"validation": {"rows, all with the score 3: every correlation is 0": 2}},
        ),
        # A pair is the same only where both halves are.
        (
            PAIRS,
            [("a", "b", 0), ("a", "c", 1), ("b", "a", 2)],
            [("c", "a", 0), ("x", "y", 1), ("x", "z", 2)],
            {},
        ),
    ],
)
def test_odd_things_are_counted(task: Task, train: list, validation: list, odd: dict):
    assert check(task, raw(task, train=train, validation=validation))[1] == odd


def test_glue_keeps_control_characters_and_empty_halves():
    rows = [("a\x08", "b", 1), ("c", "", 0), ("d\x7f", "\x12e", 0)]
    frames, odd = check(GLUE["mrpc"], raw(GLUE["mrpc"], train=rows, validation=[("x", "y", 1), ("z", "y", 0)]))
    assert frames["train"]["text_a"].tolist() == ["a\x08", "c", "d\x7f"]
    assert odd == {"train": {"texts with control characters": 3, "pairs of which one half is empty": 1}}


@pytest.mark.parametrize("pair", [("", " "), ("", "\x00"), (None, "a")])
def test_glue_needs_one_good_half(pair: tuple):
    with pytest.raises(UserError, match=r"train.tsv: row 1, column sentence1"):
        check(GLUE["mrpc"], raw(GLUE["mrpc"], train=[(*pair, 1), ("c", "d", 0)], validation=[("x", "y", 1)]))


def test_frames_have_our_columns_and_types():
    frames, _ = check(REVIEWS, raw(REVIEWS, train=[*BASE, ("c", None)], validation=[("d", "1")]))
    train = frames["train"]
    assert train.columns.tolist() == ["row", "text_a", "text_b", "label"]
    assert train["label"].dtype == "Int64"
    assert train["label"].tolist()[:2] == [0, 1]
    assert train["label"].isna().tolist() == [False, False, True]
    assert train["text_b"].tolist() == [None, None, None]


def test_scores_are_floats_and_hidden_test_scores_are_null():
    rows = [("a", "b", "1.5"), ("c", "d", -1), ("e", "f", None)]
    frames, _ = check(SCORES, raw(SCORES, train=rows, validation=[("x", "y", 2)], test=[("z", "z", -1)] * 2))
    assert frames["train"]["label"].dtype == "float64"
    assert frames["train"]["label"].tolist()[:2] == [1.5, -1.0]
    assert frames["train"]["label"].isna().sum() == 1
    assert frames["test"]["label"].isna().all()


def test_row_is_the_position_in_the_source():
    table = Table(pd.DataFrame(BASE, columns=["review", "stars"], index=[7, 3], dtype=object), "f")
    frames, _ = check(REVIEWS, Raw({"train": table, "validation": table}, "here", {}))
    assert frames["train"]["row"].tolist() == [7, 3]
