"""Data as they are found: in files of `datasets`, in shards, in GLUE's own zips, with quotes, under other names."""

import bz2
import csv
import gzip
import io
import json
import zipfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdcore.data.checks import check, class_id, number
from kdcore.data.formats import READERS, cells_of
from kdcore.data.prepare import prepare
from kdcore.data.prepared import Data
from kdcore.data.sources import read
from kdcore.data.tasks import GLUE, Task
from kdcore.errors import UserError
from tests.unit.raw_files import GOOD, REVIEWS, SCORES, VALIDATION, data, in_memory, write


def labels(task: Task, raw: Path, split: str = "train", **changes: Any) -> list[float]:
    """The ids that a task's rows get, in the order of the source; NaN where there is none."""
    return check(task, read(task, data(raw).model_copy(update=changes)), raw)[0][split].label.tolist()


def class_label(names: Any, ids: list[Any], kind: str = "ClassLabel") -> bytes:
    """A parquet file as `datasets` writes it, with what the ids mean in its schema."""
    features = {
        "review": {"dtype": "string", "_type": "Value"},
        "stars": {"names": names, "_type": kind},
    }
    table = pa.table({"review": [f"text {i}" for i in range(len(ids))], "stars": pa.array(ids, pa.int64())})
    written = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    buffer = io.BytesIO()
    pq.write_table(written, buffer)
    return buffer.getvalue()


# Names of ids


@pytest.mark.parametrize(
    ("names", "ids", "expected"),
    [
        (["good", "bad"], [0, 1, 1], [1, 0, 0]),  # the other way round than labels: [bad, good]
        (["bad", "good"], [0, 1, 1], [0, 1, 1]),
        (["0", "1"], [0, 1, 1], [0, 1, 1]),  # names that are ids themselves
        (["1", "0"], [0, 1, 1], [1, 0, 0]),
        ({"1": "bad", "0": "good"}, [0, 1, 1], [1, 0, 0]),  # as the card of a data set has them
    ],
)
def test_ids_mean_what_the_schema_says(tmp_path: Path, names: Any, ids: list[int], expected: list[int]):
    files = {f"{split}.parquet": class_label(names, ids) for split in ("train", "validation")}
    assert labels(REVIEWS, write(tmp_path, "reviews", files)) == expected


def test_ids_with_nulls_are_floats_and_mean_the_same(tmp_path: Path):
    table = pq.read_table(io.BytesIO(class_label(["good", "bad"], [0, 1, -1])))
    buffer = io.BytesIO()
    pq.write_table(table.set_column(1, "stars", pa.array([0.0, 1.0, -1.0, None][:3])), buffer)
    files = {"train.parquet": buffer.getvalue(), "validation.tsv": VALIDATION}
    assert pd.Series(labels(REVIEWS, write(tmp_path, "reviews", files))).fillna(-1).tolist() == [1, 0, -1]


def test_unlabelled_ids_stay_so(tmp_path: Path):
    files = {"train.parquet": class_label(["good", "bad"], [0, -1, None, 1]), "validation.tsv": VALIDATION}
    assert pd.Series(labels(REVIEWS, write(tmp_path, "reviews", files))).fillna(-1).tolist() == [1, -1, -1, 0]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["neg", "pos"], "row 1, column stars: must be bad, good, or an id from 0 to 1, found 'neg'"),
        (["good"], 'row 2, column stars: must be bad, good, or an id from 0 to 1, found "1, an id without a name'),
    ],
)
def test_names_that_the_task_has_not_are_refused(tmp_path: Path, names: list[str], problem: str):
    files = {"train.parquet": class_label(names, [0, 1]), "validation.tsv": VALIDATION}
    with pytest.raises(UserError) as error:
        labels(REVIEWS, write(tmp_path, "reviews", files))
    assert any(problem in line for line in error.value.problems), error.value.problems


@pytest.mark.parametrize("names", ["bg", None, 2, {"0": "bad", "2": "good"}, {"bad": 0, "good": 1}])
def test_a_schema_that_is_broken_is_refused(tmp_path: Path, names: Any):
    write(tmp_path, "reviews", {"train.parquet": class_label(names, [0, 1]), "validation.tsv": VALIDATION})
    with pytest.raises(UserError, match=r"train.parquet: is not a readable parquet file: its schema does not say what"):
        read(REVIEWS, data(tmp_path))


# The same values in text


@pytest.mark.parametrize(
    ("names", "cell", "label"),
    [
        (("bad", "good"), "1.0", 1),
        (("bad", "good"), "0.00", 0),
        (("bad", "good"), "-1.0", None),
        (("bad", "good"), "True", 1),
        (("bad", "good"), "false", 0),
        (("bad", "good"), "TRUE", 1),
        (("no", "yes"), True, 1),
        (("N", "Y"), True, 1),
        (("m", "f"), "1", 1),  # no words for true and false, though f can be one
        (("no", "maybe", "yes"), "2", 2),
        (("-1", "0", "1"), "-1.0", 0),
        (("true", "false"), True, 0),  # a name, not the id 1
        (("true", "false"), "True", 0),
        (("False", "True"), True, 1),
        (("False", "True"), "true", 1),
        (("False", "True"), "1", 1),
        (("TRUE", "FALSE"), False, 1),
        (("1", "2"), "1.0", 0),
        (("us", "US"), "us", 0),
        (("us", "US"), "US", 1),
        (("bad", "good"), Decimal("1.00"), 1),
        (("bad", "good"), -0.0, 0),
        (("bad", "good"), "-0.0", 0),
    ],
)
def test_a_text_file_says_the_same_as_parquet_and_jsonl(names: tuple[str, ...], cell: Any, label: int | None):
    assert class_id(names)(cell) == label


@pytest.mark.parametrize(
    ("names", "cell"),
    [
        (("bad", "good"), "1.5"),
        (("bad", "good"), "2.0"),
        (("bad", "good"), "01.0"),
        (("bad", "good"), "tRue"),
        (("yes", "no"), True),  # would be the id 1, no
        (("yes", "no"), "False"),
        (("yes", "no"), "1"),  # a column `is_spam` of 0 and 1 means yes by it
        (("Y", "N"), True),
        (("on", "off"), 0),
        (("true", "false"), "1"),  # the id 1 is false
        (("us", "US"), "Us"),
    ],
)
def test_what_has_two_meanings_is_refused(names: tuple[str, ...], cell: Any):
    with pytest.raises(ValueError, match="must be "):
        class_id(names)(cell)


def test_an_underscore_makes_no_number():
    with pytest.raises(ValueError, match="must be a finite number, found '1_0'"):
        number("1_0")


@pytest.mark.parametrize("words", [("0.0", "1.0"), ("False", "True"), ("false", "true"), ("0", "1"), ("bad", "good")])
def test_csv_labels(tmp_path: Path, words: tuple[str, str]):
    text = "review,stars\n" + "".join(f"text {i},{words[i % 2]}\n" for i in range(4))
    assert labels(REVIEWS, write(tmp_path, "reviews", {"train.csv": text, "validation.csv": text})) == [0, 1, 0, 1]


# Columns that nobody uses


@pytest.mark.parametrize(
    "text",
    [
        "stars,review,,,\ngood,fine,,,\nbad,dull,,,\n",
        "stars,review,more,more\ngood,fine,a,b\nbad,dull,,\n",
        ",stars,,review\n0,good,,fine\n1,bad,,dull\n",
    ],
)
def test_columns_that_nobody_uses_may_be_nameless_or_repeated(tmp_path: Path, text: str):
    assert labels(REVIEWS, write(tmp_path, "reviews", {"train.csv": text, "validation.csv": text})) == [1, 0]


@pytest.mark.parametrize(
    "unused",
    [
        pa.array([2**62, 1], pa.timestamp("us")),  # a year that Python has no date for
        pa.array([0, 1], pa.timestamp("us", tz="Nowhere/City")),
        pa.array([[1.0] * 384] * 2),
        pa.array([b"\xff", None], pa.binary()),
    ],
    ids=["beyond dates", "an unknown zone", "an embedding", "bytes"],
)
def test_columns_that_nobody_uses_are_not_looked_into(tmp_path: Path, unused: pa.Array):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"when": unused, "review": ["a", "b"], "stars": [0, 1]}), buffer)
    files = {"train.parquet": buffer.getvalue(), "validation.tsv": VALIDATION}
    assert labels(REVIEWS, write(tmp_path, "reviews", files)) == [0, 1]


def test_a_column_that_cannot_be_read_is_named(tmp_path: Path):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"review": ["a", "b"], "stars": pa.array([2**62, 1], pa.timestamp("us"))}), buffer)
    files = {"train.parquet": buffer.getvalue(), "validation.tsv": VALIDATION}
    with pytest.raises(UserError, match=r"train.parquet: column 'stars' cannot be read: date value out of range"):
        read(REVIEWS, data(write(tmp_path, "reviews", files)))


def test_a_json_file_has_lines_or_a_list(tmp_path: Path):
    rows = [{"review": "a", "stars": 1}, {"review": "b", "stars": 0}]
    files = {"train.json": json.dumps(rows, indent=1), "validation.json": "\n".join(map(json.dumps, rows))}
    write(tmp_path, "reviews", files)
    assert labels(REVIEWS, tmp_path) == labels(REVIEWS, tmp_path, "validation") == [1, 0]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_lines_may_end_as_on_old_macs(kind: str):
    text = {"csv": "review,stars\ra,1\r", "tsv": "review\tstars\ra\t1\r", "jsonl": '{"review": "a", "stars": "1"}\r'}
    cells = cells_of(kind, text[kind].encode(), f"train.{kind}")
    assert {name: [*cells.column(name)] for name in cells.header} == {"review": ["a"], "stars": ["1"]}


# Separators and quotes


def quoted_tsv(rows: list[tuple[str, str]], quoting: int) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", quoting=quoting, lineterminator="\n").writerows([("review", "stars"), *rows])
    return buffer.getvalue()


TEXTS = ['he said "well"', "a\ttab", "two\nlines", "plain", "it's", '"all of it"']


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("texts", [TEXTS, ['he said "well"', "plain"], ['"', "plain"], ["a\ttab", "b"]])
def test_a_tsv_that_was_written_with_quotes_is_read_with_them(quoting: int, texts: list[str]):
    text = quoted_tsv([(text, "good") for text in texts], quoting)
    assert [*cells_of("tsv", text.encode(), "train.tsv").column("review")] == texts


@pytest.mark.parametrize(
    "texts",
    [
        ['"open', 'said "so"', '"shut"'],
        ['"open', "x", 'shut"'],  # with quotes it would be one row
        ['"Well", he said', 'a ""b""'],
        ['"', '"'],
    ],
)
def test_a_tsv_without_quotes_keeps_every_character(texts: list[str]):
    text = "review\tstars\n" + "".join(f"{text}\tgood\n" for text in texts)
    assert [*cells_of("tsv", text.encode(), "train.tsv").column("review")] == texts
    turned = "stars\treview\n" + "".join(f"good\t{text}\n" for text in texts)
    assert [*cells_of("tsv", turned.encode(), "train.tsv").column("review")] == texts


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("csv", "review;stars\nfine, really;good\n", "separated by semicolons, must be by commas in a .csv file"),
        ("csv", '"review";"stars"\n"fine";"good"\n', "separated by semicolons, must be by commas"),
        ("csv", "review\tstars\nfine\tgood\n", "separated by tabs, must be by commas.*, or name it .tsv"),
        ("csv", "review|stars\nfine|good\n", "separated by bars, must be by commas"),
        ("tsv", "review,stars\nfine,good\n", "separated by commas, must be by tabs.*, or name it .csv"),
        ("tsv", "review;stars\nfine;good\n", "separated by semicolons, must be by tabs"),
    ],
)
def test_another_separator_is_named(kind: str, text: str, problem: str):
    with pytest.raises(UserError, match=f"train.{kind}: line 1: its cells are {problem}"):
        cells_of(kind, text.encode(), f"train.{kind}")


# Shards and folders of `datasets`


def parts(*texts: list[str]) -> dict[str, str | bytes]:
    of = f"{len(texts):05d}"
    head = "review,stars\n"
    return {f"train-{i:05d}-of-{of}.csv": head + "".join(f"{t}\n" for t in text) for i, text in enumerate(texts)}


def test_shards_are_one_split_in_their_order(tmp_path: Path):
    files = parts(["a,good", "b,bad"], ["c,bad"], ["d,good"]) | {"validation.tsv": VALIDATION}
    raw = read(REVIEWS, data(write(tmp_path, "reviews", files)))
    assert in_memory(raw)["train"]["review"].tolist() == ["a", "b", "c", "d"]
    assert in_memory(raw)["train"].index.tolist() == [0, 1, 2, 3]
    assert raw.origin["files"]["train"]["file"] == "reviews/train-00000-of-00003.csv to train-00002-of-00003.csv"


def test_a_shard_is_named_where_one_of_its_cells_is_wrong(tmp_path: Path):
    files = parts(["a,good", "b,bad"], ["c,bad", "d,best"]) | {"validation.tsv": VALIDATION}
    with pytest.raises(UserError, match=r"train-00001-of-00002.csv: row 2 \(line 3\), column stars: must be bad, good"):
        labels(REVIEWS, write(tmp_path, "reviews", files))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"train-00001-of-00003.csv": None}, "train-00001-of-00003.csv is missing"),
        ({"train-00000-of-00002.csv": "review,stars\n"}, "train-00001-of-00002.csv is missing"),
        ({"train.csv": "review,stars\n"}, "must be one file, found train.csv and train-00000-of-00003.csv"),
        ({"train-00003-of-00003.csv": "review,stars\n"}, "4 files, must be 3"),
    ],
)
def test_shards_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], problem: str):
    files = parts(["a,good"], ["b,bad"], ["c,bad"]) | {"validation.tsv": VALIDATION} | change
    write(tmp_path, "reviews", {name: text for name, text in files.items() if text is not None})
    with pytest.raises(UserError, match=problem):
        read(REVIEWS, data(tmp_path))


def test_older_shards_have_a_hash_in_their_names(tmp_path: Path):
    shards = {f"train-0000{i}-of-00002-{str(i) * 16}.csv": f"review,stars\n{i},{i}\n" for i in (0, 1)}
    write(tmp_path, "reviews/data", shards | {"validation-00000-of-00001-0123456789abcdef.csv": "review,stars\nc,1\n"})
    assert labels(REVIEWS, tmp_path) == [0, 1]


def test_a_folder_of_files_is_a_split(tmp_path: Path):
    write(tmp_path, "reviews/train", {"0001.csv": "review,stars\nb,1\n", "0000.csv": "review,stars\na,0\n"})
    write(tmp_path, "reviews/dev", {"part.jsonl": '{"review": "c", "stars": 1}\n', "notes.txt": "mine"})
    assert labels(REVIEWS, tmp_path) == [0, 1]
    write(tmp_path, "reviews/train", {"0002.tsv": "review\tstars\nc\t0\n"})
    with pytest.raises(UserError, match=r"train/: must hold files of one format, found \['0000.csv', .*'0002.tsv'"):
        read(REVIEWS, data(tmp_path))


def test_a_clone_of_a_hubs_repository_has_its_shards_in_data(tmp_path: Path):
    write(
        tmp_path, "reviews/data", parts(["a,good", "b,bad"]) | {"validation-00000-of-00001.csv": "review,stars\nc,1\n"}
    )
    assert labels(REVIEWS, tmp_path) == [1, 0]


def test_what_save_to_disk_wrote_is_read(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"review": datasets.Value("string"), "stars": datasets.ClassLabel(names=["good", "bad"])}
    )
    rows = datasets.Dataset.from_dict({"review": list("abcde"), "stars": [0, 1, 1, 0, 1]}, features=features)
    datasets.DatasetDict({"train": rows, "validation": rows}).save_to_disk(
        tmp_path / "reviews", num_shards={"train": 2, "validation": 1}
    )
    assert labels(REVIEWS, tmp_path) == [1, 0, 0, 1, 0]


def test_what_save_to_disk_wrote_of_one_data_set_is_train(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"review": [*"abcd"], "stars": ["good", "bad"] * 2})
    rows.save_to_disk(tmp_path / "reviews")
    raw = read(REVIEWS, data(tmp_path).model_copy(update={"validation_share": 0.5}))
    assert {split: len(frame) for split, frame in in_memory(raw).items()} == {"train": 2, "validation": 2}


@pytest.mark.parametrize("key", ["_indices_data_files", "_indices_files"])
def test_a_choice_of_rows_that_lies_beside_them_is_refused(tmp_path: Path, key: str):
    state = {"_data_files": [{"filename": "d.arrow"}], key: [{"filename": "indices.arrow"}]}
    write(tmp_path, "reviews/train", {"state.json": json.dumps(state), "d.arrow": b""})
    write(tmp_path, "reviews", {"validation.tsv": VALIDATION})
    with pytest.raises(UserError, match=r"train/state.json: is of an old version of `datasets`.* flatten_indices"):
        read(REVIEWS, data(tmp_path))


@pytest.mark.parametrize("state", ["{", "[]", '{"_data_files": [{"filename": "../../x.arrow"}]}'])
def test_a_broken_save_to_disk_is_named(tmp_path: Path, state: str):
    write(tmp_path, "reviews/train", {"state.json": state})
    write(tmp_path, "reviews", {"validation.tsv": VALIDATION})
    with pytest.raises(UserError, match=r"train/state.json: (does not name|must name) "):
        read(REVIEWS, data(tmp_path))


def test_an_arrow_file_that_is_none_is_named(tmp_path: Path):
    write(tmp_path, "reviews/train", {"state.json": '{"_data_files": [{"filename": "d.arrow"}]}', "d.arrow": b"hello"})
    write(tmp_path, "reviews", {"validation.tsv": VALIDATION})
    with pytest.raises(UserError, match=r"d.arrow: is not a readable arrow file: "):
        read(REVIEWS, data(tmp_path))


# GLUE's own files: headers as gluebenchmark.com gives them, rows by hand

OWN: dict[str, tuple[str, list[str], list[Any]]] = {
    "cola": ("gj04\t1\t\tHe left.\ngj04\t0\t*\tLeft he.\n", ["He left.", "Left he."], [1, 0]),
    "sst2": (
        "sentence\tlabel\nhide new secretions \t0\ncontains wit \t1\n",
        ["hide new secretions ", "contains wit "],
        [0, 1],
    ),
    "mrpc": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
        '1\t702876\t702977\t"Amrozi" said\tHe said .\n0\t21\t22\tYes .\tNo .\n',
        ['"Amrozi" said', "Yes ."],
        [1, 0],
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
        "1\t2\t3\tHow?\tWhy?\t0\n4\t5\t6\tcut short\n7\t8\t9\tWho?\tWhom?\t1\n",
        ["How?", "Who?"],
        [0, 1],
    ),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tmain-captions\tMSRvid\t2012test\t0001\tnone\tnone\tA plane.\tA jet.\t5.000\n"
        "1\tmain-captions\tMSRvid\t2012test\t0004\tnone\tnone\tA man.\tA dog.\t1.250\n",
        ["A plane.", "A man."],
        [5.0, 1.25],
    ),
    "mnli": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\t"
        "sentence1\tsentence2\tlabel1\tgold_label\n"
        "0\t31193\t31193n\tgovernment\t( a )\t( b )\t(R a)\t(R b)\tIt rains.\tIt is wet.\tneutral\tentailment\n"
        "1\t31194\t31194c\tgovernment\t( a )\t( b )\t(R a)\t(R b)\tSun.\tRain.\tneutral\tcontradiction\n",
        ["It rains.", "Sun."],
        [0, 2],
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel\n0\tWhen?\tIn 1948.\tentailment\n1\tWho?\tIt rained.\tnot_entailment\n",
        ["When?", "Who?"],
        [0, 1],
    ),
    "rte": (
        "index\tsentence1\tsentence2\tlabel\n0\tNo.\tYes.\tnot_entailment\n1\tA dog.\tAn animal.\tentailment\n",
        ["No.", "A dog."],
        [1, 0],
    ),
    "wnli": (
        "index\tsentence1\tsentence2\tlabel\n0\tIt fell.\tHe fell.\t1\n1\tIt sank.\tShe sank.\t0\n",
        ["It fell.", "It sank."],
        [1, 0],
    ),
}
FOLDERS = {
    **{"cola": "CoLA", "sst2": "SST-2", "mrpc": "MRPC", "qqp": "QQP", "stsb": "STS-B"},
    **{"mnli": "MNLI", "qnli": "QNLI", "rte": "RTE", "wnli": "WNLI"},
}
ZIPS = FOLDERS | {"qqp": "QQP-clean", "qnli": "QNLIv2"}


def own_files(task: str) -> dict[str, str]:
    dev = ("dev_matched", "dev_mismatched") if task == "mnli" else ("dev",)
    return {f"{name}.tsv": OWN[task][0] for name in ("train", *dev)}


@pytest.mark.parametrize("task", OWN)
@pytest.mark.parametrize("packed", ["files", "folder", "zip", "flat zip", "folder beside", "zip beside"])
def test_glues_own_files_are_read(tmp_path: Path, task: str, packed: str):
    place = "." if "beside" in packed else task
    if "zip" in packed:
        (tmp_path / place).mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / place / f"{ZIPS[task]}.zip", "w") as archive:
            for name, text in own_files(task).items():
                archive.writestr(name if packed == "flat zip" else f"{FOLDERS[task]}/{name}", text)
    else:
        write(tmp_path, f"{place}/{FOLDERS[task]}" if "folder" in packed else task, own_files(task))
    splits, odd = check(GLUE[task], read(GLUE[task], data(tmp_path)), tmp_path)
    assert splits["train"].texts(np.arange(2))[0] == OWN[task][1]
    assert splits["train"].label.tolist() == OWN[task][2]
    assert set(splits) == {"train", "validation", *(["validation_mismatched"] if task == "mnli" else [])}
    left_out = {"rows that end too early and are left out": 1} if task == "qqp" else {}
    assert {what: n for what, n in odd.get("train", {}).items() if "early" in what} == left_out


def test_mrpc_may_be_what_glue_made_its_files_from(tmp_path: Path):
    rows = OWN["mrpc"][0] + "".join(f"{i % 2}\t1\t2\tleft {i}\tright\n" for i in range(10))
    files = {"msr_paraphrase_train.txt": rows, "msr_paraphrase_test.txt": OWN["mrpc"][0]}
    write(tmp_path, "mrpc", files)
    with pytest.raises(UserError, match=r"validation: not found .*data.splits names another, data.validation_share"):
        read(GLUE["mrpc"], data(tmp_path))
    shared = data(tmp_path).model_copy(update={"validation_share": 0.5})
    parts = in_memory(read(GLUE["mrpc"], shared))
    assert {split: len(frame) for split, frame in parts.items()} == {"train": 6, "validation": 6, "test": 2}
    named = data(tmp_path).model_copy(update={"splits": {"validation": "msr_paraphrase_test"}})
    frames = in_memory(read(GLUE["mrpc"], named))
    assert {split: len(frame) for split, frame in frames.items()} == {"train": 12, "validation": 2}
    assert frames["train"]["sentence1"][0] == '"Amrozi" said'
    # Where GLUE's own files are there too, those count.
    write(tmp_path, "mrpc", own_files("mrpc"))
    assert len(in_memory(read(GLUE["mrpc"], data(tmp_path)))["train"]) == 2


def test_mrpcs_dev_ids_say_which_rows_validate(tmp_path: Path):
    rows = OWN["mrpc"][0] + "".join(f"{i % 2}\t1{i}\t2{i}\tleft {i}\tright\n" for i in range(6))
    files = {"msr_paraphrase_train.txt": rows, "msr_paraphrase_test.txt": OWN["mrpc"][0]}
    write(tmp_path, "mrpc", files | {"dev_ids.tsv": "15\t25\r\n702876\t702977\r\n"})
    raw = read(GLUE["mrpc"], data(tmp_path))
    assert in_memory(raw)["validation"]["sentence1"].tolist() == ['"Amrozi" said', "left 5"]
    assert in_memory(raw)["train"]["sentence1"].tolist() == ["Yes .", *(f"left {i}" for i in range(5))]
    assert raw.origin["validation"] == "the pairs of dev_ids.tsv"
    (tmp_path / "mrpc/dev_ids.tsv").write_text("15\t26\n")
    with pytest.raises(UserError, match=r"mrpc/dev_ids.tsv: must list pairs of #1 ID and #2 ID of msr_.*'26'|\"26\""):
        read(GLUE["mrpc"], data(tmp_path))


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "zst": lambda raw: pa.compress(raw, codec="zstd", asbytes=True)}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("kind", READERS)
def test_a_packed_file_is_read_as_what_is_in_it(tmp_path: Path, kind: str, packing: str):
    buffer = io.BytesIO()
    frame = pd.DataFrame({"review": ["fine, by me", "no"], "stars": ["good", "bad"]})
    written = {
        "csv": lambda: frame.to_csv(index=False).encode(),
        "tsv": lambda: frame.to_csv(index=False, sep="\t").encode(),
        "json": lambda: frame.to_json(orient="records").encode(),
        "jsonl": lambda: frame.to_json(orient="records", lines=True).encode(),
        "parquet": lambda: (frame.to_parquet(buffer), buffer.getvalue())[1],
    }[kind]()
    for name in ("train", "dev-00000-of-00001"):
        write(tmp_path, "reviews", {f"{name}.{kind}.{packing}": PACKED[packing](written)})
    assert labels(REVIEWS, tmp_path) == labels(REVIEWS, tmp_path, "validation") == [1, 0]
    write(tmp_path, "reviews", {f"train.{kind}.{packing}": PACKED[packing](written)[:-9]})
    with pytest.raises(UserError, match=f"train.{kind}.{packing}: cannot be unpacked: "):
        labels(REVIEWS, tmp_path)


def test_two_zips_of_one_task_are_refused(tmp_path: Path):
    write(tmp_path, "qqp", {"QQP.zip": b"", "QQP-clean.zip": b""})
    with pytest.raises(UserError, match=r"qqp: must be one zip, found QQP-clean.zip and QQP.zip"):
        read(GLUE["qqp"], data(tmp_path))


def test_colas_test_file_has_a_header_row(tmp_path: Path):
    files = own_files("cola") | {"test.tsv": "index\tsentence\n0\tBill whistled.\n"}
    frame = in_memory(read(GLUE["cola"], data(write(tmp_path, "cola", files))))["test"]
    assert frame.to_dict("list") == {"sentence": ["Bill whistled."], "label": [None]}


def test_colas_rows_are_counted_from_the_first_line(tmp_path: Path):
    files = {"train.tsv": OWN["cola"][0] + "gj04\t2\t\tIt.\n", "dev.tsv": OWN["cola"][0]}
    with pytest.raises(UserError, match=r"train.tsv: row 3 \(line 3\), column label: must be .*, found '2'"):
        labels(GLUE["cola"], write(tmp_path, "cola", files))


def test_a_short_row_of_ones_own_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"row 1 \(line 2\): has 1 cell, must have 2"):
        labels(
            REVIEWS,
            write(tmp_path, "reviews", {"train.tsv": "review\tstars\nshort\na\tgood\n", "validation.tsv": VALIDATION}),
        )


@pytest.mark.parametrize("raw", [b"no zip", b"PK\x05\x06" + b"\0" * 18])
def test_a_zip_that_is_none_or_empty_is_named(tmp_path: Path, raw: bytes):
    write(tmp_path, "cola", {"CoLA.zip": raw})
    with pytest.raises(UserError, match=r"CoLA.zip: is not a readable zip|train: not found"):
        read(GLUE["cola"], data(tmp_path))


# Names of splits, and a validation share


def test_splits_go_by_the_names_that_params_give(tmp_path: Path):
    files = {"training.tsv": GOOD, "test.tsv": VALIDATION}
    raw = read(
        REVIEWS,
        data(write(tmp_path, "reviews", files)).model_copy(
            update={"splits": {"train": "training", "validation": "test"}}
        ),
    )
    assert {split: table.file for split, table in raw.tables.items()} == {
        "train": "training.tsv",
        "validation": "test.tsv",
    }


@pytest.mark.parametrize("name", ["validation", "dev", "valid", "val", "eval"])
def test_validation_has_the_names_that_people_give_it(tmp_path: Path, name: str):
    raw = read(REVIEWS, data(write(tmp_path, "reviews", {"train.tsv": GOOD, f"{name}.tsv": VALIDATION})))
    assert raw.tables["validation"].file == f"{name}.tsv"


def test_two_files_for_validation_are_refused(tmp_path: Path):
    write(tmp_path, "reviews", {"train.tsv": GOOD, "validation.tsv": VALIDATION, "dev.tsv": VALIDATION})
    with pytest.raises(UserError, match=r"must be one file, found validation.tsv and dev.tsv"):
        read(REVIEWS, data(tmp_path))


LINES = [f"text {i}\t{'good' if i % 4 == 0 else 'bad'}" for i in range(80)]  # 20 good, 60 bad


def test_a_share_of_train_validates_where_nothing_else_does(tmp_path: Path):
    write(tmp_path, "reviews", {"train.tsv": "review\tstars\n" + "\n".join([*LINES, "no label\t", "none\t-1"])})
    asked = data(tmp_path).model_copy(update={"validation_share": 0.2})
    prepare(REVIEWS, asked, tmp_path / "out")
    train, validation = Data.open(tmp_path / "out").frame("train"), Data.open(tmp_path / "out").frame("validation")
    # 16 of 80 labelled rows; a quarter of them is good. What has no label stays in train.
    assert len(validation) == 16
    assert (validation["label"] == 1).sum() == 4
    assert len(train) == 66
    assert sorted([*train["row"], *validation["row"]]) == list(range(82))
    origin = json.loads((tmp_path / "out/provenance.json").read_text())["origin"]
    assert origin["validation"].startswith("0.2 of the labelled train rows")
    prepare(REVIEWS, asked, tmp_path / "again")
    assert Data.open(tmp_path / "again").frame("validation")["row"].tolist() == validation["row"].tolist()


def test_a_larger_share_holds_every_smaller_one(tmp_path: Path):
    write(tmp_path, "reviews", {"train.tsv": "review\tstars\n" + "\n".join(LINES)})
    rows = [
        set(in_memory(read(REVIEWS, data(tmp_path).model_copy(update={"validation_share": share})))["validation"].index)
        for share in (0.1, 0.2, 0.5)
    ]
    assert [len(some) for some in rows] == [8, 16, 40]
    assert rows[0] < rows[1] < rows[2]


def test_a_share_of_a_regression_is_drawn_from_all_scores(tmp_path: Path):
    text = "left\tright\tlabel\n" + "".join(f"a{i}\tb{i}\t{i / 4}\n" for i in range(20))
    raw = read(
        SCORES, data(write(tmp_path, "scores", {"train.tsv": text})).model_copy(update={"validation_share": 0.25})
    )
    assert {split: len(frame) for split, frame in in_memory(raw).items()} == {"train": 15, "validation": 5}


def test_a_share_has_each_class_however_it_is_called_and_written(tmp_path: Path):
    names = ("-1", "0", "1")
    cells = [cell for _ in range(10) for cell in ("-1", "-1.0", "0", "1.0")]
    text = "review\tstars\n" + "".join(f"text {i}\t{cell}\n" for i, cell in enumerate(cells))
    asked = data(write(tmp_path, "reviews", {"train.tsv": text})).model_copy(update={"validation_share": 0.2})
    prepare(replace(REVIEWS, labels=names), asked, tmp_path / "out")
    labels = Data.open(tmp_path / "out").frame("validation")["label"]
    assert labels.value_counts().to_dict() == {0: 4, 1: 2, 2: 2}


def test_a_class_called_minus_1_is_not_taken_for_rows_without_a_label(tmp_path: Path):
    files = {"train.tsv": "review\tstars\na\t-1\nb\t0\n", "validation.tsv": "review\tstars\nc\t1\n"}
    prepare(replace(REVIEWS, labels=("-1", "0", "1")), data(write(tmp_path, "reviews", files)), tmp_path / "out")
    assert Data.open(tmp_path / "out").labelled == {"train": 2, "validation": 1}


def test_a_validation_file_is_used_whatever_the_share(tmp_path: Path):
    asked = data(write(tmp_path, "reviews", {"train.tsv": GOOD, "validation.tsv": VALIDATION}))
    raw = read(REVIEWS, asked.model_copy(update={"validation_share": 0.5}))
    assert len(in_memory(raw)["train"]) == 3
    assert "validation" not in raw.origin


def test_a_problem_in_a_held_out_row_is_named_where_it_is(tmp_path: Path):
    lines = [line.replace("good", "best") for line in LINES]
    write(tmp_path, "reviews", {"train.tsv": "review\tstars\n" + "\n".join(lines)})
    with pytest.raises(UserError) as error:
        labels(REVIEWS, tmp_path, validation_share=0.5)
    rows = sorted(int(problem.split("row ")[1].split(" ")[0]) for problem in error.value.problems)
    assert rows == [i + 1 for i in range(80) if i % 4 == 0]


def test_a_missing_text_is_named_where_a_share_validates(tmp_path: Path):
    rows = [*({"review": f"text {i}", "stars": i % 2} for i in range(8)), {"review": None, "stars": 1}]
    write(tmp_path, "reviews", {"train.jsonl": "\n".join(map(json.dumps, rows))})
    with pytest.raises(UserError, match=r"train.jsonl: row 9 \(line 9\), column review: has no text"):
        labels(REVIEWS, tmp_path, validation_share=0.5)


def test_the_hub_has_configurations_and_splits_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "films"
    for name in ("train", "test"):
        (folder / "plain").mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"review": ["a", "b", "c", "d"], "stars": [0, 1, 0, 1]}).to_parquet(
            folder / f"plain/{name}.parquet"
        )
    card = "---\nconfigs:\n- config_name: plain\n  data_files:\n"
    card += "".join(f"  - {{split: {name}, path: plain/{name}.parquet}}\n" for name in ("train", "test"))
    (folder / "README.md").write_text(card + "---\n")
    asked = data(folder, "hub")
    raw = read(REVIEWS, asked.model_copy(update={"splits": {"validation": "test"}}))
    assert set(raw.tables) == {"train", "validation"}
    assert raw.origin["configuration"] == "plain"  # the only one
    shared = read(REVIEWS, asked.model_copy(update={"validation_share": 0.5}))
    assert {split: len(frame) for split, frame in in_memory(shared).items()} == {"train": 2, "validation": 2, "test": 4}
    named = read(REVIEWS, asked.model_copy(update={"configuration": "plain", "validation_share": 0.5}))
    assert in_memory(named)["train"].equals(in_memory(shared)["train"])
    with pytest.raises(UserError, match=r"nothing \(data.hub\): cannot be loaded: .*'nothing' not found. Available: "):
        read(REVIEWS, asked.model_copy(update={"configuration": "nothing"}))


def test_several_configurations_must_be_chosen_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda *_, **__: ["raw", "clean"])
    with pytest.raises(UserError, match=r"has several configurations, set data.configuration to one: raw, clean"):
        read(REVIEWS, data(tmp_path, "hub"))


def test_a_task_keeps_its_name_as_configuration_where_the_hub_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    asked: list[str | None] = []
    rows = datasets.Dataset.from_dict({"review": ["a", "b"], "stars": ["good", "bad"]})

    def load_dataset(_: str, name: str | None, revision: str) -> Any:
        asked.append(name)
        return datasets.DatasetDict({"train": rows, "dev": rows})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for names in (["reviews", "raw"], ["default", "raw"], []):
        monkeypatch.setattr(datasets, "get_dataset_config_names", lambda *_, names=names, **__: names)
        assert set(read(REVIEWS, data(tmp_path, "hub")).tables) == {"train", "validation"}
    read(replace(GLUE["rte"], text=("review",), label="stars", labels=("bad", "good")), data(tmp_path, "hub"))
    assert asked == ["reviews", None, None, "rte"]
