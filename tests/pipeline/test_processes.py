"""Under torchrun a command that trains ends with one result, like that of one process, and says everything once."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdcore.artefacts import open_sealed
from tests.pipeline.conftest import TASK, Project

LAUNCHER = ("torchrun", "--standalone", "--nproc_per_node", "2", "-m", "kdcore")
EPOCHS = 12
# Long enough that a signal finds the run at work; a checkpoint after every step.
LONGER = {"distill.classification_epochs": EPOCHS - 2, "train.checkpoint_seconds": 0}
FOLDERS = (f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}")


class Launched:
    """A command of the project in two processes, with a store of its own."""

    def __init__(self, project: Project, store: Path, *args: str) -> None:
        self.process = subprocess.Popen(
            [*LAUNCHER, *args],
            cwd=project.root,
            env=project.environment() | {"KDCORE_WORK": str(store)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    def wait_for(self, start: str) -> None:
        """Read its output until a line starts so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(start):
                return
        pytest.fail(f"ended with {self.process.wait()} before a line {start!r}: {self.process.stderr.read()}")  # type: ignore[union-attr]

    def end(self, signum: int | None = None) -> str:
        """Send the signal, wait, and give what it wrote to stderr."""
        if signum is not None:
            self.process.send_signal(signum)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.lines += self.process.stdout  # communicate() would lose what is read ahead
        err = self.process.stderr.read()
        self.process.wait()
        return err

    def epochs(self) -> list[str]:
        return [line.split()[1] for line in self.lines if line.startswith("epoch ")]


@pytest.fixture(scope="module")
def longer(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished project whose students train for twelve epochs."""
    project = finished.copy(tmp_path_factory.mktemp("longer"))
    project.edit(LONGER)
    return project


@pytest.fixture
def launch(longer: Project) -> Iterator[Callable[..., Launched]]:
    """launch(store, *command): a new launcher; none outlives the test."""
    started: list[Launched] = []

    def begin(store: Path, *command: str) -> Launched:
        started.append(Launched(longer, store, *command))
        return started[-1]

    yield begin
    for launched in started:
        if launched.process.poll() is None:
            launched.process.terminate()
            launched.process.communicate()


def student(out: Path, layers: int = 2) -> tuple[str, ...]:
    return ("student", TASK, "sid", str(layers), "0", *FOLDERS, str(out))


def processes_of(folder: Path) -> int:
    """How many processes made the model in the folder, which is whole."""
    open_sealed(folder, "dvc repro")
    return json.loads((folder / "run.json").read_text())["versions"]["processes"]


def test_a_student_of_two_processes_that_was_stopped_ends_with_the_bits_of_one_that_was_not(
    launch: Callable[..., Launched], tmp_path: Path
):
    stopped = launch(tmp_path / "a", *student(tmp_path / "a/out"))
    stopped.wait_for("epoch 3 ")
    err = stopped.end(signal.SIGTERM)
    assert err.count("stopped by SIGTERM: a checkpoint is written, the same command goes on from it") == 1
    assert stopped.process.returncode != 0
    assert not (tmp_path / "a/out").exists()

    other = launch(tmp_path / "a", *student(tmp_path / "a/out"))
    err = other.end()
    assert other.process.returncode == 0, err
    assert stopped.epochs() + other.epochs() == [str(epoch) for epoch in range(1, EPOCHS + 1)]

    undisturbed = launch(tmp_path / "b", *student(tmp_path / "b/out"))
    assert undisturbed.end() == ""
    assert processes_of(tmp_path / "a/out") == processes_of(tmp_path / "b/out") == 2
    for file in ("model.safetensors", "history.csv"):
        assert (tmp_path / "a/out" / file).read_bytes() == (tmp_path / "b/out" / file).read_bytes(), file
    assert len([folder for folder in (tmp_path / "b").iterdir() if folder.name.startswith("student-")]) == 1


def test_a_teacher_of_two_processes_is_scored_by_one(launch: Callable[..., Launched], longer: Project, tmp_path: Path):
    teacher = launch(tmp_path, "teacher", TASK, FOLDERS[0], str(tmp_path / "out"), str(tmp_path / "point.json"))
    err = teacher.end()
    assert teacher.process.returncode == 0, err
    assert processes_of(tmp_path / "out") == 2
    point = json.loads((tmp_path / "point.json").read_text())
    assert point.keys() == json.loads((longer.root / f"metrics/teacher/{TASK}.json").read_text()).keys()
    assert teacher.epochs() == [str(epoch) for epoch in range(1, point["epochs"] + 1)]


def test_a_mistake_is_said_once_by_two_processes_that_both_find_it(launch: Callable[..., Launched], tmp_path: Path):
    wrong = launch(tmp_path, *student(tmp_path / "out", layers=9))
    err = wrong.end()
    assert wrong.process.returncode != 0
    assert err.count("student.layers") == 1
    assert "exitcode  : 2" in err
    assert not (tmp_path / "out").exists()
