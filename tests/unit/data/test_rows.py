"""Rows on their way to a prepared task: texts in files that nobody sees, given back in any order."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from kdcore.data.rows import Rows

SCHEMA = pa.schema({"row": pa.int64(), "text_a": pa.string(), "text_b": pa.string(), "label": pa.int64()})


def test_rows_come_back_in_any_order(tmp_path: Path):
    rows = Rows(tmp_path, 2)
    rows.add(range(2), [["a", "😀é"], ["", "c\n"]], [1.0, None])
    rows.add([], [[], []], [])
    rows.add([7], [["b"], [""]], [0])
    assert rows.take(np.array([2, 1, 1]), SCHEMA).to_pylist() == [
        {"row": 7, "text_a": "b", "text_b": "", "label": 0},
        {"row": 1, "text_a": "😀é", "text_b": "c\n", "label": None},
        {"row": 1, "text_a": "😀é", "text_b": "c\n", "label": None},
    ]
    assert [*tmp_path.iterdir()] == []


def test_one_text_a_row_and_none_with_a_letter(tmp_path: Path):
    rows = Rows(tmp_path, 1)
    rows.add([3], [[""]], [0.5])
    schema = SCHEMA.set(3, pa.field("label", pa.float64()))
    assert rows.take(np.array([0]), schema).to_pylist() == [{"row": 3, "text_a": "", "text_b": None, "label": 0.5}]
