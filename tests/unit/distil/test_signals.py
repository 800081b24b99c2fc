"""Stored signals: where each example's numbers are, and what is said of a folder that is not as it was written."""

import re
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from kdcore.data.batches import collate
from kdcore.distil import shards
from kdcore.distil.signals import Stored, offsets
from kdcore.errors import UserError
from tests.distilling import encoder, examples, extract_sealed, stored, whole_batch


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Signals of 12 examples in several shards."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 4_000)
    extract_sealed(encoder(), examples(), tmp_path / "signals", dtype="float16", attention=True, batch_size=4)
    return tmp_path / "signals"


def test_offsets_by_hand():
    # Lengths 2, 3 | 1, 2, 4 in two shards, two maps: sizes 8, 18 | 2, 8, 32 numbers.
    found = offsets(np.asarray([2, 3, 1, 2, 4], np.int32), np.asarray([0, 2, 5]), 2)
    assert found.tolist() == [0, 8, 0, 2, 10]


def test_offsets_of_long_texts_do_not_overflow():
    lengths = np.full(1000, 8192, np.int32)
    found = offsets(lengths, np.asarray([0, 1000]), 144)
    assert found[-1] == 999 * 8192 * 8192 * 144


def test_a_row_has_its_own_signals_wherever_it_stands(folder: Path):
    read, found = Stored(folder, folder), examples()
    assert len(list(folder.glob("attention-*.npy"))) > 3
    every = (1, 2, 3, 4)
    together = read.at(whole_batch(found), every, every)
    for rows in ([7], [11, 0, 5], [3, 3]):
        batch = collate(found, np.asarray(rows))
        tokens = batch.mask.shape[1]
        said = read.at(batch, every, every)
        assert torch.equal(said.logits, together.logits[rows])
        for layer in every:
            assert torch.equal(said.cls[layer], together.cls[layer][rows])
            assert torch.equal(said.attention[layer], together.attention[layer][rows, :, :tokens, :tokens])


def test_signals_come_as_they_are_stored(folder: Path):
    """Half the bytes go to a GPU; the losses compute in float32."""
    said = Stored(folder, folder).at(whole_batch(examples()), (1,), (2,))
    assert (said.logits.dtype, said.cls[2].dtype, said.attention[1].dtype) == (torch.float32, *[torch.float16] * 2)
    assert list(said.attention) == [1]
    assert list(said.cls) == [2]


def test_attention_that_was_not_stored_comes_from_the_teacher(tmp_path: Path):
    read = stored(encoder(), examples(), tmp_path, attention=False)
    assert not list(tmp_path.glob("signals/attention-*.npy"))
    batch = whole_batch(examples())
    expected = encoder()(batch.inputs, attention=(3,)).attention[3].exp() * batch.mask[:, None, :, None]
    torch.testing.assert_close(read.at(batch, (3,), (3,)).attention[3], expected)


def test_hidden_states_come_from_the_teacher_beside_what_was_stored(folder: Path, tmp_path: Path):
    encoder().save(tmp_path / "teacher")
    read, batch = Stored(folder, tmp_path / "teacher"), whole_batch(examples())
    said, same = read.at(batch, (2,), (2,), hidden=(2, 4)), read.at(batch, (2,), (2,))
    expected = encoder()(batch.inputs, hidden=(2, 4)).hidden
    assert list(said.hidden) == [2, 4]
    assert all(torch.equal(values, expected[layer]) for layer, values in said.hidden.items())
    assert torch.equal(said.attention[2], same.attention[2])
    assert torch.equal(said.cls[2], same.cls[2])
    assert same.hidden == {}
    assert read.are_stored((2,))
    assert not read.are_stored((2,), (2,))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "manifest.json")


def test_every_file_is_watched(folder: Path, tmp_path: Path):
    names = files(folder)
    assert {"logits.npy", "cls.npy", "lengths.npy", "attention-00000.npy"} <= set(names)
    for name in names:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        with pytest.raises(UserError, match=rf"{name}: is missing; run `dvc repro -f targets`"):
            Stored(copy, copy)
        shutil.rmtree(copy)


@pytest.mark.parametrize("name", ["attention-00001.npy", "cls.npy"])
@pytest.mark.parametrize("place", [0, 200, -1])
def test_a_flipped_byte_is_named(folder: Path, name: str, place: int):
    content = bytearray((folder / name).read_bytes())
    content[place] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: its content is not what was written .* run `dvc repro -f targets`"):
        Stored(folder, folder)


def test_a_truncated_shard_is_named_with_both_sizes(folder: Path):
    whole = (folder / "attention-00002.npy").read_bytes()
    (folder / "attention-00002.npy").write_bytes(whole[:-2])
    problem = rf"attention-00002.npy: has {len(whole) - 2} bytes where {len(whole)} were written; run `dvc repro"
    with pytest.raises(UserError, match=problem):
        Stored(folder, folder)


@pytest.mark.parametrize("equal", [True, False], ids=["of one size", "of two sizes"])
def test_shards_that_changed_places_are_both_named(folder: Path, equal: bool):
    first, second = next(
        (one, other)
        for one, other in combinations(sorted(folder.glob("attention-*.npy")), 2)
        if (one.stat().st_size == other.stat().st_size) == equal
    )
    first.rename(folder / "spare")
    second.rename(first)
    (folder / "spare").rename(second)
    damage = r"its content is not what was written .*" if equal else r"has \d+ bytes where \d+ were written"
    with pytest.raises(UserError) as raised:
        Stored(folder, folder)
    for shard, problem in zip((first, second), raised.value.problems, strict=True):
        assert re.fullmatch(rf"{shard.name}: {damage}; run `dvc repro -f targets`", problem)


def test_every_problem_is_said_at_once(folder: Path):
    (folder / "attention-00000.npy").unlink()
    (folder / "logits.npy").write_bytes(b"")
    with pytest.raises(UserError) as raised:
        Stored(folder, folder)
    assert len(raised.value.problems) == 2


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b"\xff", b'{"files": 3}'])
def test_a_manifest_that_cannot_be_read_is_named(folder: Path, content: bytes | None):
    (folder / "manifest.json").unlink()
    if content is not None:
        (folder / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json can't be read .*run `dvc repro -f targets`"):
        Stored(folder, folder)


def test_a_layer_is_found_among_those_that_were_kept(folder: Path, tmp_path: Path):
    kept = tmp_path / "kept"
    extract_sealed(encoder(), examples(), kept, dtype="float16", attention=True, batch_size=4, layers=(2, 4))
    every, some, batch = Stored(folder, folder), Stored(kept, kept), whole_batch(examples())
    expected, said = every.at(batch, (4, 2), (2, 4)), some.at(batch, (4, 2), (2, 4))
    for layer in (2, 4):
        assert torch.equal(said.cls[layer], expected.cls[layer])
        assert torch.equal(said.attention[layer], expected.attention[layer])
