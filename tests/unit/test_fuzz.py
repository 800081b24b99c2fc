"""Whatever the bytes are, the readers give rows or one UserError, and never anything else."""

import copy
import datetime
import io
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from ruamel.yaml import YAML

from kdcore.data import tables
from kdcore.data.checks import class_id, fault, number
from kdcore.data.formats import READERS
from kdcore.data.prepare import prepare
from kdcore.data.prepared import Data
from kdcore.errors import UserError, shown
from kdcore.params import read as params
from tests.unit.raw_files import REVIEWS, ROOT, VALIDATION, all_params, data, write

few = settings(max_examples=80, deadline=None)

# fmt: off
YAML_WORDS = st.sampled_from([
    "a", "tasks", ": ", ":", "\n", "\n  ", "- ", "[", "]", "{", "}", ",", "&x ", "*x", "!!", "!!set", "!!binary ",
    "|", ">", "?", " ? ", "'", '"', "#", "%", "%YAML 1.1\n---\n", "@", "`", "<<: ", "~", "null", "1e5", "=",
    "2020-99-99", "!!timestamp x", "!!omap ", "!!int x", "!!float x", "!!bool x", ".nan", "-.inf", "\t", "\r",
    "\x00", "\ufeff", "---\n", "...\n", "!<tag>", "9" * 5000, "0x" + "f" * 5000, "0o9", "1_0", "12:30:45",
    "\u2028", "\ud7ff", "é", "😀",
])
# fmt: on
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
# fmt: off
# What is beyond every range, of no type that a knob has, or two things at once.
ODD = st.sampled_from([
    -1, 0.5, 5e-324, 1e308, 10**400, math.nan, -math.inf, datetime.date(2024, 1, 1), "y" * 10_000, "a\u2028b",
    [None], [[1]], [10**400], [0, 0.0], ["x", "x "], {None: 1}, {"a": 1}, {0: {}},
])
# fmt: on
DESCRIBED = {
    "mine": {
        **{"text": ["review"], "label": "stars", "labels": ["bad", "good"], "metrics": ["accuracy"]},
        **{"teacher": {"epochs": 2, "floor": 0.5}, "student": {"layer_map": [2, 4, 6]}},
        "methods": {"sid": {"train": {"clip": 1.0}, "distill": {"weights": {"kl": 0.5}}}},
    }
}
labels = st.sampled_from(["good", "bad", "0", "1", "", "-1", "x"])


def attempt(work: Callable[[], Any]) -> tuple[Any, UserError | None]:
    """What came of it: a result, or one refusal in lines that can be printed as they are."""
    try:
        return work(), None
    except UserError as error:
        assert error.problems  # noqa: PT017
        assert all(problem and "\n" not in problem for problem in error.problems)  # noqa: PT017
        return None, error


def load(raw: bytes) -> params.Params | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(raw)
        found, error = attempt(lambda: params.load(path))
        assert error is None or error.source == str(path)
        return found


def read(kind: str, raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"train.{kind}"
        path.write_bytes(raw)
        table, error = attempt(lambda: tables.read([path], {"review": "review", "stars": "stars"}))
        if error:
            assert error.source == f"train.{kind}"
        else:
            assert table.frame.columns.tolist() == ["review", "stars"]
            assert table.count == len(table.frame)


@few
@given(st.binary(max_size=200))
def test_params_of_any_bytes(raw: bytes):
    assert load(raw) is None


@settings(max_examples=300, deadline=None)
@given(st.lists(YAML_WORDS, max_size=12).map("".join))
@example("a: !!timestamp x")
@example("{[1]: 2}")
@example("? {a: b}\n: c")
@example("!!set {a, b}")
@example("? 0x" + "f" * 4000)  # Python refuses to write it
def test_params_of_any_yaml(text: str):
    assert load(text.encode("utf-8", "replace")) is None


@few
@given(st.lists(YAML_WORDS, max_size=4).map("".join))
@example("!!bool x")
def test_a_change_of_any_yaml(text: str):
    path = ROOT / "params.yaml"
    _, error = attempt(lambda: params.load(path, [f"student.layers={text}"]))
    assert error is None or error.source in ("-S", str(path))


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is a value in nested mappings and lists, by key and by position."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*above, key)
        yield from places(part, (*above, key))


def at(value: Any, place: tuple[Any, ...]) -> Any:
    """What is there, in plain mappings and lists as well as in what was loaded of them."""
    for key in place:
        value = getattr(value, key) if isinstance(value, BaseModel) else value[key]
    return value


def plain(value: Any) -> Any:
    """Sections as mappings of what was given, tuples as lists."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in value.model_fields_set}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [*map(plain, value)] if isinstance(value, list | tuple) else value


@few
@given(st.data())
def test_params_with_any_value_in_any_place(choice: st.DataObject):
    """In a section, in what is other for a task, in a study's lists: it is refused, or stays what it is."""
    found = all_params()
    found["task"] |= copy.deepcopy(DESCRIBED)
    place = choice.draw(st.sampled_from([*places(found)]))
    value = choice.draw(values | ODD)
    at(found, place[:-1])[place[-1]] = value
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(found, text)
    loaded = load(text.getvalue().encode())
    if loaded:
        kept = plain(at(loaded, place))
        if place[0] == "study" and isinstance(value, dict):  # what a study's grid leaves out has a default
            kept = {name: kept[name] for name in value}
        assert kept == value
        assert isinstance(kept, bool) == isinstance(value, bool)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_params_with_a_piece_cut_out(choice: st.DataObject):
    raw = (ROOT / "params.yaml").read_bytes()
    start = choice.draw(st.integers(0, len(raw)))
    load(raw[:start] + raw[start + choice.draw(st.integers(1, 40)) :])


@pytest.mark.parametrize("kind", READERS)
@few
@given(raw=st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
@example(raw=b"")
@example(raw=b"PAR1PAR1")
@example(raw=b"\xef\xbb\xbf")
@example(raw=b"\r")
@example(raw=b'"')
def test_tables_of_any_bytes(kind: str, raw: bytes):
    read(kind, raw)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
@few
@given(tail=st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")))
def test_tables_with_any_end(kind: str, tail: bytes):
    start = {
        "csv": b"review,stars\na,good\n",
        "tsv": b"review\tstars\na\tgood\n",
        "jsonl": b'{"review": "a", "stars": 1}\n',
    }
    read(kind, start[kind] + tail)


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"review": ["good", "bad", None], "stars": [1, 0, 1]}).to_parquet(buffer)
    return buffer.getvalue()


PARQUET = _parquet()


@few
@given(st.lists(st.tuples(st.integers(0, len(PARQUET) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_parquet_with_changed_bytes(changes: list[tuple[int, int]]):
    raw = bytearray(PARQUET)
    for place, byte in changes:
        raw[place] = byte
    read("parquet", bytes(raw))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=6), labels), max_size=8))
def test_what_is_prepared_is_what_was_given(rows: list[tuple[str, str]]):
    text = "".join(json.dumps({"review": review, "stars": stars}) + "\n" for review, stars in rows)
    with tempfile.TemporaryDirectory() as folder:
        raw = write(Path(folder) / "raw", "reviews", {"train.jsonl": text, "validation.tsv": VALIDATION})
        out = Path(folder) / "out"
        _, error = attempt(lambda: prepare(REVIEWS, data(raw), out))
        if error:
            assert [path.name for path in Path(folder).iterdir()] == ["raw"]
            return
        train = Data.open(out).frame("train").sort_values("row")
    ids = {"good": 1, "bad": 0, "1": 1, "0": 0, "": -1, "-1": -1}
    assert train["text_a"].tolist() == [review for review, _ in rows]
    assert train["label"].fillna(-1).tolist() == [ids[stars] for _, stars in rows]


@few
@given(values | st.binary(max_size=4))
def test_any_cell_is_a_value_or_named(value: Any):
    found = fault(value)
    assert (found is None) == (isinstance(value, str) and bool(value.strip()) and found is None)
    for parse in (class_id(("bad", "good")), class_id(("1", "2")), number):
        try:
            label = parse(value)
        except ValueError as error:
            assert str(error).startswith("must be ")  # noqa: PT017
        else:
            assert label is None or label == label  # not NaN
    assert "\n" not in shown(value)
    assert len(shown(value)) < 5000
