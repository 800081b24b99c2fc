"""Extraction: exactly as many numbers as the tokens need, in shards that survive a kill."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcore import runs
from kdcore.data.batches import collate
from kdcore.distil import extraction, shards, targets
from kdcore.distil.signals import Live
from kdcore.distil.targets import Maps
from kdcore.errors import UserError
from kdcore.model.cost import attention_bytes
from kdcore.params import sections
from kdcore.runs import Run
from tests.distilling import encoder, examples

LAYERS, HEADS, HIDDEN, ROWS = 4, 4, 32, 12
HOW: dict[str, Any] = {"dtype": "float16", "attention": True, "batch_size": 4}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 6_000)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.npy"))}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.usefixtures("small_shards")
def test_maps_take_a_number_per_pair_of_tokens_layer_and_head(tmp_path: Path, dtype: str):
    found = examples()
    facts = extraction.extract(encoder(), found, tmp_path, **(HOW | {"dtype": dtype}))
    pairs = sum(int(n) ** 2 for n in found.lengths)
    shards = sorted(tmp_path.glob("attention-*.npy"))
    assert len(shards) == len(facts["shards"]) > 3
    arrays = [np.load(shard, mmap_mode="r") for shard in shards]
    assert sum(array.size for array in arrays) == pairs * LAYERS * HEADS
    # On the disk, each shard is its numbers and the header of one npy file, 128 bytes.
    size = np.dtype(dtype).itemsize
    assert [shard.stat().st_size - 128 for shard in shards] == [array.size * size for array in arrays]
    expected = attention_bytes(found.lengths, LAYERS, HEADS, size)
    assert sum(shard.stat().st_size - 128 for shard in shards) == expected == pairs * LAYERS * HEADS * size


def test_the_other_files_have_a_row_per_example(tmp_path: Path):
    found = examples()
    facts = extraction.extract(encoder(), found, tmp_path, **HOW)
    kept = {name: np.load(tmp_path / f"{name}.npy") for name in ("logits", "cls", "lengths")}
    assert {name: (array.shape, str(array.dtype)) for name, array in kept.items()} == {
        "logits": ((ROWS, 2), "float32"),
        "cls": ((ROWS, LAYERS, HIDDEN), "float16"),
        "lengths": ((ROWS,), "int32"),
    }
    assert kept["lengths"].tolist() == found.lengths.tolist()
    assert facts == {"layers": (1, 2, 3, 4), "heads": HEADS, "dtype": "float16", "shards": [ROWS]}
    assert sorted(contents(tmp_path)) == ["attention-00000.npy", "cls.npy", "lengths.npy", "logits.npy"]


def test_an_examples_numbers_are_layer_by_layer_and_head_by_head(tmp_path: Path):
    found = examples()
    extraction.extract(encoder(), found, tmp_path, **(HOW | {"dtype": "float32"}))
    flat, start = np.load(tmp_path / "attention-00000.npy"), 0
    for row in range(3):
        n = int(found.lengths[row])
        maps = flat[start : start + LAYERS * HEADS * n * n].reshape(LAYERS, HEADS, n, n)
        alone = Live(encoder()).at(collate(found, np.asarray([row])), (1, 2, 3, 4), ())
        for layer in range(LAYERS):
            expected = alone.attention[layer + 1][0].numpy()
            np.testing.assert_allclose(maps[layer], expected, rtol=1e-4, atol=1e-5)
        start += maps.size


@pytest.mark.usefixtures("small_shards")
def test_without_attention_no_map_is_written(tmp_path: Path):
    facts = extraction.extract(encoder(), examples(), tmp_path, **(HOW | {"attention": False}))
    assert facts["shards"] == []
    assert sorted(contents(tmp_path)) == ["cls.npy", "lengths.npy", "logits.npy"]
    assert np.load(tmp_path / "logits.npy").shape == (ROWS, 2)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(1, 5000))
def test_shards_cover_every_row_once_and_are_of_the_size_asked_for(lengths: list[int], wanted: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", wanted)
        bounds = shards.shard_bounds(np.asarray(lengths), 2)
    assert (bounds[0], bounds[-1]) == (0, len(lengths))
    assert bounds == sorted(set(bounds))
    for start, stop in itertools.pairwise(bounds):
        sizes = [2 * n * n for n in lengths[start:stop]]
        assert sum(sizes) <= wanted + max(sizes)  # over by less than an example


# Resuming


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


def killed_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which ends the process at its n-th call."""
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        return function(*args, **kwargs)

    return counted


# What extraction does to the disk; before each of these calls it may be killed.
WRITES = [(np.lib.format, "open_memmap"), (extraction, "write_json")]


@pytest.mark.parametrize(("owner", "name"), WRITES, ids=[name for _, name in WRITES])
@pytest.mark.usefixtures("small_shards")
def test_an_extraction_killed_at_any_moment_goes_on_to_the_same_files(tmp_path: Path, owner: Any, name: str):
    teacher, found = encoder(), examples(rows=8)
    (tmp_path / "whole").mkdir()
    facts = extraction.extract(teacher, found, tmp_path / "whole", **HOW)
    kills = 0
    while True:
        folder = tmp_path / str(kills)
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, killed_at(kills + 1, getattr(owner, name)))
            try:
                extraction.extract(teacher, found, folder, **HOW)
                break
            except Killed:
                kills += 1
        assert extraction.extract(teacher, found, folder, **HOW) == facts
        assert contents(folder) == contents(tmp_path / "whole"), f"killed at call {kills} of {name}"
    assert kills >= len(facts["shards"])
    assert len(facts["shards"]) > 3


@pytest.mark.usefixtures("small_shards")
def test_shards_that_are_there_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "write_json", killed_at(3, extraction.write_json))
        with pytest.raises(Killed):
            extraction.extract(encoder(), examples(), tmp_path, **HOW)
    computed: list[int] = []
    whole = extraction._extract_rows

    def counted(live: Any, found: Any, rows: np.ndarray, *rest: Any) -> None:
        computed.append(int(rows[0]))
        whole(live, found, rows, *rest)

    monkeypatch.setattr(extraction, "_extract_rows", counted)
    facts = extraction.extract(encoder(), examples(), tmp_path, **HOW)
    assert computed == facts["shards"][1:-1]  # shards 0 and 1 were whole; a bound is where the next one starts


@pytest.mark.parametrize("moment", ["seal", "drop_rest"])
@pytest.mark.usefixtures("small_shards")
def test_an_extraction_killed_as_its_run_is_sealed_computes_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    def extracted(run: Run) -> dict[str, bytes]:
        run.folder.mkdir(exist_ok=True)
        if not run.finished:
            extraction.finish(run, encoder(), examples(), "float16", (1, 2, 3, 4), 4, {})
        return contents(run.result)

    whole, run = extracted(Run(tmp_path / "whole")), Run(tmp_path / "killed")
    with monkeypatch.context() as patch:
        patch.setattr(runs, moment, killed_at(1, getattr(runs, moment)))
        with pytest.raises(Killed):
            extracted(run)
    monkeypatch.setattr(extraction, "_extract_rows", killed_at(1, extraction._extract_rows))
    assert extracted(run) == whole
    assert [path.name for path in run.folder.iterdir()] == ["result"]


# Where maps are kept


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    usage = shutil.disk_usage("/")._replace(free=size)
    monkeypatch.setattr(targets.shutil, "disk_usage", lambda _: usage)


def stored(store: str, dtype: str, disk_gb: float, mapped: tuple[int, ...] = (2, 4), there: int = 0) -> tuple[int, ...]:
    """The layers whose maps are, with these values of the section `targets`."""
    section = sections.Targets.model_validate({"store": store, "dtype": dtype, "disk_gb": disk_gb})
    return targets.stored_layers(Maps(examples().lengths, HEADS, there), LAYERS, mapped, section)


EVERY, MAPPED, LIVE = (1, 2, 3, 4), (2, 4), ()


def test_maps_are_stored_where_they_fit_those_of_all_layers_or_those_that_are_mapped(monkeypatch: pytest.MonkeyPatch):
    found = examples()
    need = attention_bytes(found.lengths, LAYERS, HEADS, 2)
    free(monkeypatch, 100 * need)
    assert stored("auto", "float16", need / 1e9) == EVERY
    assert stored("auto", "float16", 0.99 * need / 1e9) == MAPPED
    assert stored("auto", "float16", 0.49 * need / 1e9) == LIVE
    assert stored("auto", "float32", need / 1e9) == MAPPED
    assert stored("auto", "float16", 0.99 * need / 1e9, EVERY) == LIVE
    assert stored("live", "float16", 1.0) == LIVE
    assert stored("disk", "float16", 0.0) == EVERY


def test_a_full_disk_is_refused_where_maps_must_be_stored_and_passed_over_where_they_may(
    monkeypatch: pytest.MonkeyPatch,
):
    need = attention_bytes(examples().lengths, LAYERS, HEADS, 2)
    free(monkeypatch, need - 1)
    assert stored("auto", "float16", 20.0) == stored("disk", "float16", 20.0) == MAPPED
    free(monkeypatch, need // 2 - 1)
    assert stored("auto", "float16", 20.0) == LIVE
    with pytest.raises(UserError, match=r"targets\.store: disk needs .* kB are free; use live, or fewer rows"):
        stored("disk", "float16", 20.0)


def test_maps_of_few_rows_are_said_in_the_unit_that_suits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    free(monkeypatch, 10**9)
    stored("auto", "float16", 20.0)
    need = attention_bytes(examples().lengths, LAYERS, HEADS, 2)
    assert f"attention maps of {need / 1e3:.3g} kB stored" in capsys.readouterr().out


def test_maps_that_are_there_already_take_no_room(monkeypatch: pytest.MonkeyPatch):
    """Else a disk that they filled would ask for others, or refuse them."""
    need = attention_bytes(examples().lengths, LAYERS, HEADS, 2)
    free(monkeypatch, 10)
    assert stored("disk", "float16", 20.0, there=need) == EVERY
    assert stored("disk", "float16", 20.0, there=need // 2) == MAPPED


def test_kept_layers_have_the_bits_of_all_layers(tmp_path: Path):
    found = examples()
    for name, layers in (("all", ()), ("two", (2, 4))):
        (tmp_path / name).mkdir()
        facts = extraction.extract(encoder(), found, tmp_path / name, layers=layers, **HOW)
    assert facts["layers"] == (2, 4)
    every, two = (
        {kind: np.load(tmp_path / name / f"{kind}.npy") for kind in ("logits", "cls", "attention-00000")}
        for name in ("all", "two")
    )
    assert np.array_equal(every["logits"], two["logits"])
    assert np.array_equal(every["cls"][:, [1, 3]], two["cls"])
    start = 0
    for n in map(int, found.lengths):
        whole = every["attention-00000"][2 * start : 2 * start + LAYERS * HEADS * n * n]
        size = 2 * HEADS * n * n
        maps = whole.reshape(LAYERS, HEADS, n, n)[[1, 3]].ravel()
        assert np.array_equal(two["attention-00000"][start : start + size], maps)
        start += size


def test_float16_signals_are_finite(tmp_path: Path):
    extraction.extract(encoder(), examples(), tmp_path, **HOW)
    for name in ("attention-00000", "cls"):
        values = torch.from_numpy(np.load(tmp_path / f"{name}.npy"))
        assert values.isfinite().all()
        assert values.abs().max() > 0
