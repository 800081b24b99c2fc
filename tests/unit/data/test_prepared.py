"""A prepared folder is what was written, or an error that names the file and what to run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kdcore.data import prepared
from kdcore.data.prepare import prepare
from kdcore.errors import UserError
from tests.unit.raw_files import GOOD, REVIEWS, VALIDATION, data, write

RERUN = "run `dvc repro -f prepare`"
FILES = ["task.json", "train.parquet", "validation.parquet"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    raw = write(tmp_path / "raw", "reviews", {"train.tsv": GOOD, "validation.tsv": VALIDATION})
    prepare(REVIEWS, data(raw), tmp_path / "reviews")
    return tmp_path / "reviews"


def read(folder: Path, name: str) -> Any:
    return prepared.read_task(folder) if name == "task.json" else prepared.load_split(folder, name.split(".")[0])


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def complaint(folder: Path, name: str) -> str:
    """What reading the file says, which the fingerprint says too."""
    with pytest.raises(UserError) as error:
        read(folder, name)
    with pytest.raises(UserError) as again:
        prepared.fingerprint(folder)
    assert str(again.value) == str(error.value)
    return str(error.value)


def test_whole_folders_are_read(folder: Path):
    assert prepared.splits(folder) == ("train", "validation")
    assert prepared.read_task(folder) == REVIEWS
    assert len(prepared.load_split(str(folder), "validation")) == 2
    assert len(prepared.fingerprint(folder)) == 64


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_flipped_bit_is_found(folder: Path, name: str, at: int):
    flip(folder / name, at)
    said = complaint(folder, name)
    assert str(folder / name) in said
    assert "was changed after it was written" in said
    assert RERUN in said


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_found(folder: Path, name: str):
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    assert "was changed after it was written" in complaint(folder, name)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(folder: Path, name: str):
    (folder / name).unlink()
    said = complaint(folder, name)
    assert f"{folder / name}: cannot be read (No such file or directory); {RERUN}" == said


def test_swapped_splits_are_found(folder: Path):
    train, validation = folder / "train.parquet", folder / "validation.parquet"
    shutil.move(train, folder / "aside")
    shutil.move(validation, train)
    shutil.move(folder / "aside", validation)
    assert "train.parquet: was changed" in complaint(folder, "train.parquet")


def test_an_absent_split_is_named(folder: Path):
    with pytest.raises(UserError, match="reviews: has no split 'test', has train, validation"):
        prepared.load_split(folder, "test")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"splits": []}', "\x00", '{"splits": {"train": 3}}'])
def test_a_broken_provenance_is_found(folder: Path, text: str):
    (folder / "provenance.json").write_text(text)
    with pytest.raises(UserError, match=r"provenance.json: cannot be read \(\w+: ") as error:
        prepared.load_split(folder, "train")
    assert RERUN in str(error.value)


def test_a_missing_provenance_is_found(tmp_path: Path):
    with pytest.raises(
        UserError, match=r"provenance.json: cannot be read \(FileNotFoundError: .*run `dvc repro -f prepare`"
    ):
        prepared.fingerprint(tmp_path)


def test_a_changed_hash_in_provenance_is_found(folder: Path):
    found = json.loads((folder / "provenance.json").read_text())
    found["splits"]["train"]["sha256"] = "0" * 64
    (folder / "provenance.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match=r"provenance.json: was changed after it was written: its fingerprint"):
        prepared.load_split(folder, "train")


def test_a_split_never_leaves_the_folder(folder: Path):
    found = json.loads((folder / "provenance.json").read_text())
    found["splits"]["../x"] = found["splits"]["train"]
    (folder / "provenance.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match=r"provenance.json: was changed"):
        prepared.load_split(folder, "../x")
