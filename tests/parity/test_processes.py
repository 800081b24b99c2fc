"""Two processes with half a batch each end with the weights of one process with the whole batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.parity import process

ROOT = Path(__file__).parents[2]
Trained = tuple[dict[str, Any], dict[str, torch.Tensor]]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def train(folder: Path, *stop: int) -> Trained | None:
    """Train in two processes, as a launcher starts them; None where they were told to stop early."""
    out, port = folder / "out.json", free_port()
    common = {"ACCELERATE_USE_CPU": "true", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "tests.parity.process", str(folder / "run"), str(out), *map(str, stop)]
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
        said = [running.communicate(timeout=120)[0] for running in started]
    finally:
        for running in started:
            running.kill()
    assert [running.returncode for running in started] == [0, 0], "\n".join(said)
    return read(out) if out.exists() else None


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Facts and weights of the run in one process: this one."""
    folder = tmp_path_factory.mktemp("single")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process.training, "adamw", process.training.adamw)  # main replaces both
        patch.setattr(process.interrupt, "requested", process.interrupt.requested)
        process.main(folder / "run", folder / "out.json", None)
    return read(folder / "out.json")


def read(out: Path) -> Trained:
    return json.loads(out.read_text()), load_file(out.with_suffix(".safetensors"))


def assert_same(found: Any, single: Trained) -> None:
    facts, weights = found
    assert (single[0]["processes"], facts["processes"]) == (1, 2)
    for name, values in weights.items():
        torch.testing.assert_close(values, single[1][name], rtol=1e-4, atol=1e-5, msg=name)
    for epoch, expected in zip(facts["history"], single[0]["history"], strict=True):
        assert epoch.keys() == expected.keys()
        numbers = {name: value for name, value in expected.items() if isinstance(value, float)}
        assert {name: epoch[name] for name in numbers} == pytest.approx(numbers, rel=1e-4)
        assert epoch["phase"] == expected["phase"]


def test_two_processes_are_one(tmp_path: Path, single: Trained):
    assert_same(train(tmp_path), single)


def test_two_processes_that_were_stopped_go_on_as_if_nothing_had_been(tmp_path: Path, single: Trained):
    assert train(tmp_path, 5) is None  # in the second epoch, after the second of its three steps
    assert_same(train(tmp_path), single)
