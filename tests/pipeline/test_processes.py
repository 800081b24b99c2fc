"""Under torchrun a command that trains ends with one result, like that of one process, and says everything once."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.killing import stopped, stopping, watch
from kdcore.artefacts import open_sealed
from tests.pipeline.conftest import SMALL, TASK, Project

# A machine that is busy with other things may need longer for a step and a checkpoint than torchrun's 30 seconds.
LAUNCHER = ("torchrun", "--standalone", "--shutdown_timeout", "300", "--nproc_per_node", "2", "-m", "kdcore")
EPOCHS = 12
LONGER = {"distill.classification_epochs": EPOCHS - 2}
FOLDERS = (f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}")


class Launched:
    """A command of the project in two processes, with a store of its own."""

    def __init__(self, project: Project, store: Path, *args: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*LAUNCHER, *args],
            cwd=project.root,
            env=project.environment() | {"KDCORE_WORK": str(store)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    def stop(self) -> None:
        """Send SIGTERM while both processes stand still, which then find it."""
        while len(own := self.ranks()) < 2:
            assert self.process.poll() is None
            time.sleep(0.05)
        for one in own:
            stopped(one.pid)
        self.process.send_signal(signal.SIGTERM)
        for one in own:
            while not pending(one.pid, signal.SIGTERM):
                time.sleep(0.05)
            one.resume()

    def ranks(self) -> list[psutil.Process]:
        alive = psutil.process_iter(["ppid", "cmdline"])
        return [
            one for one in alive if one.info["ppid"] == self.process.pid and "kdcore" in (one.info["cmdline"] or ())
        ]

    def end(self) -> str:
        """Wait, and give what it wrote to stderr."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.lines += self.process.stdout  # communicate() would lose what is read ahead
        err = self.process.stderr.read()
        self.process.wait()
        return err

    def epochs(self) -> list[str]:
        return [found[1] for line in self.lines if (found := re.search(r": epoch (\d+) \(", line))]


def pending(pid: int, signum: int) -> bool:
    """Whether the signal waits until the process goes on."""
    found = re.search(r"^ShdPnd:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(found[1], 16) >> signum - 1 & 1)


@pytest.fixture(scope="module")
def longer(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished project whose students train for twelve epochs, and that is watched."""
    project = finished.copy(tmp_path_factory.mktemp("longer"))
    project.edit(LONGER)
    watch(project)
    return project


@pytest.fixture
def launch(longer: Project) -> Iterator[Callable[..., Launched]]:
    """launch(store, *command, **environment): a new launcher; none outlives the test."""
    started: list[Launched] = []

    def begin(store: Path, *command: str, **environment: str) -> Launched:
        started.append(Launched(longer, store, *command, **environment))
        return started[-1]

    yield begin
    for launched in started:
        if launched.process.poll() is None:
            launched.process.terminate()
            launched.process.communicate()


def student(out: Path) -> tuple[str, ...]:
    return ("student", TASK, "sid", "0", *FOLDERS, str(out))


def point(out: Path) -> tuple[str, ...]:
    """The same student, asked for by a study."""
    return ("point", TASK, "sid", "0", *FOLDERS, str(out), "--study", "depth", "-S", "student.layers=2")


def processes_of(folder: Path) -> int:
    """How many processes made the model in the folder, which is whole."""
    open_sealed(folder, "dvc repro")
    return json.loads((folder / "run.json").read_text())["versions"]["processes"]


def test_a_student_of_two_processes_that_was_stopped_ends_with_the_bits_of_a_point_that_was_not(
    launch: Callable[..., Launched], longer: Project, tmp_path: Path
):
    disturbed = launch(tmp_path / "a", *student(tmp_path / "a/out"), **stopping("student", 13))
    disturbed.stop()
    err = disturbed.end()
    assert err.count("stopped by SIGTERM: a checkpoint is written, the same command goes on from it") == 1
    assert disturbed.process.returncode != 0
    assert not (tmp_path / "a/out").exists()

    other = launch(tmp_path / "a", *student(tmp_path / "a/out"))
    err = other.end()
    assert other.process.returncode == 0, err
    assert disturbed.epochs() == ["1", "2", "3"]  # of four steps each
    assert disturbed.epochs() + other.epochs() == [str(epoch) for epoch in range(1, EPOCHS + 1)]

    undisturbed = launch(tmp_path / "b", *point(tmp_path / "b/out.json"))
    assert undisturbed.end() == ""
    assert undisturbed.epochs() == disturbed.epochs() + other.epochs()
    (trained,) = (tmp_path / "b").glob("student-*/result")
    assert processes_of(tmp_path / "a/out") == processes_of(trained) == 2
    for file in ("model.safetensors", "history.csv"):
        assert (tmp_path / "a/out" / file).read_bytes() == (trained / file).read_bytes(), file
    assert (tmp_path / "b/out.csv").read_bytes() == (trained / "history.csv").read_bytes()
    found = json.loads((tmp_path / "b/out.json").read_text())
    assert found.keys() == json.loads((longer.root / f"metrics/main/points/{TASK}/sid-s0.json").read_text()).keys()
    assert (found["method"], found["layers"], found["epochs"]) == ("sid", 2, EPOCHS)


def test_a_teacher_of_two_processes_is_scored_by_one(launch: Callable[..., Launched], longer: Project, tmp_path: Path):
    teacher = launch(tmp_path, "teacher", TASK, "0", FOLDERS[0], str(tmp_path / "out"), str(tmp_path / "point.json"))
    err = teacher.end()
    assert teacher.process.returncode == 0, err
    assert processes_of(tmp_path / "out") == 2
    point = json.loads((tmp_path / "point.json").read_text())
    assert point.keys() == json.loads((longer.root / f"metrics/teacher/{TASK}/s0.json").read_text()).keys()
    assert teacher.epochs() == [str(epoch) for epoch in range(1, point["epochs"] + 1)]


def test_a_mistake_is_said_once_by_two_processes_that_both_find_it(
    launch: Callable[..., Launched], longer: Project, tmp_path: Path
):
    longer.edit({"train.batch_size": 0})
    wrong = launch(tmp_path, *student(tmp_path / "out"))
    err = wrong.end()
    longer.edit({"train.batch_size": SMALL["train.batch_size"]})
    assert wrong.process.returncode != 0
    assert err.count("train.batch_size: ") == 1
    assert "exitcode  : 2" in err
    assert not (tmp_path / "out").exists()
