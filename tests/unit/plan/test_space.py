"""Bytes on disk: those that targets really write."""

from pathlib import Path

import numpy as np
import pytest

from kdcore.distil import targets
from kdcore.model.cost import attention_bytes
from kdcore.plan import space
from kdcore.plan.shapes import encoder_of
from tests import tiny
from tests.distilling import encoder, examples
from tests.on_disk import Ingredients


def written(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.npy"))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_signals_take_the_bytes_that_were_written(split: str, tiny_ingredients: Ingredients):
    folder = tiny_ingredients.targets / split
    lengths = np.load(folder / "lengths.npy")
    planned = space.signal_bytes(encoder_of(tiny.config("bert"), 4), lengths, "float16", stored=True)
    assert planned.maps + planned.rest == written(folder)
    assert planned.maps == attention_bytes(lengths, 4, 4, 2) + 128  # one file, its header


def test_many_files_and_no_maps_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(targets, "SHARD_BYTES", 8_000)
    found = examples(rows=12)
    for stored in (True, False):
        folder = tmp_path / str(stored)
        folder.mkdir()
        facts = targets.extract(encoder(), found, folder, dtype="float32", attention=stored, batch_size=4)
        planned = space.signal_bytes(encoder_of(tiny.config("bert"), 4), found.lengths, "float32", stored)
        assert planned.maps + planned.rest == written(folder)
        assert (planned.maps > 0) == stored
        assert (len(facts["shards"]) > 1) == stored
