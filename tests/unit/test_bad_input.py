"""What people get wrong in params.yaml, in their data and in their models.

Each ends the command in one message that names the place, the value and what is allowed, with exit code 2, without a
traceback, and nothing is half-written.
"""

import io
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pytest
import torch
from transformers import AutoConfig, AutoModel

from kdcore import cli, params
from kdcore.data.prepare import prepare
from kdcore.data.tasks import GLUE, Task
from kdcore.errors import UserError
from tests import on_disk, tiny
from tests.pipeline.conftest import SMALL
from tests.unit.raw_files import GOOD, PAIRS, REVIEWS, SCORES, VALIDATION, data, write, write_params

Refused: TypeAlias = Callable[..., list[str]]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """refused(source, task): what `kdcore prepare <task> out` in tmp_path says is wrong with the source, by problem."""

    def problems(source: str, task: str = "movies") -> list[str]:
        there = sorted(tmp_path.rglob("*"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["kdcore", "prepare", task, "out"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert ended.value.code == 2
        assert out == ""
        assert sorted(tmp_path.rglob("*")) == there, "something was written"
        first, *rest = err.splitlines()
        assert first.startswith(f"{source}: "), err
        assert all(line.startswith("  ") for line in rest), err
        assert not rest or first == f"{source}: {len(rest)} problems"
        return [line[2:] for line in rest] or [first.removeprefix(f"{source}: ")]

    return problems


OWN = {"text": ["review"], "label": "stars", "labels": ["bad", "good"], "metrics": ["accuracy"]}


def own(**changes: Any) -> dict[str, Any]:
    """Params changes that describe the task 'reviews', wrongly."""
    return {"tasks": ["reviews"], "task": {"reviews": {**OWN, **changes}}, "data.source": "local"}


# What is changed in params.yaml -> what one line of the message says.
PARAMS: list[tuple[Mapping[str, Any], list[str]]] = [
    # unknown and missing
    ({"student.layer": 3}, ["student.layer: unknown key", "did you mean 'layers'?"]),
    ({"studnet": {}}, ["studnet: unknown key", "did you mean 'student'?"]),
    ({"zzz": 1}, ["zzz: unknown key", "allowed are tasks, methods, seeds"]),
    ({"study.depth.rows": [1]}, ["study.depth.rows: unknown key", "allowed are layers, methods"]),
    ({"train": None}, ["train: must be a mapping, found null"]),
    ({"train": [1]}, ["train: must be a mapping, found [1]"]),
    ({"student\n": 1}, [r"'student\n': unknown key", "did you mean 'student'?"]),
    # types
    ({"student.layers": "three"}, ["student.layers", "an integer of at least 1", "found 'three'"]),
    ({"student.layers": 3.0}, ["student.layers", "an integer of at least 1", "found 3.0"]),
    ({"student.layers": True}, ["student.layers", "an integer of at least 1", "found true"]),
    ({"student.layers": None}, ["student.layers", "an integer of at least 1", "found null"]),
    ({"student.rows": "all"}, ["student.rows", "an integer of at least 1, or null for all", "found 'all'"]),
    ({"teacher.learning_rate": "1e-5"}, ["teacher.learning_rate", "greater than 0", "found '1e-5'"]),
    ({"teacher.learning_rate": True}, ["teacher.learning_rate", "greater than 0", "found true"]),
    ({"model.name": 3}, ["model.name", "one line of text", "found 3"]),
    ({"model.name": ""}, ["model.name", "not blank", "found ''"]),
    ({"model.name": "a\nb"}, ["model.name", "one line of text", r"found 'a\nb'"]),
    ({"data.revision": 123456}, ["data.revision", "quote a number", "found 123456"]),
    ({"data.revision": None}, ["data.revision", "one line of text", "found null"]),
    ({"data.columns": []}, ["data.columns: must be a mapping, found []"]),
    ({"train.precision": False}, ["train.precision", "no | bf16 | fp16", "found false"]),
    # ranges
    ({"student.layers": 0}, ["student.layers", "at least 1", "found 0"]),
    ({"student.rows": 0}, ["student.rows", "at least 1", "found 0"]),
    ({"model.max_length": 7}, ["model.max_length", "at least 8", "found 7"]),
    ({"teacher.epochs": 0}, ["teacher.epochs", "at least 1", "found 0"]),
    ({"teacher.learning_rate": 0}, ["teacher.learning_rate", "greater than 0", "found 0"]),
    ({"teacher.seed": -1}, ["teacher.seed", "from 0 to 4294967295", "found -1"]),
    ({"seeds": [2**32]}, ["seeds.0", "from 0 to 4294967295", "found 4294967296"]),
    ({"targets.disk_gb": -0.5}, ["targets.disk_gb", "at least 0", "found -0.5"]),
    ({"distill.temperature": 0}, ["distill.temperature", "greater than 0", "found 0"]),
    ({"distill.temperature": float("nan")}, ["distill.temperature", "finite", "found nan"]),
    ({"distill.temperature": float("inf")}, ["distill.temperature", "finite", "found inf"]),
    ({"distill.hard_label_weight": -0.1}, ["distill.hard_label_weight", "at least 0", "found -0.1"]),
    ({"distill.cosine_threshold": 2.5}, ["distill.cosine_threshold", "from 0 to 2", "found 2.5"]),
    ({"distill.epochs_per_layer": 0}, ["distill.epochs_per_layer", "at least 1", "found 0"]),
    ({"train.warmup": 1}, ["train.warmup", "less than 1", "found 1"]),
    ({"train.weight_decay": float("nan")}, ["train.weight_decay", "finite", "found nan"]),
    ({"train.clip": float("-inf")}, ["train.clip", "finite", "found -inf"]),
    ({"evaluate.confidence": 95}, ["evaluate.confidence", "greater than 0 and less than 1", "found 95"]),
    ({"evaluate.confidence": 0}, ["evaluate.confidence", "greater than 0 and less than 1", "found 0"]),
    (
        {"train.batch_size": 4, "train.accumulate": 8},
        ["train.accumulate", "at most train.batch_size (4)", "found 8"],
    ),
    ({"teacher.floor": float("nan")}, ["teacher.floor", "finite", "found nan"]),
    ({"teacher.floor": "high"}, ["teacher.floor", "or null", "found 'high'"]),
    ({"teacher.revision": 7}, ["teacher.revision", "or null", "found 7"]),
    # names
    (
        {"data.source": "hubb"},
        ["data.source", "embedded | hub | local", "found 'hubb'", "did you mean 'hub'?"],
    ),
    (
        {"student.init": "Teacher"},
        ["student.init", "pretrained | pretrained_lower", "did you mean 'teacher'?"],
    ),
    ({"distill.trains": "heads"}, ["distill.trains", "model | head", "did you mean 'head'?"]),
    ({"targets.dtype": "bfloat16"}, ["targets.dtype", "float16 | float32", "found 'bfloat16'"]),
    ({"methods": ["sid-both"]}, ["methods.0", "sid-kl | sid-cos", "found 'sid-both'"]),
    ({"methods": ["soft-kl"]}, ["methods.0", "none | soft | all", "found 'soft-kl'"]),
    ({"study.depth.methods": ["pidd"]}, ["study.depth.methods.0", "did you mean 'pid'?"]),
    ({"study.convergence.head": ["soft"]}, ["study.convergence.head.0", "pid | pid-kl", "found 'soft'"]),
    ({"study.ablation.inits": ["teachr"]}, ["study.ablation.inits.0", "did you mean 'teacher'?"]),
    ({"study.ablation.layer_maps": ["first"]}, ["study.ablation.layer_maps.0", "uniform | last", "found 'first'"]),
    ({"study.method": {}}, ["study.method: unknown key", "did you mean 'methods'?"]),
    # lists
    ({"tasks": []}, ["tasks", "a list of at least one value", "found []"]),
    ({"tasks": "movies"}, ["tasks", "a list of at least one value", "found 'movies'"]),
    ({"tasks": ["movies", "movies"]}, ["tasks", "must not repeat a value, found 'movies' more than once"]),
    ({"seeds": [1, 2, 1]}, ["seeds", "must not repeat a value, found 1 more than once"]),
    ({"methods": ["sid", "sid"]}, ["methods", "must not repeat a value, found 'sid'"]),
    ({"study.depth.layers": []}, ["study.depth.layers", "at least one value", "found []"]),
    ({"study.depth.layers": [0]}, ["study.depth.layers.0", "at least 1", "found 0"]),
    ({"study.data_size.rows": [250, None]}, ["study.data_size.rows.1", "at least 1", "found null"]),
    # layer maps
    (
        {"student.layer_map": "unifrom"},
        ["student.layer_map", "uniform, last, or a strictly", "found 'unifrom'"],
    ),
    (
        {"student.layers": 3, "student.layer_map": [2, 4]},
        ["student.layer_map", "the 3 student layers", "found 2: [2, 4]"],
    ),
    (
        {"student.layers": 2, "student.layer_map": [4, 2]},
        ["student.layer_map", "strictly increasing", "found [4, 2]"],
    ),
    (
        {"student.layers": 2, "student.layer_map": [2, 2]},
        ["student.layer_map", "strictly increasing", "found [2, 2]"],
    ),
    ({"student.layers": 2, "student.layer_map": [0, 2]}, ["student.layer_map", "at least 1", "found [0, 2]"]),
    (
        {"student.layers": 1, "student.layer_map": [True]},
        ["student.layer_map", "list of teacher layers", "[True]"],
    ),
    ({"student.layer_map": []}, ["student.layer_map", "list of teacher layers", "found []"]),
    # across sections
    ({"tasks": ["mrcp"]}, ["tasks.0: unknown task 'mrcp'", "did you mean 'mrpc'?"]),
    ({"tasks": ["../../etc"]}, ["tasks.0: unknown task '../../etc'", "known are movies, cola"]),
    (
        {"tasks": ["mrpc"], "data.source": "embedded"},
        ["tasks.0", "movies where data.source is embedded", "'mrpc'"],
    ),
    (
        {"tasks": ["movies"], "data.source": "local"},
        ["data.source", "embedded for the task movies", "found 'local'"],
    ),
    (
        {"tasks": ["rte"], "data.source": "hub", "data.columns": {"sentence": "x"}},
        ["data.columns.sentence", "did you mean"],
    ),
    (
        {"tasks": ["rte"], "data.source": "hub", "data.columns": {"sentence1": "x", "sentence2": "x"}},
        ["data.columns", "'x' stands for more than one column"],
    ),
    (
        {"distill.weights.kl": 0, "distill.weights.cos": 0},
        ["distill.weights.kl and distill.weights.cos", "must not be 0"],
    ),
    ({"distill.weights.kl": 0.0, "methods": ["pid-kl"]}, ["distill.weights.kl", "must not be 0", "pid-kl"]),
    (
        {"distill.weights.cos": 0, "study.depth.methods": ["all-cos"]},
        ["distill.weights.cos", "must not be 0", "all-cos"],
    ),
    # tasks of one's own
    ({"task": {"mrpc": OWN}}, ["task.mrpc", "built-in task", "choose another"]),
    ({"task": {"raw": OWN}}, ["task.raw", "folder of the raw files"]),
    ({"task": {"../up": OWN}}, ["task.../up", "a plain name", "found '../up'"]),
    ({"task": {"a/b": OWN}}, ["task.a/b", "a plain name", "found 'a/b'"]),
    ({"task": {"-rf": OWN}}, ["task.-rf", "a plain name", "the first not -"]),
    ({"task": {"Reviews": OWN}}, ["task.Reviews", "a-z 0-9 _ -", "found 'Reviews'"]),
    ({"task": {3: OWN}}, ["task.3", "a plain name", "found 3"]),
    ({"task": {"reviews": 3}}, ["task.reviews: must be a mapping, found 3"]),
    (own(text="review"), ["task.reviews.text", "a list", "found 'review'"]),
    (own(text=["a", "b", "c"]), ["task.reviews.text", "one column or two", "found 3"]),
    (own(text=["a", "a"]), ["task.reviews.text", "must not repeat", "'a'"]),
    (own(label="review"), ["task.reviews.label", "another column than the text", "found 'review'"]),
    (own(labels=["good"]), ["task.reviews.labels", "two classes or more", "found ['good']"]),
    (own(labels=["good", "good"]), ["task.reviews.labels", "must not repeat", "['good', 'good']"]),
    (own(labels=[0, 1]), ["task.reviews.labels.0", "quote a number", "found 0"]),
    (own(labels={"a": 1}), ["task.reviews.labels", "must be a list", "found {'a': 1}"]),
    (own(metrics=[]), ["task.reviews.metrics", "at least one value", "found []"]),
    (
        own(metrics=["acuracy"]),
        ["task.reviews.metrics.0", "accuracy | f1 | matthews", "did you mean 'accuracy'?"],
    ),
    (
        own(metrics=["pearson"]),
        ["task.reviews.metrics.0", "accuracy | f1 | matthews for classes", "'pearson'"],
    ),
    (
        own(labels=[], metrics=["f1"]),
        ["task.reviews.metrics.0", "pearson | spearman for a regression", "'f1'"],
    ),
    (
        own(labels=["a", "b", "c"], metrics=["f1"]),
        ["task.reviews.metrics.0", "second of two labels", "3 labels"],
    ),
    (own(lables=["a"]), ["task.reviews.lables: unknown key", "did you mean 'labels'?"]),
]

# The text of the file -> what the message says.
TEXTS: list[tuple[str | bytes, list[str]]] = [
    ("tasks: [movies\nmethods: [none]\n", ["line 2", "not valid YAML"]),
    ("a: 1\nb: 2\na: 3\n", ["line 3", "duplicate key", '"a"']),
    ("train:\n  clip: 1\n  clip: 2\n", ["line 3", "duplicate key", '"clip"']),
    ("task:\n  mine: {}\n  other: {}\n  mine: {}\n", ["line 4", "duplicate key", '"mine"']),
    ("a: b: c\n", ["line 1", "not valid YAML"]),
    ("a: 1\n\tb: 2\n", ["line 2", "not valid YAML"]),
    ("", ["a mapping of sections", "found null"]),
    ("- a\n- b\n", ["a mapping of sections", "found ['a', 'b']"]),
    ("just words", ["a mapping of sections", "found 'just words'"]),
    ("a: 1\n---\nb: 2\n", ["line 2", "another document"]),
    (b"a: 1\nb: caf\xe9\n", ["line 2", "not UTF-8", "0xe9"]),
    ("a: 1\nb: \x07\n", ["line 2", "not valid YAML", "special characters are not allowed"]),
    ("a: !!python/object:os.system x\n", ["line 1", "could not determine a constructor"]),
    ("a: 2020-99-99\n", ["not valid YAML", "month must be in 1..12"]),
    ("[" * 1500, ["nested too deeply"]),
    ("a: *b\n", ["line 1", "undefined alias"]),
]


@pytest.mark.parametrize(("changes", "said"), PARAMS, ids=lambda value: str(value)[:60])
def test_bad_params(tmp_path: Path, refused: Refused, changes: Mapping[str, Any], said: list[str]):
    write_params(tmp_path / "params.yaml", {"model.name": "a/hub-name", **changes})
    problems = refused("params.yaml")
    assert any(all(word in problem for word in said) for problem in problems), problems


@pytest.mark.parametrize(("text", "said"), TEXTS, ids=lambda value: str(value)[:40])
def test_bad_params_text(tmp_path: Path, refused: Refused, text: str | bytes, said: list[str]):
    (tmp_path / "params.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    (problem,) = refused("params.yaml")
    assert all(word in problem for word in said), problem


def test_a_missing_params_file(tmp_path: Path):
    with pytest.raises(UserError, match=r"params.yaml: no such file; run this in the project's root folder"):
        params.load(tmp_path / "params.yaml")


def test_a_folder_as_params_file(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        params.load(tmp_path)


def test_a_broken_model_config(tmp_path: Path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"model.name: its config.json cannot be read: Expecting property name"):
        params.load(write_params(tmp_path / "params.yaml", {"model.name": str(tmp_path)}))


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
BOTH = "fine\tgood\ndull\tbad\n"
PAIR = "left\tright\tlabel\n"

DATA = [
    # files
    Bad(
        "no train",
        {"validation.tsv": VALIDATION},
        ["train: no file train.{parquet,csv,tsv,jsonl}", "has validation.tsv"],
    ),
    Bad("no validation", {"train.tsv": GOOD}, ["validation: no file validation.{", "has train.tsv"]),
    Bad("an empty folder", {}, ["no file train.{", "the folder has nothing"]),
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
    train("a short row", HEAD + BOTH + "only text\n", "row 3 (line 4): has 1 cells, must have 2"),
    train("a long row", HEAD + "a\tgood\tmore\n" + BOTH, "row 1 (line 2): has 3 cells, must have 2"),
    train("a blank line between", HEAD + "a\tgood\n\nb\tbad\n", "row 2 (line 3): has 0 cells"),
    train(
        "a ragged csv row",
        "review,stars\na,good\nb\n",
        "row 2 (line 3): has 1 cells, must have 2",
        kind="csv",
    ),
    train(
        "a ragged csv row after a long cell",
        'review,stars\n"a\nb",good\nb\n',
        "row 2 (line 4): has 1 cells",
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
    train("a JSON list", "[1, 2]\n", "line 1: must be one JSON object, found '[1, 2]", kind="jsonl"),
    train("JSON with NaN", '{"review": "a", "stars": NaN}\n', "line 1", "NaN is not JSON", kind="jsonl"),
    train("JSON without end", "[" * 100_000, "line 1: must be one JSON object", kind="jsonl"),
    # encodings
    train(
        "Latin-1",
        (HEAD + "café\tgood\n").encode("latin-1"),
        "train.tsv: line 2: is not UTF-8, found byte 0xe9",
    ),
    train("UTF-16", GOOD.encode("utf-16"), "line 1: is not UTF-8, found byte 0xff; save the file as UTF-8"),
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
    Bad(
        "a bad test file",
        {"train.tsv": GOOD, "validation.tsv": VALIDATION, "test.tsv": "review\n\x01\n"},
        ["test.tsv: row 1 (line 2), column review", r"'\x01'"],
    ),
]


@pytest.mark.parametrize("bad", DATA, ids=lambda bad: bad.name)
def test_bad_data(tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, bad: Bad):
    raw = write(tmp_path / "raw", bad.task.name, bad.files)
    read = {"task": {bad.task.name: bad.task}, "data": data(raw, columns=bad.columns)}
    monkeypatch.setattr(cli, "Knobs", lambda _: read)  # as params.yaml would say; reading it takes most of the time
    problems = refused(str(raw / bad.task.name), bad.task.name)
    assert any(all(word in problem for word in bad.said) for problem in problems), problems


# Models: what is done to a good folder -> what the command says of it.


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tiny.model().state_dict(), folder / "pytorch_model.bin")


def shortened(by: int) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 if by == HALF else -by])

    return cut


def config(**changes: Any) -> Callable[[Path], None]:
    """The model's config, and the weights that fit it, with these changes."""

    def changed(folder: Path) -> None:
        found = AutoConfig.from_pretrained(folder)
        for key, value in changes.items():
            setattr(found, key, value)
        AutoModel.from_config(found).save_pretrained(folder)

    return changed


def said_by_config(**changes: Any) -> Callable[[Path], None]:
    """config.json alone with these changes: the weights are what they were."""

    def changed(folder: Path) -> None:
        found = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(found | changes))

    return changed


def renamed_token(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace('"lovely"', '"lonely"'))


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


HALF = 0
ROWS = {"teacher.rows": 32, "student.rows": 24}  # as many as the tiny task has
NO_MODEL, WEIGHTS = "no model here: a local model is a folder with config.json", "weights can't be read: "
TEACHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, NO_MODEL),
    "an empty folder": (lambda folder: [file.unlink() for file in folder.iterdir()], NO_MODEL),
    "no config": (without("config.json"), NO_MODEL),
    "no weights": (without("model.safetensors"), WEIGHTS),
    "pickled weights only": (pickled, WEIGHTS),
    "half of the weights": (shortened(HALF), WEIGHTS),
    "all but a byte of the weights": (shortened(1), WEIGHTS),
    "weights of another width": (said_by_config(hidden_size=64), WEIGHTS),
    "no tokenizer": (without("tokenizer.json", "tokenizer_config.json"), "no tokenizer can be read: "),
    "an unknown architecture": (said_by_config(model_type="no-such-thing"), "no model can be read: "),
    "an architecture that is no encoder": (said_by_config(model_type="gpt2"), "architecture 'gpt2' can't be captured"),
}
STUDENTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "other heads": (config(num_attention_heads=8), "num_attention_heads is 8, but the teacher at {teacher} has 4"),
    "another width": (config(hidden_size=64), "hidden_size is 64, but the teacher at {teacher} has 32"),
    "another vocabulary": (renamed_token, "its tokenizer is not that of the teacher at {teacher}: they differ in 'lo"),
    "too few layers": (config(num_hidden_layers=3), "num_hidden_layers is 3, but the teacher at {teacher} has 4"),
}


@pytest.fixture
def refused_model(
    tmp_path: Path,
    store: Path,
    tiny_ingredients: on_disk.Ingredients,
    tiny_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """refused_model(spoil, command): what it says of a copy of a good model that was spoiled, after its name."""

    def said(spoil: Callable[[Path], object], *command: object, **changes: Any) -> str:
        folder = shutil.copytree(tiny_folder("bert"), tmp_path / "model")
        spoil(folder)
        write_params(
            tmp_path / "params.yaml", SMALL | ROWS | {"data.path": str(tmp_path), "model.name": str(folder)} | changes
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["kdcore", *map(str, command)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        err = capsys.readouterr().err
        assert ended.value.code == 2
        assert "Traceback" not in err
        assert {path.name for path in tmp_path.iterdir()} <= {"model", "params.yaml", store.name}
        assert not [*store.glob("*/result"), *store.glob("*/checkpoints")]
        last = err.splitlines()[-1]
        assert last.startswith(f"{folder}: "), err
        return last.removeprefix(f"{folder}: ")

    return said


@pytest.mark.parametrize("name", TEACHERS)
def test_a_bad_model(refused_model: Callable[..., str], tiny_ingredients: on_disk.Ingredients, name: str):
    spoil, said = TEACHERS[name]
    assert refused_model(spoil, "teacher", "tiny", tiny_ingredients.data, "out", "point.json").startswith(said)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_model_that_is_not_like_the_teacher(
    refused_model: Callable[..., str], tiny_ingredients: on_disk.Ingredients, name: str
):
    spoil, said = STUDENTS[name]
    found = tiny_ingredients
    command = ("student", "tiny", "sid", 2, 0, found.data, found.teacher, found.targets, "out")
    assert refused_model(spoil, *command, **{"student.init": "pretrained"}).startswith(
        said.format(teacher=found.teacher)
    )


def test_there_are_enough_cases():
    assert len(PARAMS) + len(TEXTS) + len(DATA) + len(TEACHERS) + len(STUDENTS) >= 200
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
    with pytest.raises(UserError, match=r"reviews: no such folder; it must hold train\.\{parquet,csv,tsv,jsonl\} and "):
        prepare(REVIEWS, data(tmp_path), tmp_path / "out")


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "/etc", "A", "", ".hidden", "-rf"])
def test_a_task_never_leaves_its_folder(tmp_path: Path, name: str):
    task = Task(name, ("review",), "stars", ("bad", "good"), ("accuracy",))
    with pytest.raises(UserError, match="a plain name of a-z 0-9 _ -, found") as error:
        prepare(task, data(tmp_path), tmp_path / "out")
    assert repr(name) in str(error.value)
