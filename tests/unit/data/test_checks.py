"""What is only odd is counted and warned about, never refused; GLUE is taken as it is published."""

from dataclasses import replace
from pathlib import Path

import numpy as np
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
        split: Table.of(pd.DataFrame(rows, columns=list(task.columns), dtype=object), f"{split}.tsv")
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
def test_odd_things_are_counted(tmp_path: Path, task: Task, train: list, validation: list, odd: dict):
    assert check(task, raw(task, train=train, validation=validation), tmp_path)[1] == odd


def test_glue_keeps_control_characters_and_empty_halves(tmp_path: Path):
    rows = [("a\x08", "b", 1), ("c", "", 0), ("d\x7f", "\x12e", 0)]
    validation = [("x", "y", 1), ("z", "y", 0)]
    splits, odd = check(GLUE["mrpc"], raw(GLUE["mrpc"], train=rows, validation=validation), tmp_path)
    assert splits["train"].texts(np.arange(3)) == [["a\x08", "c", "d\x7f"], ["b", "", "\x12e"]]
    assert odd == {"train": {"texts with control characters": 3, "pairs of which one half is empty": 1}}


@pytest.mark.parametrize("pair", [("", " "), ("", "\x00"), (None, "a")])
def test_glue_needs_one_good_half(tmp_path: Path, pair: tuple):
    rows = raw(GLUE["mrpc"], train=[(*pair, 1), ("c", "d", 0)], validation=[("x", "y", 1)])
    with pytest.raises(UserError, match=r"train.tsv: row 1, column sentence1"):
        check(GLUE["mrpc"], rows, tmp_path)


def test_rows_without_a_label_have_none(tmp_path: Path):
    rows = raw(REVIEWS, train=[*BASE, ("c", None)], validation=[("d", "1")])
    train = check(REVIEWS, rows, tmp_path)[0]["train"]
    assert train.label.tolist()[:2] == [0, 1]
    assert train.labelled.tolist() == [True, True, False]
    assert train.texts(np.array([2, 0])) == [["c", "a"]]


def test_hidden_test_scores_are_none(tmp_path: Path):
    rows = [("a", "b", "1.5"), ("c", "d", -1), ("e", "f", None)]
    tables = raw(SCORES, train=rows, validation=[("x", "y", 2)], test=[("z", "z", -1)] * 2)
    splits, _ = check(SCORES, tables, tmp_path)
    assert splits["train"].label.tolist()[:2] == [1.5, -1.0]
    assert splits["train"].labelled.tolist() == [True, True, False]
    assert not splits["test"].labelled.any()


def test_row_is_the_position_in_the_source(tmp_path: Path):
    table = Table.of(pd.DataFrame(BASE, columns=["review", "stars"], index=[7, 3], dtype=object), "f")
    splits, _ = check(REVIEWS, Raw({"train": table, "validation": table}, "here", {}), tmp_path)
    assert splits["train"].row.tolist() == [7, 3]
