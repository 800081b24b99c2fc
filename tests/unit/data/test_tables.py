"""The readers of parquet, csv, tsv and jsonl: what a good file may hold."""

import io
import json
import tracemalloc
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdcore.data import arrow_files, text_files
from kdcore.data.cells import Cells
from kdcore.data.formats import READERS, cells_of
from kdcore.errors import UserError

TEXTS = [
    "plain",
    'a "quoted" word',
    "comma, and; more",
    "😀👩‍👩‍👧",
    "مرحبا بالعالم",
    "你好，世界",
    "שלום",
    "e\u0301",
    "\u2028",
]


def read(kind: str, raw: str | bytes) -> Cells:
    return cells_of(kind, raw.encode() if isinstance(raw, str) else raw, f"train.{kind}")


def columns(cells: Cells) -> dict[str, list[Any]]:
    return {name: [*cells.column(name)] for name in cells.header}


def lines(kind: str, text: str) -> list[int]:
    return [line for part in read(kind, text).parts([]) for line in part.lines or ()]


def written(kind: str, texts: list[str]) -> str | bytes:
    if kind == "tsv":
        return "a\tb\n" + "".join(f"{text}\t{i}\n" for i, text in enumerate(texts))
    if kind == "csv":
        return pd.DataFrame({"a": texts, "b": range(len(texts))}).to_csv(index=False)
    if kind in ("jsonl", "json"):
        rows = [{"a": text, "b": str(i)} for i, text in enumerate(texts)]
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    buffer = io.BytesIO()
    pd.DataFrame({"a": texts, "b": [str(i) for i in range(len(texts))]}).to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", READERS)
def test_every_script_passes(kind: str):
    cells = read(kind, written(kind, TEXTS))
    assert cells.header == ["a", "b"]
    assert columns(cells) == {"a": TEXTS, "b": [str(i) for i in range(len(TEXTS))]}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("change", ["bom", "crlf", "no last line end", "blank lines at the end"])
def test_line_ends_and_marks_change_nothing(kind: str, change: str):
    text = str(written(kind, ["x", "y z"])).rstrip("\n") + "\n"
    changed = {
        "bom": "\ufeff" + text,
        "crlf": text.replace("\n", "\r\n"),
        "no last line end": text.rstrip("\n"),
        "blank lines at the end": text + "\n\r\n",
    }[change]
    assert columns(read(kind, changed)) == columns(read(kind, text))
    assert lines(kind, changed) == lines(kind, text)


def test_tsv_has_no_quotes():
    cells = read("tsv", 'a\tb\n"open\t1\nsaid "so"\t2\n"shut"\t3\n')
    assert [*cells.column("a")] == ['"open', 'said "so"', '"shut"']


def test_csv_has_quotes():
    text = 'a,b\n"x, ""y""\nz",1\r\nplain,2\n'
    assert columns(read("csv", text)) == {"a": ['x, "y"\nz', "plain"], "b": ["1", "2"]}
    assert lines("csv", text) == [2, 4]  # the first row takes lines 2 and 3


def test_rows_know_their_lines():
    assert lines("tsv", "a\tb\nx\t1\ny\t2\n") == [2, 3]
    assert lines("jsonl", '{"a": 1}\n\n{"a": 2}\n') == [1, 3]


def test_tsv_keeps_spaces():
    assert [*read("tsv", "a\tb\n x \t1\n").column("a")] == [" x "]


def test_a_key_that_a_row_lacks_is_null():
    assert columns(read("jsonl", '{"a": "x"}\n{"b": 1, "a": "y"}\n')) == {"a": ["x", "y"], "b": [None, 1]}


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x", "y", None]),
        pa.array(["x", "y", None], pa.large_string()),
        pa.array(["x", "y", None]).dictionary_encode(),
    ],
)
def test_every_string_type_of_parquet_is_text(column: Any):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": column}), buffer)
    assert columns(read("parquet", buffer.getvalue())) == {"a": ["x", "y", None]}


def test_parquet_text_must_be_utf_8():
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array([b"caf\xe9"]).view(pa.string())}), buffer)
    with pytest.raises(UserError, match=r"train.parquet: column 'a' cannot be read: .*byte 0xe9"):
        [*read("parquet", buffer.getvalue()).column("a")]


def test_a_repeated_parquet_column_is_in_the_header():
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), buffer)
    assert read("parquet", buffer.getvalue()).header == ["a", "a"]


def test_a_cell_of_a_megabyte_is_read():
    (cell,) = read("csv", f"a,b\n{'x' * 10**6},1\n").column("a")
    assert len(cell) == 10**6


@pytest.mark.parametrize("kind", READERS)
def test_parts_are_those_of_the_whole(kind: str, monkeypatch: pytest.MonkeyPatch):
    """However few rows, letters or bytes are read at once."""
    raw = written(kind, TEXTS * 3)
    if kind == "json":
        raw = json.dumps([{"a": text, "b": str(i)} for i, text in enumerate(TEXTS * 3)], indent=1, ensure_ascii=False)
    for module in (arrow_files, text_files):
        monkeypatch.setattr(module, "BLOCK", 4)
        monkeypatch.setattr(module, "PIECE", 7)
    cells = read(kind, raw)
    assert {part.count for part in cells.parts(["a"])} == {4, 3}
    assert [text for part in cells.parts(["a"]) for text in part.columns["a"]] == TEXTS * 3


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
def test_rows_take_no_memory_while_they_are_read(kind: str):
    """Bytes a row at the peak, beside the file's own; a text of 50 letters alone takes 100."""
    rows = 50_000
    texts = [(f"{row:06d} {'w' * 43}", ("good", "bad")[row % 2]) for row in range(rows)]
    if kind.startswith("json"):
        objects = [json.dumps({"text": text, "label": label}) for text, label in texts]
        raw = ("\n".join(objects) if kind == "jsonl" else f"[{', '.join(objects)}]").encode()
        del objects
    else:
        raw = "\n".join(map({"csv": ",", "tsv": "\t"}[kind].join, [("text", "label"), *texts])).encode()
    del texts
    tracemalloc.start()
    try:
        assert sum(part.count for part in read(kind, raw).parts(["text", "label"])) == rows
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / rows < 100
