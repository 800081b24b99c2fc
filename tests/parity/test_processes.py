"""Two processes with half a batch each end with the weights of one process with the whole batch."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.parity import process
from tests.pipeline.clusters import free_ports

ROOT = Path(__file__).parents[2]


def train(folder: Path, cases: Sequence[str], *stop: int) -> None:
    """Train in two processes, as a launcher starts them."""
    (port,) = free_ports(1)
    common = {"ACCELERATE_USE_CPU": "true", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "tests.parity.process", str(folder), ";".join(cases), *map(str, stop)]
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | common | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        said = [running.communicate(timeout=1200)[0] for running in started]
    finally:
        for running in started:
            running.kill()
    assert [running.returncode for running in started] == [0, 0], "\n".join(said)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one process, this one, has trained every case."""
    folder = tmp_path_factory.mktemp("single")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process.training, "adamw", process.training.adamw)  # main replaces both
        patch.setattr(process.interrupt, "requested", process.interrupt.requested)
        process.main(folder, list(process.CASES), None)
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have trained every case."""
    folder = tmp_path_factory.mktemp("both")
    train(folder, list(process.CASES))
    return folder


def assert_same(both: Path, single: Path, case: str) -> None:
    facts, expected = (json.loads((folder / f"{case}.json").read_text()) for folder in (both, single))
    weights, wanted = (load_file(folder / f"{case}.safetensors") for folder in (both, single))
    assert (expected["processes"], facts["processes"]) == (1, 2)
    for name, values in weights.items():
        torch.testing.assert_close(values, wanted[name], rtol=1e-4, atol=1e-5, msg=name)
    for epoch, same in zip(facts["history"], expected["history"], strict=True):
        assert epoch.keys() == same.keys()
        numbers = {name: value for name, value in same.items() if isinstance(value, float)}
        assert {name: epoch[name] for name in numbers} == pytest.approx(numbers, rel=1e-4, abs=1e-6)
        assert epoch["phase"] == same["phase"]


@pytest.mark.parametrize("case", process.CASES)
def test_two_processes_are_one(both: Path, single: Path, case: str):
    """With every method, also where a loss is measured and not minimised."""
    assert_same(both, single, case)


def test_two_processes_that_were_stopped_go_on_as_if_nothing_had_been(tmp_path: Path, single: Path):
    # They look at steps 2 and 4 of three an epoch, and where an epoch is over: they stop within the second one.
    train(tmp_path, ["sid"], 3)
    assert not (tmp_path / "sid.json").exists()
    train(tmp_path, ["sid"])
    assert_same(tmp_path, single, "sid")
