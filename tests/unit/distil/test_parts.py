"""Signals of many rows are made in parts, each a run of its own: on any machine, with the bits of one extraction."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kdcore.cli import asked
from kdcore.data.prepared import Data
from kdcore.distil import extraction, shards
from kdcore.distil.targets import write_part, write_targets
from kdcore.errors import UserError
from kdcore.params import sections
from kdcore.plan.jobs import Arithmetic
from kdcore.plan.shapes import encoder_of
from kdcore.plan.work import signal_bytes
from tests import on_disk, tiny
from tests.on_disk import Ingredients

TARGETS = sections.Targets.model_validate({"store": "disk", "dtype": "float16", "disk_gb": 1.0})
EVERY = {1, 2, 3, 4}


@pytest.fixture(autouse=True)
def many_shards(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 4_000)
    monkeypatch.setattr(shards, "PART", 2)


def put_together(made: Ingredients, out: Path, rows: int = 24, targets: sections.Targets = TARGETS) -> None:
    write_targets(Data.open(made.data), on_disk.opened(made.teacher), out, targets, rows, 16, EVERY)


def part(made: Ingredients, number: int) -> None:
    write_part(Data.open(made.data), on_disk.opened(made.teacher), TARGETS, 24, 16, EVERY, number)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many examples each extraction gets from here on."""
    rows: list[int] = []
    whole = extraction.extract

    def extract(teacher, examples, folder, **how):  # type: ignore[no-untyped-def]
        rows.append(len(examples))
        return whole(teacher, examples, folder, **how)

    monkeypatch.setattr(extraction, "extract", extract)
    return rows


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("keep", ["disk", "live"])
def test_parts_put_together_are_what_one_extraction_writes(
    tiny_ingredients: Ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
):
    """To the bit, also where no map is stored; and maps are on the disk once."""
    targets = TARGETS.model_copy(update={"store": keep})
    put_together(tiny_ingredients, tmp_path / "parts", targets=targets)
    maps = [*(tmp_path / "parts").rglob("attention-*.npy")]
    assert bool(maps) == (keep == "disk")
    assert {file.stat().st_nlink for file in maps} <= {3}  # of the part, of the whole run, and here
    monkeypatch.setattr(shards, "PART", 10**6)
    monkeypatch.setenv("KDCORE_WORK", str(tmp_path / "other store"))
    put_together(tiny_ingredients, tmp_path / "whole", targets=targets)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


@pytest.mark.parametrize("keep", ["disk", "live"])
def test_the_plan_knows_their_number_and_what_they_take(
    tiny_ingredients: Ingredients, tmp_path: Path, store: Path, keep: str
):
    put_together(tiny_ingredients, tmp_path / "signals", targets=TARGETS.model_copy(update={"store": keep}))
    runs = [*store.glob("targets-*/result")]
    sizes = {file.stat().st_ino: file.stat().st_size for run in runs for file in run.glob("*.npy")}
    lengths = [np.load(tmp_path / "signals" / split / "lengths.npy") for split in ("train", "validation")]
    shape = encoder_of(tiny.config("bert"), 4)
    planned = [signal_bytes(shape, one, "float16", keep == "disk") for one in lengths]
    assert sum(one.parts for one in planned) == len(runs) - 2
    assert sum(one.maps + one.rest for one in planned) == sum(sizes.values())


def test_what_machines_made_in_any_order_is_found_and_nothing_is_computed(
    tiny_ingredients: Ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    rows = counted(monkeypatch)
    with pytest.raises(UserError, match=r"--part: must be 1 to (\d+), found 99") as refused:
        part(tiny_ingredients, 99)
    last = int(str(refused.value).split(" to ")[1].split(",")[0])
    assert last > 4
    for number in reversed(range(1, last + 1)):
        part(tiny_ingredients, number)
    assert f"targets: part 1 of {last}, train rows 1 to {rows[-1]}\n" in capsys.readouterr().out
    assert (len(rows), sum(rows)) == (last, 24 + 24)
    part(tiny_ingredients, 1)
    put_together(tiny_ingredients, tmp_path / "signals")
    assert len(rows) == last
    assert np.load(tmp_path / "signals/train/lengths.npy").shape == (24,)


def test_more_rows_share_the_parts_of_fewer(
    tiny_ingredients: Ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put_together(tiny_ingredients, tmp_path / "fewer")
    rows = counted(monkeypatch)
    put_together(tiny_ingredients, tmp_path / "more", rows=48)
    assert 24 <= sum(rows) < 48 - 12  # the last part of the fewer ended where their rows did


def test_a_part_that_was_lost_or_damaged_loses_itself_alone(
    tiny_ingredients: Ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Path
):
    put_together(tiny_ingredients, tmp_path / "before")
    runs = sorted(store.glob("targets-*"), key=lambda run: np.load(run / "result/lengths.npy").size)
    for whole in runs[-2:]:
        shutil.rmtree(whole)
    damaged = runs[0] / "result/logits.npy"
    size = np.load(damaged).shape[0]
    damaged.chmod(0o644)
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    rows = counted(monkeypatch)
    put_together(tiny_ingredients, tmp_path / "after")
    assert rows == [size]
    assert files(tmp_path / "after") == files(tmp_path / "before")


def test_a_part_is_listed_until_it_is_there_with_maps_or_without_as_they_are_asked_for(
    tiny_ingredients: Ingredients, tmp_path: Path, store: Path
):
    data, teacher = Data.open(tiny_ingredients.data), on_disk.pretrained(tiny_ingredients.model)
    passes = Arithmetic(data, teacher, on_disk.teacher()).signals(24, 2)
    bounds = {split: one.bounds for split, one in passes.items()}

    def there(keep: str) -> list[bool]:
        params = SimpleNamespace(targets=TARGETS.model_copy(update={"store": keep}))
        arguments = {"data": str(tiny_ingredients.data), "teacher": str(tiny_ingredients.teacher)}
        return [*asked._parts_there(params, arguments, bounds, 24, EVERY)]  # type: ignore[arg-type]

    absent = [False] * len(there("disk"))
    part(tiny_ingredients, 2)
    assert there("disk") == there("auto") == [False, True, *absent[2:]]
    assert there("live") == absent
    put_together(tiny_ingredients, tmp_path / "signals")
    for run in store.glob("targets-*"):  # the whole is enough
        if np.load(run / "result/lengths.npy").size < 24:
            shutil.rmtree(run)
    assert there("disk") == [True] * len(absent)
    assert there("live") == absent
