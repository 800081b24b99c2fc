"""Tokens of a prepared split: made once, the same as in memory, whatever was killed, found by everyone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcore.artefacts import MANIFEST
from kdcore.data import tokens
from kdcore.data.examples import Examples, encode
from kdcore.data.prepared import Data
from kdcore.data.tokens import rows_made, token_bytes, tokenised, width
from kdcore.errors import UserError
from kdcore.model.names import tokenizer_identity
from tests import on_disk, tiny
from tests.on_disk import MAX_LENGTH


@pytest.fixture(autouse=True)
def chunks(monkeypatch: pytest.MonkeyPatch, store: Path) -> Iterator[None]:
    """Ten rows at a time, and no fewer than sixteen, in a store of its own."""
    monkeypatch.setattr(tokens, "CHUNK", 10)
    monkeypatch.setattr(tokens, "FEWEST", 16)
    monkeypatch.setattr(tokens, "_opened", {})
    return


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data.open(on_disk.prepared(tmp_path_factory.mktemp("tokens"), on_disk.rows()))  # 48 and 24 rows


def equal(one: Examples, other: Examples) -> bool:
    arrays = [(getattr(one, name), getattr(other, name)) for name in ("tokens", "types", "start", "labels")]
    return one.pad == other.pad and all(
        (a is None and b is None) or np.array_equal(a, b, equal_nan=name == "labels")
        for (a, b), name in zip(arrays, ("tokens", "types", "start", "labels"), strict=True)
    )


def made(store: Path) -> list[Path]:
    return sorted(store.glob("tokens-*/result"))


@pytest.mark.parametrize("family", ["bert", "roberta"])  # with token types, and without
@pytest.mark.parametrize("rows", [None, 1, 7, 20, 48])
def test_rows_in_files_are_those_in_memory(data: Data, family: str, rows: int | None):
    tokenizer = tiny.tokenizer(family)
    found = tokenised(data, "train", tokenizer, 9, rows)
    assert equal(found, encode(tokenizer, data.frame("train")[:rows], 9))
    assert len(found) == (rows or 48)


def test_files_are_as_small_as_said_and_mapped_not_read(data: Data, store: Path):
    tokenizer = tiny.tokenizer()
    found = tokenised(data, "train", tokenizer, MAX_LENGTH)
    assert (found.tokens.dtype, found.types.dtype if found.types is not None else None) == (np.uint16, np.uint8)
    assert all(isinstance(array.base, np.memmap) for array in (found.tokens, found.start, found.labels))
    (folder,) = made(store)
    largest = max(tokenizer.get_vocab().values())
    written = sum(file.stat().st_size for file in folder.glob("*.bin"))
    assert written == token_bytes(len(found.tokens), 48, largest, typed=True)


def test_ids_take_four_bytes_where_two_are_too_few():
    assert [width(largest).itemsize for largest in (30_521, 65_535, 65_536, 250_001)] == [2, 2, 4, 4]


def test_numbers_of_rows_between_two_powers_of_two_share_a_run(data: Data, store: Path):
    for rows, runs in ((5, 1), (16, 1), (17, 2), (32, 2), (33, 3), (48, 3)):
        tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH, rows)
        assert len(made(store)) == runs
    assert [rows_made(wanted, 10**9) for wanted in (1, 16, 17, 2**20, 2**20 + 1)] == [16, 16, 32, 2**20, 2**21]


def test_another_length_and_another_tokenizer_are_other_runs(data: Data, store: Path):
    for tokenizer, length in ((tiny.tokenizer(), 9), (tiny.tokenizer(), 8), (tiny.tokenizer("roberta"), 9)):
        tokenised(data, "train", tokenizer, length)
    assert len(made(store)) == 3


def test_a_tokenizer_is_the_same_whatever_it_was_called_with_last():
    tokenizer = tiny.tokenizer()
    before = tokenizer_identity(tokenizer)
    tokenizer("a film", truncation=True, max_length=3, padding="max_length")
    assert tokenizer_identity(tokenizer) == before
    tokenizer.add_tokens(["unheard"])
    assert tokenizer_identity(tokenizer) != before


class Killed(BaseException):
    pass


def killed(*args: Any, **kwargs: Any) -> None:
    raise Killed


@pytest.mark.parametrize("moment", ["before the state", "after the state"])
def test_what_was_killed_goes_on_to_the_same_files(
    data: Data, store: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    write, read = tokens.write_json, []

    def killed(path: Path, value: Any) -> None:
        if value["labels"] > 20 and moment == "before the state":
            raise Killed
        write(path, value)
        if value["labels"] > 20:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tokens, "write_json", killed)
        with pytest.raises(Killed):
            tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH)
    assert not made(store)

    def counted(tokenizer: Any, frame: Any, max_length: int) -> Examples:
        read.append(len(frame))
        return encode(tokenizer, frame, max_length)

    monkeypatch.setattr(tokens, "encode", counted)
    found = tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH)
    assert sum(read) == 48 - (20 if moment == "before the state" else 30)
    assert equal(found, encode(tiny.tokenizer(), data.frame("train"), MAX_LENGTH))
    assert not list(store.glob("tokens-*/partial"))


def test_what_was_killed_as_it_was_sealed_is_not_tokenised_again(
    data: Data, store: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr("kdcore.runs.seal", killed)
        with pytest.raises(Killed):
            tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH)
    monkeypatch.setattr(tokens, "encode", killed)
    found = tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH)
    assert equal(found, encode(tiny.tokenizer(), data.frame("train"), MAX_LENGTH))


def test_numbers_that_never_reached_the_disk_are_made_again(data: Data, store: Path, monkeypatch: pytest.MonkeyPatch):
    write = tokens.write_json

    def killed(path: Path, value: Any) -> None:
        write(path, value)
        (path.parent / "tokens.bin").write_bytes(b"")  # as after a loss of power: the state was flushed, and it was not
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tokens, "write_json", killed)
        with pytest.raises(Killed):
            tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH)
    found = tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH)
    assert equal(found, encode(tiny.tokenizer(), data.frame("train"), MAX_LENGTH))


def test_a_damaged_file_is_said_and_made_again(data: Data, store: Path, capsys: pytest.CaptureFixture[str]):
    whole = tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH).take(np.arange(48))
    (folder,) = made(store)
    content = bytearray((folder / "tokens.bin").read_bytes())
    content[3] ^= 1
    (folder / "tokens.bin").write_bytes(content)
    tokens._opened.clear()
    assert equal(tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH), whole)
    assert "tokens.bin: its content is not what was written" in capsys.readouterr().err


def test_an_id_beyond_the_vocabulary_is_never_cut_to_another(data: Data, monkeypatch: pytest.MonkeyPatch):
    def odd(tokenizer: Any, frame: Any, max_length: int) -> Examples:
        found = encode(tokenizer, frame, max_length)
        found.tokens[0] = 70_000
        return found

    monkeypatch.setattr(tokens, "encode", odd)
    with pytest.raises(ValueError, match="70000, which is beyond its own vocabulary"):
        tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH)


def test_a_split_that_is_absent_is_named(data: Data):
    with pytest.raises(UserError, match="has no split 'dev', has train, validation"):
        tokenised(data, "dev", tiny.tokenizer(), MAX_LENGTH)


def test_more_rows_than_there_are_is_said(data: Data, capsys: pytest.CaptureFixture[str]):
    assert len(tokenised(data, "train", tiny.tokenizer(), MAX_LENGTH, 100)) == 48
    assert "tiny/train: 100 rows are asked for, and all 48 are taken" in capsys.readouterr().out


def test_the_manifest_says_what_the_numbers_are(data: Data, store: Path):
    tokenised(data, "validation", tiny.tokenizer(), MAX_LENGTH)
    (folder,) = made(store)
    kinds = json.loads((folder / MANIFEST).read_text())["kinds"]
    assert kinds == {"tokens": "uint16", "types": "uint8", "start": "int64", "labels": "float64"}
