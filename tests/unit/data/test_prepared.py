"""A prepared folder is what was written, or an error that names the file and what to run."""

import json
import shutil
from pathlib import Path

import pytest

from kdcore.data.prepare import prepare
from kdcore.data.prepared import Data
from kdcore.errors import UserError
from tests.unit.raw_files import GOOD, REVIEWS, VALIDATION, data, write

RERUN = "run `dvc repro -f prepare`"
FILES = ["task.json", "train.parquet", "validation.parquet", "provenance.json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    raw = write(tmp_path / "raw", "reviews", {"train.tsv": GOOD, "validation.tsv": VALIDATION})
    prepare(REVIEWS, data(raw), tmp_path / "reviews")
    return tmp_path / "reviews"


def complaint(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        Data.open(folder)
    return str(error.value)


def test_whole_folders_are_read(folder: Path):
    found = Data.open(folder)
    assert found.splits == {"train": 3, "validation": 2}
    assert found.task == REVIEWS
    assert len(found.frame("validation")) == 2
    assert len(found.fingerprint) == 64


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_flipped_bit_is_found(folder: Path, name: str, at: int):
    raw = bytearray((folder / name).read_bytes())
    raw[at] ^= 1
    (folder / name).write_bytes(raw)
    assert complaint(folder) == f"{folder}: {name}: its content is not what was written (sha256 differs); {RERUN}"


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_found(folder: Path, name: str):
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(raw[:-1])
    assert complaint(folder) == f"{folder}: {name}: has {len(raw) - 1} bytes where {len(raw)} were written; {RERUN}"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(folder: Path, name: str):
    (folder / name).unlink()
    assert complaint(folder) == f"{folder}: {name}: is missing; {RERUN}"


def test_swapped_splits_are_both_found(folder: Path):
    train, validation = folder / "train.parquet", folder / "validation.parquet"
    shutil.move(train, folder / "aside")
    shutil.move(validation, train)
    shutil.move(folder / "aside", validation)
    assert "train.parquet: " in (said := complaint(folder))
    assert "validation.parquet: " in said


def test_an_absent_split_is_named(folder: Path):
    with pytest.raises(UserError, match="reviews: has no split 'test', has train, validation"):
        Data.open(folder).frame("test")


def test_more_rows_than_there_are_mean_all_of_them_and_are_said(folder: Path, capsys: pytest.CaptureFixture[str]):
    data = Data.open(folder)
    assert data.take("train", 4) == 3
    assert capsys.readouterr().out == "reviews/train: 4 rows are asked for, and all 3 are taken\n"
    assert [data.used(rows) for rows in (None, 2, 3, 4)] == [3, 2, 3, 3]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"files": []}', "\x00", '{"files": 3}'])
def test_a_broken_manifest_is_found(folder: Path, text: str):
    (folder / "manifest.json").write_text(text)
    assert f"{folder}: manifest.json can't be read (" in (said := complaint(folder))
    assert RERUN in said


def test_a_missing_folder_is_found(tmp_path: Path):
    assert RERUN in complaint(tmp_path / "nothing")


def test_a_split_that_was_added_by_hand_is_found(folder: Path):
    facts = json.loads((folder / "provenance.json").read_text())
    facts["splits"]["../x"] = facts["splits"]["train"]
    (folder / "provenance.json").write_text(json.dumps(facts))
    assert "provenance.json: " in complaint(folder)


def test_where_the_rows_come_from_is_no_part_of_the_fingerprint(folder: Path, tmp_path: Path):
    """The same rows from a file of another format are the same data."""
    raw = write(tmp_path / "other", "reviews", {"train.csv": GOOD.replace("\t", ","), "validation.tsv": VALIDATION})
    prepare(REVIEWS, data(raw), tmp_path / "again" / "reviews")
    one, other = folder / "provenance.json", tmp_path / "again/reviews/provenance.json"
    assert one.read_bytes() != other.read_bytes()
    assert Data.open(folder).fingerprint == Data.open(tmp_path / "again/reviews").fingerprint
