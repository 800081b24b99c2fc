"""What people get wrong in their data.

Each ends the command in one message that names the place, the value and what is allowed, with exit code 2, without a
traceback, and nothing is half-written.
"""

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pandas as pd
import pytest

from kdcore import door
from kdcore.data.prepare import prepare
from kdcore.data.tasks import GLUE, Task
from kdcore.errors import UserError
from tests.unit.raw_files import GOOD, PAIRS, REVIEWS, SCORES, VALIDATION, data, write

Refused: TypeAlias = Callable[..., list[str]]


def jsonl(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(**columns: list[Any]) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer)
    return buffer.getvalue()


@dataclass
class Bad:
    """Files of one task's raw folder, and what one problem of the message says."""

    name: str
    files: dict[str, str | bytes]
    said: list[str]
    task: Task = REVIEWS
    columns: dict[str, str] = field(default_factory=dict)


def train(name: str, text: str | bytes, *said: str, kind: str = "tsv", task: Task = REVIEWS) -> Bad:
    """A bad train file beside a good validation file."""
    good = {
        "reviews": VALIDATION,
        "pairs": "left\tright\tlabel\na\tb\tno\n",
        "scores": "left\tright\tlabel\na\tb\t1\n",
    }
    validation = good.get(task.name, "sentence\tlabel\nit is\t1\n")
    return Bad(name, {f"train.{kind}": text, "validation.tsv": validation}, [*said], task)


HEAD = "review\tstars\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 9\n"
BOTH = "fine\tgood\ndull\tbad\n"
PAIR = "left\tright\tlabel\n"

DATA = [
    # files
    Bad(
        "no train",
        {"validation.tsv": VALIDATION},
        ["train: not found (parquet, csv, tsv, jsonl, json), has validation.tsv"],
    ),
    Bad("no validation", {"train.tsv": GOOD}, ["validation: not found (", ", has train.tsv"]),
    Bad("an empty folder", {}, ["train: not found (", ", has nothing"]),
    Bad(
        "two formats",
        {"train.tsv": GOOD, "train.jsonl": "", "validation.tsv": VALIDATION},
        ["train: must be one file", "train.tsv and train.jsonl"],
    ),
    train("an empty file", "", "train.tsv", "line 1: is blank, must name the columns"),
    train("a blank first line", "\n" + GOOD, "train.tsv", "line 1: is blank"),
    train("a header only", HEAD, "train.tsv: must have at least 1 row, found 0"),
    train("an empty csv", "", "train.csv", "line 1: is blank", kind="csv"),
    train("an empty jsonl", "", "train.jsonl", "has no column 'review'", kind="jsonl"),
    train("not a parquet file", "hello", "train.parquet", "not a readable parquet file", kind="parquet"),
    train(
        "a truncated parquet file",
        parquet(review=["a"], stars=["good"])[:-9],
        "not a readable",
        kind="parquet",
    ),
    train("a parquet file without rows", parquet(review=[], stars=[]), "at least 1 row, found 0", kind="parquet"),
    # columns
    train("a missing column", "text\tstars\n" + BOTH, "train.tsv: has no column 'review', has ['text', 'stars']"),
    train("a misspelt column", "reviews\tstars\n" + BOTH, "has no column 'review', did you mean 'reviews'?"),
    train("a missing label column", "review\ttext\n" + BOTH, "has no column 'stars'"),
    train(
        "a repeated column",
        "review\tstars\tstars\na\tgood\tbad\n",
        "column 'stars' is there 2 times, must be once",
    ),
    train(
        "a repeated csv column",
        "review,review,stars\na,b,good\n",
        "column 'review' is there 2 times",
        kind="csv",
    ),
    train(
        "a repeated key",
        '{"review": "a", "review": "b", "stars": 1}\n',
        "line 1",
        "twice in ['review', 'review'",
        kind="jsonl",
    ),
    Bad(
        "a wrong mapping",
        {"train.tsv": GOOD, "validation.tsv": VALIDATION},
        ["train.tsv: has no column 'polarity' (data.columns.stars)", "has ['review', 'stars']"],
        columns={"stars": "polarity"},
    ),
    # rows
    train("a short row", HEAD + BOTH + "only text\n", "row 3 (line 4): has 1 cell, must have 2"),
    train("a long row", HEAD + "a\tgood\tmore\n" + BOTH, "row 1 (line 2): has 3 cells, must have 2"),
    train("a blank line between", HEAD + "a\tgood\n\nb\tbad\n", "row 2 (line 3): has 0 cells"),
    train(
        "a ragged csv row",
        "review,stars\na,good\nb\n",
        "row 2 (line 3): has 1 cell, must have 2",
        kind="csv",
    ),
    train(
        "a ragged csv row after a long cell",
        'review,stars\n"a\nb",good\nb\n',
        "row 2 (line 4): has 1 cell",
        kind="csv",
    ),
    train("an open quote", 'review,stars\n"a,good\nb,bad\n', "line 2", "quotes of this row", kind="csv"),
    train("text after a quote", 'review,stars\n"a" b,good\n', "line 2", "quotes of this row", kind="csv"),
    train(
        "broken JSON",
        jsonl({"review": "a", "stars": 1}) + "{oops}\n",
        "train.jsonl: line 2",
        "found '{oops}'",
        kind="jsonl",
    ),
    train("a JSON list of no objects", "[1, 2]\n", "row 1: must be one JSON object, found 1", kind="jsonl"),
    train("a JSON list that is cut", '[{"review": "a"},\n', "is not JSON: Expecting value", kind="json"),
    train("one JSON object over lines", '{\n"review": "a"}\n', "line 1: must be one JSON object", kind="json"),
    train("JSON with NaN", '{"review": "a", "stars": NaN}\n', "line 1", "NaN is not JSON", kind="jsonl"),
    train("JSON without end", "[" * 100_000, "is not JSON: ", kind="jsonl"),
    # files that stand for others
    train("a Git LFS pointer", POINTER, "is a Git LFS pointer; run `git lfs pull`", kind="parquet"),
    train("a Git LFS pointer as text", POINTER, "is a Git LFS pointer"),
    # what has no width
    train("a text of no width", HEAD + "\u200b\tgood\ndull\tbad\n", "row 1 (line 2), column review: must have text"),
    train(
        "a text of marks", HEAD + "\u200e \ufeff\tgood\ndull\tbad\n", "row 1 (line 2), column review: must have text"
    ),
    # classes from -1 on
    train(
        "a class called -1",
        "left\tright\tlabel\na\tb\t-1\nc\td\t0\ne\tf\t1\n",
        "column label: -1 means unlabelled, and no row is yes",
        "number the classes from 0, or write their names",
        task=PAIRS,
    ),
    # encodings
    train(
        "Latin-1",
        (HEAD + "café\tgood\n").encode("latin-1"),
        "train.tsv: line 2: is not UTF-8, found byte 0xe9",
    ),
    train(
        "Latin-1 after a mark", b"\xef\xbb\xbf" + (HEAD + "caf\u00e9\tgood\n").encode("latin-1"), "line 2", "byte 0xe9"
    ),
    train("UTF-16", GOOD.encode("utf-16"), "is UTF-16; save it as UTF-8"),
    train("a csv that gzip packed", gzip.compress(GOOD.encode()), "is packed by gzip; add .gz to its name", kind="csv"),
    train("a spreadsheet that is called csv", b"PK\x03\x04\x14\0", "is a zip, as a spreadsheet is", kind="csv"),
    train("a parquet that is called jsonl", parquet(review=["a"], stars=[0]), "name it .parquet", kind="jsonl"),
    train("Latin-1 csv", "review,stars\ncafé,good\n".encode("latin-1"), "line 2: is not UTF-8", kind="csv"),
    train("Latin-1 jsonl", b'{"review": "caf\xe9"}\n', "line 1: is not UTF-8, found byte 0xe9", kind="jsonl"),
    train(
        "bytes",
        parquet(review=[b"a", b"b"], stars=[0, 1]),
        "row 1, column review: must be text, found b'a'",
        kind="parquet",
    ),
    # text
    train("NUL", HEAD + "a\x00b\tgood\n" + BOTH, "row 1 (line 2), column review", "NUL character", r"'a\x00b'"),
    train(
        "a control character",
        HEAD + BOTH + "a\x07b\tgood\n",
        "row 3 (line 4), column review",
        r"control",
        r"'\x07'",
    ),
    train(
        "an escape sequence",
        HEAD + BOTH + "\x1b[31mred\tgood\n",
        "column review",
        "tab and line ends",
        r"'\x1b'",
    ),
    train("an empty text", HEAD + BOTH + "\tgood\n", "row 3 (line 4), column review: must have text, found ''"),
    *(
        train(f"a text of U+{ord(letter):04X}", HEAD + f"{letter} \tgood\n" + BOTH, "column review: must have text")
        for letter in "\u2800\u3164\u115f\ufe0f\u034f"  # drawn as nothing
    ),
    train("a blank text", HEAD + "  \u00a0\tgood\n" + BOTH, "row 1 (line 2), column review: must have text"),
    train(
        "a missing text",
        jsonl({"review": None, "stars": 1}, {"review": "a", "stars": 0}),
        "row 1 (line 1), column review: has no text",
        kind="jsonl",
    ),
    train(
        "a null in parquet",
        parquet(review=["a", None], stars=[0, 1]),
        "train.parquet: row 2, column review: has no text",
        kind="parquet",
    ),
    train(
        "a number as text",
        jsonl({"review": 3, "stars": 1}),
        "column review: must be text, found 3",
        kind="jsonl",
    ),
    train(
        "a list as text",
        jsonl({"review": ["a"], "stars": 1}),
        "column review: must be text, found ['a']",
        kind="jsonl",
    ),
    train(
        "half a character",
        '{"review": "a\\ud800", "stars": 1}\n',
        "lone surrogate",
        r"'a\ud800'",
        kind="jsonl",
    ),
    train(
        "a cell of 2 MB",
        HEAD + BOTH + "x" * 2_000_000 + "\tgood\n",
        "row 3 (line 4)",
        "at most 1,000,000 bytes, found 2,000,000",
    ),
    train(
        "a wide cell of 1.2 MB",
        HEAD + BOTH + "\u4e2d" * 400_000 + "\tgood\n",
        "at most 1,000,000 bytes, found 1,200,000",
    ),
    train(
        "a csv cell of 2 MB",
        "review,stars\n" + "x" * 2_000_000 + ",good\n",
        "row 1 (line 2)",
        "found 2,000,000",
        kind="csv",
    ),
    train(
        "an empty half of a pair",
        PAIR + "a\t\tno\nb\tc\tyes\n",
        "row 1 (line 2), column right: must have text",
        task=PAIRS,
    ),
    train(
        "a wholly empty text in GLUE",
        "sentence\tlabel\n \t1\nb\t0\n",
        "column sentence: must have text",
        task=GLUE["cola"],
    ),
    train("NUL in GLUE", "sentence\tlabel\na\x00\t1\nb\t0\n", "column sentence", "NUL", task=GLUE["cola"]),
    # labels
    train(
        "an unknown label",
        HEAD + BOTH + "x\tgreat\n",
        "row 3 (line 4), column stars: must be bad, good, or an id from 0 to 1, found 'great'",
    ),
    train("a near label", HEAD + BOTH + "x\tGood\n", "found 'Good', did you mean 'good'?"),
    train("a label with a space", HEAD + BOTH + "x\tgood \n", "found 'good ', did you mean 'good'?"),
    train("an id that is too high", HEAD + BOTH + "x\t2\n", "an id from 0 to 1, found '2'"),
    train("an id that is negative", HEAD + BOTH + "x\t-2\n", "an id from 0 to 1, found '-2'"),
    train(
        "an id between two",
        parquet(review=["a", "b"], stars=[0.5, 1.0]),
        "row 1, column stars",
        "found 0.5",
        kind="parquet",
    ),
    train(
        "a label that is a list",
        jsonl({"review": "a", "stars": [1]}),
        "row 1 (line 1), column stars",
        "found [1]",
        kind="jsonl",
    ),
    train(
        "one class only",
        HEAD + "a\tgood\nb\tgood\n",
        "train.tsv: column stars: must have at least 2 of bad, good, found only 'good'",
    ),
    train("one row", HEAD + "a\tgood\n", "must have at least 2 of bad, good, found only 'good'"),
    train("one class beside unlabelled rows", HEAD + "a\tbad\nb\t\nc\t-1\n", "found only 'bad'"),
    train(
        "a score in words",
        PAIR + "a\tb\tfour\nc\td\t1\n",
        "row 1 (line 2), column label: must be a finite number, found 'four'",
        task=SCORES,
    ),
    train(
        "a score that is NaN",
        PAIR + "a\tb\tnan\nc\td\t1\n",
        "must be a finite number, found 'nan'",
        task=SCORES,
    ),
    train(
        "a score that is infinite",
        PAIR + "a\tb\t1e999\nc\td\t1\n",
        "must be a finite number, found '1e999'",
        task=SCORES,
    ),
    train(
        "a score that is true",
        jsonl({"left": "a", "right": "b", "label": True}),
        "finite number, found true",
        task=SCORES,
        kind="jsonl",
    ),
    train(
        "one score only",
        PAIR + "a\tb\t3\nc\td\t3.0\n",
        "must have at least 2 values, found only 3.0",
        task=SCORES,
    ),
    Bad(
        "validation without a label",
        {"train.tsv": GOOD, "validation.tsv": HEAD + "a\tgood\nb\t\n"},
        ["validation.tsv: row 2 (line 3), column stars: must have a label", "found ''"],
    ),
    Bad(
        "validation that hides its labels",
        {"train.tsv": GOOD, "validation.tsv": HEAD + "a\t-1\n"},
        ["validation.tsv: row 1 (line 2), column stars: must have a label", "found '-1'"],
    ),
    Bad(
        "validation scores that are hidden",
        {"train.tsv": PAIR + "a\tb\t1\nc\td\t2\n", "validation.tsv": PAIR + "a\tb\t-1\n"},
        ["validation.tsv: row 1 (line 2), column label: must have a label", "found '-1'"],
        SCORES,
    ),
    # separators
    train(
        "semicolons",
        "review;stars\na;good\nb;bad\n",
        "line 1",
        "separated by semicolons, must be by commas",
        kind="csv",
    ),
    train("quoted semicolons", '"review";"stars"\n"a";"good"\n', "line 1", "separated by semicolons", kind="csv"),
    train("tabs in a csv", GOOD, "separated by tabs, must be by commas", "name it .tsv", kind="csv"),
    train("commas in a tsv", GOOD.replace("\t", ","), "separated by commas, must be by tabs", "name it .csv"),
    train("a tsv whose quotes do not close", HEAD + 'a "b\tgood\n"c\n', "row 2 (line 3): has 1 cell"),
    # labels in text
    train("a half as text", HEAD + BOTH + "x\t0.5\n", "an id from 0 to 1, found '0.5'"),
    train("a high id as text", HEAD + BOTH + "x\t2.0\n", "an id from 0 to 1, found '2.0'"),
    train("a truth in odd letters", HEAD + BOTH + "x\ttRUE\n", "an id from 0 to 1, found 'tRUE'"),
    train(
        "true where yes is the id 0",
        jsonl({"review": "a", "stars": True}, {"review": "b", "stars": False}),
        "column stars: must be yes, no, found true",
        kind="jsonl",
        task=replace(REVIEWS, labels=("yes", "no")),
    ),
    train(
        "the id 1 where no is the id 1",
        jsonl({"review": "a", "stars": 1}, {"review": "b", "stars": 0}),
        "column stars: must be yes, no, found 1",
        kind="jsonl",
        task=replace(REVIEWS, labels=("yes", "no")),
    ),
    train(
        "a score beyond 32 bits",
        PAIR + "a\tb\t1e39\nc\td\t1\n",
        "row 1 (line 2), column label: must be a number that 32 bits can hold",
        task=SCORES,
    ),
    train(
        "a score with an underscore",
        PAIR + "a\tb\t1_0\nc\td\t1\n",
        "must be a finite number, found '1_0'",
        task=SCORES,
    ),
    # several files
    Bad(
        "a missing shard",
        {"train-00001-of-00002.tsv": GOOD, "validation.tsv": VALIDATION},
        ["train: the shards must be all of one set: train-00000-of-00002.tsv is missing"],
    ),
    Bad(
        "shards of two sets",
        {"train-00000-of-00001.tsv": GOOD, "train-00000-of-00002.tsv": GOOD, "validation.tsv": VALIDATION},
        ["train: the shards must be all of one set: 2 files, must be 1"],
    ),
    Bad(
        "a shard beside the whole",
        {"train-00000-of-00001.tsv": GOOD, "train.tsv": GOOD, "validation.tsv": VALIDATION},
        ["train: must be one file, found train.tsv and train-00000-of-00001.tsv"],
    ),
    Bad(
        "two files that validate",
        {"train.tsv": GOOD, "validation.tsv": VALIDATION, "dev.tsv": VALIDATION},
        ["validation: must be one file, found validation.tsv and dev.tsv"],
    ),
    Bad(
        "a bad row of a later shard",
        {
            "train-00000-of-00002.tsv": GOOD,
            "train-00001-of-00002.tsv": HEAD + "x\tbest\n",
            "validation.tsv": VALIDATION,
        },
        ["train-00001-of-00002.tsv: row 1 (line 2), column stars: must be bad, good", "found 'best'"],
    ),
    Bad("a zip that is none", {"CoLA.zip": "hello"}, ["CoLA.zip: is not a readable zip"], GLUE["cola"]),
    Bad(
        "a bad test file",
        {"train.tsv": GOOD, "validation.tsv": VALIDATION, "test.tsv": "review\n\x01\n"},
        ["test.tsv: row 1 (line 2), column review", r"'\x01'"],
    ),
]


@pytest.mark.parametrize("bad", DATA, ids=lambda bad: bad.name)
def test_bad_data(tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, bad: Bad):
    raw = write(tmp_path / "raw", bad.task.name, bad.files)
    read = SimpleNamespace(task={bad.task.name: bad.task}, data=data(raw, columns=bad.columns))
    # As params.yaml would say; reading it takes most of the time.
    monkeypatch.setattr(door, "params_for", lambda *_: SimpleNamespace(params=read, names={}))
    problems = refused(str(raw / bad.task.name), bad.task.name)
    assert any(all(word in problem for word in bad.said) for problem in problems), problems


def test_there_are_enough_cases():
    assert len(DATA) >= 80
    assert len({bad.name for bad in DATA}) == len(DATA)


def test_problems_of_all_files_come_at_once(tmp_path: Path):
    raw = write(tmp_path, "reviews", {"train.tsv": HEAD + "\tx\n" + BOTH, "validation.tsv": HEAD + "a\tnone\n"})
    with pytest.raises(UserError) as error:
        prepare(REVIEWS, data(raw), tmp_path / "out")
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "train.tsv",
        "train.tsv",
        "validation.tsv",
    ]


def test_thousands_of_problems_are_counted_and_not_listed(tmp_path: Path):
    raw = write(tmp_path, "reviews", {"train.tsv": HEAD + "a\tx\n" * 3000, "validation.tsv": VALIDATION})
    with pytest.raises(UserError) as error:
        prepare(REVIEWS, data(raw), tmp_path / "out")
    lines = str(error.value).splitlines()
    assert lines[0].endswith("3000 problems")
    assert lines[-1] == "  ... and 2980 more"


def test_a_missing_task_folder(tmp_path: Path):
    with pytest.raises(
        UserError, match=r"reviews: no such folder; it must hold train\.\{parquet,csv,tsv,jsonl,json\} and "
    ):
        prepare(REVIEWS, data(tmp_path), tmp_path / "out")


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "/etc", "A", "", ".hidden", "-rf"])
def test_a_task_never_leaves_its_folder(tmp_path: Path, name: str):
    task = Task(name, ("review",), "stars", ("bad", "good"), ("accuracy",))
    with pytest.raises(UserError, match="a plain name of a-z 0-9 _ -, found") as error:
        prepare(task, data(tmp_path), tmp_path / "out")
    assert repr(name) in str(error.value)
