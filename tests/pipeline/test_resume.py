"""Real processes and real signals: whatever stops a student, the same command ends with the same bits."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdcore.artefacts import HOST
from tests.pipeline.conftest import TASK, Project

# Long enough that every signal below finds the run at work; a checkpoint after every step.
SLOW = {"distill.classification_epochs": 60, "train.checkpoint_seconds": 0}


class Student:
    """`python -m kdcore student …` of the finished project, as its own process and with a store of its own."""

    def __init__(self, project: Project, store: Path) -> None:
        folders = (f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}", str(store / "out"))
        self.out = store / "out"
        self.process = subprocess.Popen(
            ["python", "-m", "kdcore", "student", TASK, "sid", "2", "0", *folders],
            cwd=project.root,
            env=project.environment() | {"KDCORE_WORK": str(store), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, start: str) -> str:
        """The next line of its output that starts so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(start):
                return line
        pytest.fail(f"ended with {self.process.wait()} before a line {start!r}: {self.process.stderr.read()}")  # type: ignore[union-attr]

    def wait_for_an_epoch(self) -> None:
        self.wait_for("epoch ")

    def end(self, signum: int | None = None) -> tuple[int, str]:
        """Send the signal, wait, and give the exit code and the last line of stderr."""
        if signum is not None:
            self.process.send_signal(signum)
        _, err = self.process.communicate()
        return self.process.returncode, (err.splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def slow(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished project whose students train for 62 epochs."""
    project = finished.copy(tmp_path_factory.mktemp("slow"))
    project.edit(SLOW)
    return project


@pytest.fixture
def start(slow: Project, tmp_path: Path) -> Iterator[Callable[[], Student]]:
    """start(): a new process for the same run; none outlives the test."""
    started: list[Student] = []

    def begin() -> Student:
        started.append(Student(slow, tmp_path))
        return started[-1]

    yield begin
    for student in started:
        if student.process.poll() is None:
            student.process.kill()
            student.process.communicate()


@pytest.fixture(scope="module")
def undisturbed(slow: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the student that nothing stopped."""
    student = Student(slow, tmp_path_factory.mktemp("undisturbed"))
    code, err = student.end()
    assert code == 0, err
    return student.out


def test_a_student_that_is_killed_stopped_and_interrupted_ends_with_the_same_bits(
    start: Callable[[], Student], undisturbed: Path
):
    first = start()
    first.wait_for("epoch 2 ")
    assert first.end(signal.SIGKILL) == (-signal.SIGKILL, "")

    second = start()
    assert "goes on at epoch" in second.wait_for("student-")
    second.wait_for_an_epoch()
    said = "a checkpoint is written, the same command goes on from it"
    assert second.end(signal.SIGTERM) == (143, f"stopped by SIGTERM: {said}")

    third = start()
    assert "goes on at epoch" in third.wait_for("student-")
    third.wait_for_an_epoch()
    assert third.end(signal.SIGINT) == (130, f"stopped by SIGINT: {said}")
    assert not third.out.exists()

    last = start()
    assert "goes on at epoch" in last.wait_for("student-")
    assert last.end()[0] == 0
    for file in ("model.safetensors", "history.csv", "config.json", "tokenizer.json"):
        assert (last.out / file).read_bytes() == (undisturbed / file).read_bytes(), file


def test_an_orphan_keeps_its_run_and_who_waits_for_it_says_so_and_can_be_stopped(start: Callable[[], Student]):
    orphan = start()
    orphan.wait_for_an_epoch()
    orphan.process.send_signal(signal.SIGSTOP)
    other = start()
    owner = f"process {orphan.process.pid} of {HOST}"
    assert f": {owner} works on it; waiting until it is done, or is stopped" in other.wait_for("student-")
    said = "what is finished is kept, the same command does the rest"
    assert other.end(signal.SIGINT) == (130, f"stopped by SIGINT: {said}")
    orphan.process.send_signal(signal.SIGCONT)
    orphan.wait_for_an_epoch()
    assert orphan.end(signal.SIGKILL)[0] == -signal.SIGKILL
