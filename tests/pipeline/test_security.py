"""SECURITY.md, held against real commands: nothing asks for a network, nothing is pickled."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.namespaces import unshare
from tests.pipeline.conftest import ROOT, TASK, Project

# Python reads it before anything else: every attempt to reach another machine, failed or not, is a line in $ASKED.
GUARD = """
import os, sys
def ask(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        with open(os.environ["ASKED"], "a") as file:
            print(event, *map(str, args), file=file)
sys.addaudithook(ask)
"""
CONNECT = "import socket; socket.create_connection(('192.0.2.1', 443), timeout=20)"  # an address for examples: RFC 5737
FOLDERS = (f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}")


class Offline:
    """Runs commands in a network namespace without a network, and notes who asks for one."""

    def __init__(self, folder: Path) -> None:
        self.log, self.start = folder / "asked", unshare("net")
        (folder / "guard").mkdir()
        (folder / "guard/sitecustomize.py").write_text(GUARD)
        self.environment = {
            "PYTHONPATH": str(folder / "guard"),
            "ASKED": str(self.log),
            "KDCORE_WORK": str(folder / "work"),
            "HF_HUB_OFFLINE": "0",  # the tests set it; here nothing may need it
            "DVC_NO_ANALYTICS": "",
        }

    def run(self, project: Project, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return project.run(*self.start, *args, check=check, **self.environment)

    def asked(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    return Offline(tmp_path)


def test_the_namespace_has_no_network_and_the_guard_sees_who_asks(offline: Offline, finished: Project):
    found = offline.run(finished, "python", "-c", CONNECT, check=False)
    assert found.returncode != 0
    assert "Network is unreachable" in found.stderr
    assert "192.0.2.1" in offline.asked()


def test_the_pipeline_ends_with_the_same_bits_without_a_network_and_never_asks_for_one(
    offline: Offline, finished: Project, tmp_path: Path
):
    data, teacher, targets = (str(tmp_path / folder) for folder in FOLDERS)
    students, points, predictions = (tmp_path / name for name in ("students", "points", "predictions"))
    students.mkdir()
    for folder in (finished.root / f"runs/student/{TASK}").iterdir():
        if folder.name != "sid-s0":  # the one that is made here; the others are only evaluated
            (students / folder.name).symlink_to(folder)
    for command in (
        ("prepare", TASK, data),
        ("teacher", TASK, "0", data, f"{teacher}/s0", str(tmp_path / "point.json")),
        ("targets", TASK, data, f"{teacher}/s0", f"{targets}/s0"),
        ("student", TASK, "sid", "0", data, teacher, targets, str(students / "sid-s0")),
        ("evaluate", TASK, data, teacher, targets, str(students), str(points), str(predictions)),
    ):
        offline.run(finished, "python", "-m", "kdcore", *command)
    assert offline.asked() == ""
    for made, there in (
        (Path(data), f"data/{TASK}/train.parquet"),
        (Path(teacher), f"runs/teacher/{TASK}/s0/model.safetensors"),
        (Path(targets), f"runs/targets/{TASK}/s0/train/logits.npy"),
        (students, f"runs/student/{TASK}/sid-s0/model.safetensors"),
        (predictions, f"runs/predictions/{TASK}/sid-s0.parquet"),
    ):
        inner = there.partition(f"/{TASK}/")[2]
        assert (made / inner).read_bytes() == (finished.root / there).read_bytes(), there


def test_embedded_data_and_dvc_ask_for_no_network(offline: Offline, finished: Project, tmp_path: Path):
    offline.run(Project(ROOT), "python", "-m", "kdcore", "prepare", "movies", str(tmp_path / "movies"))
    assert json.loads((tmp_path / "movies/provenance.json").read_text())["task"] == "movies"
    assert offline.run(finished, "dvc", "status", "dvc.yaml").stdout.split() == ["inputs:", "always", "changed"]
    assert offline.asked() == ""


# No pickle

PICKLE, ZIP = b"\x80", b"PK"  # how pickle's protocols from 2 on begin, and what torch.save writes


def test_nothing_that_a_run_leaves_is_a_pickle(finished: Project):
    left = [file for folder in ("data", "runs", "work", "metrics") for file in (finished.root / folder).rglob("*.*")]
    files = [file for file in left if file.is_file()]
    assert {".safetensors", ".npy", ".parquet", ".json", ".csv"} <= {file.suffix for file in files}
    for file in files:
        with file.open("rb") as opened:
            assert not opened.read(2).startswith((PICKLE, ZIP)), file
        if file.suffix == ".npy":
            np.load(file, mmap_mode="r", allow_pickle=False)  # raises for one that needs pickle
