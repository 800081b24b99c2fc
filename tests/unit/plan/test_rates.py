"""Measuring: every kind of work has a rate, and nothing is printed or left behind."""

from pathlib import Path

import numpy as np
import pytest

from kdcore.plan.rates import Bench, rates
from tests import on_disk, tiny

LENGTHS = np.random.default_rng(0).integers(4, 16, 64)


def bench(family: str = "bert") -> Bench:
    return Bench(tiny.config(family), (2, 4), on_disk.loop(batch_size=8), batch_size=16, dtype="float16")


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_every_kind_of_work_has_a_rate(
    family: str, store: Path, no_request: object, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    found = rates(bench(family), LENGTHS, ["training", "internal", "forward", "maps"], seconds=0.1)
    assert list(found) == ["training", "internal", "forward", "maps"]
    assert all(1e3 < rate < 1e15 for rate in found.values())
    assert capsys.readouterr().out == ""
    assert not store.exists()


def test_only_what_is_asked_is_measured(store: Path, no_request: object):
    assert list(rates(bench(), LENGTHS, ["forward"], seconds=0.05)) == ["forward"]


def test_fewer_rows_than_a_batch_are_measured_too(store: Path, no_request: object):
    assert rates(bench(), LENGTHS[:3], ["training"], seconds=0.05)["training"] > 0
