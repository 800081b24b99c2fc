"""The same bits, whatever surrounds a process; what they do depend on is part of a run's identity."""

import json
import shutil
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
DATA, TEACHER, TARGETS = f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}"
STUDENTS, POINTS = f"runs/student/{TASK}", f"metrics/main/points/{TASK}"
COMMANDS = (
    ("prepare", TASK, DATA),
    ("teacher", TASK, "0", DATA, f"{TEACHER}/s0", f"metrics/teacher/{TASK}/s0.json"),
    ("targets", TASK, DATA, f"{TEACHER}/s0", f"{TARGETS}/s0"),
    ("student", TASK, "sid", "0", DATA, TEACHER, TARGETS, f"{STUDENTS}/sid-s0"),
    ("evaluate", TASK, DATA, TEACHER, TARGETS, STUDENTS, POINTS, f"runs/predictions/{TASK}"),
)


@pytest.fixture
def elsewhere(finished: Project, tmp_path: Path) -> Project:
    """The finished project and its rows at paths with blanks, for one student, and nothing left of what it made."""
    folder = tmp_path / "another place, à côté"
    project = finished.copy(folder)
    for made in ("data", "runs", "work", "metrics"):
        shutil.rmtree(project.root / made)
    rows = shutil.copytree(finished.params()["data"]["path"], folder / "rows")
    project.edit({"data.path": str(rows), "methods": ["sid"]})
    return project


def test_other_surroundings_change_no_bit(finished: Project, elsewhere: Project):
    for command in COMMANDS:
        elsewhere.run("python", "-m", "kdcore", *command, **SURROUNDINGS)
    for made in (DATA, f"{TEACHER}/s0", f"{TARGETS}/s0", f"{STUDENTS}/sid-s0"):
        found, expected = bits(elsewhere.root / made), bits(finished.root / made)
        assert len(expected) > 2
        assert found == expected, made
    for point in (f"metrics/teacher/{TASK}/s0.json", f"{POINTS}/teacher-s0.json", f"{POINTS}/sid-s0.json"):
        assert (elsewhere.root / point).read_bytes() == (finished.root / point).read_bytes(), point


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_threads_are_part_of_a_runs_identity_and_are_noted_beside_its_result(finished: Project, kind: str):
    runs = sorted((finished.root / "work").glob(f"{kind}-*"))
    assert runs
    for run in runs:
        train = json.loads((run / "identity.json").read_text())["train"]
        noted = json.loads((run / "result/run.json").read_text())["versions"]
        assert train["threads"] == noted["threads"] == finished.params()["train"]["threads"] == 1
