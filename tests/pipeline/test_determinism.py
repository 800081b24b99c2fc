"""The same bits, whatever surrounds a process; what they do depend on is part of a run's identity."""

import json
from pathlib import Path

import pytest

from benchmarks.killing import bits
from tests.pipeline.conftest import TASK, Project

# Nothing of it is the pipeline's business: train.threads says how many threads train.
SURROUNDINGS = {
    "OMP_NUM_THREADS": "3",
    "MKL_NUM_THREADS": "3",
    "PYTHONHASHSEED": "4711",
    "LC_ALL": "POSIX",
    "TZ": "Asia/Kathmandu",
    "COLUMNS": "40",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
}
DATA, TEACHER, TARGETS, STUDENT = f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}", "runs/student"
COMMANDS = {
    DATA: ("prepare", TASK, DATA),
    f"{TEACHER}/s0": ("teacher", TASK, "0", DATA, f"{TEACHER}/s0", "point.json"),
    f"{TARGETS}/s0": ("targets", TASK, DATA, f"{TEACHER}/s0", f"{TARGETS}/s0"),
    STUDENT: ("student", TASK, "sid", "0", DATA, TEACHER, TARGETS, STUDENT),
}


@pytest.fixture
def elsewhere(finished: Project, tmp_path: Path) -> Project:
    """The finished project at a path with blanks, and nothing left of what it made."""
    project = finished.copy(tmp_path / "another place, à côté")
    for made in ("data", "runs", "work"):
        (project.root / made).rename(tmp_path / made)
    return project


def test_other_surroundings_change_no_bit(finished: Project, elsewhere: Project):
    for made, command in COMMANDS.items():
        elsewhere.run("python", "-m", "kdcore", *command, **SURROUNDINGS)
        before = f"{STUDENT}/{TASK}/sid-s0" if made == STUDENT else made
        found, expected = bits(elsewhere.root / made), bits(finished.root / before)
        assert len(expected) > 2
        assert found == expected, made


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_threads_are_part_of_a_runs_identity_and_are_noted_beside_its_result(finished: Project, kind: str):
    runs = sorted((finished.root / "work").glob(f"{kind}-*"))
    assert runs
    for run in runs:
        train = json.loads((run / "identity.json").read_text())["train"]
        noted = json.loads((run / "result/run.json").read_text())["versions"]
        assert train["threads"] == noted["threads"] == finished.params()["train"]["threads"] == 1
