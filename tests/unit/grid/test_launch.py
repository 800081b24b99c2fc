"""What `kdcore launch` does with the jobs of an engine, here one of processes of this machine, and what it says."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from dvc.repo import Repo

from kdcore import interrupt
from kdcore.grid.attempt import CANCELLED
from kdcore.grid.jobs import Asked, Job, jobs
from kdcore.grid.launch import launch
from kdcore.grid.on_slurm import Slurm
from kdcore.interrupt import Interrupted
from tests.unit.raw_files import ROOT


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's `work/launch`; the test runs in the project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr("kdcore.grid.launch.SOON", 0.1)  # this engine does nothing between two questions
    return tmp_path / "work/launch"


class Here:
    """An engine of one place, which runs each job when those before it have ended well."""

    def __init__(self, place: str = "here") -> None:
        self.place, self.jobs, self.folder = place, list[Job](), Path()
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.ended: dict[int, int] = {}

    def submit(self, folder: Path, jobs: Sequence[Job]) -> None:
        self.folder, self.jobs = folder, list(jobs)

    def unfinished(self) -> Collection[int]:
        stages = [job.stage for job in self.jobs]
        for number, process in [*self.running.items()]:
            if process.poll() is not None:
                self.ended[number] = self.running.pop(number).returncode
        for number, job in enumerate(self.jobs):
            before = [self.ended.get(stages.index(stage)) for stage in job.after]
            if number in self.running or number in self.ended or None in before:
                continue
            if any(before):
                self.ended[number] = 1
            else:
                line = [sys.executable, "-m", "kdcore.grid.attempt", str(self.folder), str(number), self.place]
                self.running[number] = subprocess.Popen(line)
        return [number for number in range(len(self.jobs)) if number not in self.ended]

    def why(self, number: int) -> str:
        return ""

    def cancel(self) -> None: ...

    def close(self) -> None:
        print("news of the engine's own")


def job(name: str, *line: str, after: tuple[str, ...] = ()) -> Job:
    return Job(name, ("python", "-m", "kdcore", *line), after, Asked())


def test_a_failure_is_named_with_its_log_and_what_waits_for_it_does_not_start(
    work: Path, capfd: pytest.CaptureFixture[str]
):
    listed = [
        job("fine", "--version"),
        job("broken", "predict", "no-model", "no-rows.csv", "out"),
        job("after both", "--version", after=("fine", "broken")),
        job("after one", "--version", after=("fine",)),
    ]
    assert not launch(listed, Here())
    said, warned = capfd.readouterr()
    (folder,) = work.iterdir()
    assert f"launch: 4 jobs, each with a log in {folder}" in said
    assert "fine: on here\n" in said
    assert "fine: done on here in " in said
    assert "after one: done on here in " in said
    assert "\nnews of the engine's own\nlaunch: 2 of 4 jobs done in " in said  # nothing of it comes later
    assert "  here: 2 jobs, " in said
    log = folder / "1.log"
    assert f"warning: broken: failed on here, exit code 2: {log.read_text().splitlines()[-1]} ({log})" in warned
    assert "warning: after both: did not start: it comes after broken, which failed\n" in warned
    assert (folder / "0.log").read_text().startswith("kdcore ")


def test_what_comes_after_a_job_that_could_not_start_names_that_one(work: Path, capfd: pytest.CaptureFixture[str]):
    class Refusing(Here):
        def unfinished(self) -> Collection[int]:
            self.ended |= dict.fromkeys(range(len(self.jobs)), 1)
            return []

        def why(self, number: int) -> str:
            return "" if number else "the machines must share the project's folder"

    assert not launch([job("first", "--version"), job("then", "--version", after=("first",))], Refusing())
    warned = capfd.readouterr().err
    assert "warning: first: did not start: the machines must share the project's folder\n" in warned
    assert "warning: then: did not start: it comes after first, which failed\n" in warned


def test_all_jobs_done_is_a_launch_that_went_well(work: Path):
    assert launch([job("fine", "--version")], Here())


def test_the_engine_is_asked_ever_more_seldom_and_soon_after_news(work: Path, monkeypatch: pytest.MonkeyPatch):
    """The clock here is the launcher's own sleep."""
    clock, asked = [0.0], list[float]()

    class Slow(Here):
        def unfinished(self) -> Collection[int]:
            asked.append(clock[0])
            if clock[0] < 40:
                return [0]
            (self.folder / "0.events").write_text(
                '{"event": "ended", "place": "n1", "code": 0, "seconds": 1, "resumed": null}\n'
            )
            return [0] if clock[0] < 50 else []

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr("kdcore.grid.launch.SOON", 2.0)
    own = SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0], strftime=time.strftime)
    monkeypatch.setattr("kdcore.grid.launch.time", own)
    launch([job("fine", "--version")], Slow())
    pauses = [round(after - before, 1) for before, after in pairwise(asked)]
    assert pauses == [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 10.0, 10.0, 2.0, 3.0]


def test_what_ends_a_launch_as_jobs_are_handed_over_or_watched_takes_them_back(work: Path):
    taken = []

    class Broken(Here):
        def unfinished(self) -> Collection[int]:
            raise OSError

        def cancel(self) -> None:
            taken.append((self.folder / CANCELLED).exists())

    class Stopped(Broken):
        def submit(self, folder: Path, jobs: Sequence[Job]) -> None:
            super().submit(folder, jobs)
            raise Interrupted(signal.SIGINT)

    for engine, error in ((Stopped("one"), Interrupted), (Broken("two"), OSError)):
        with pytest.raises(error):
            launch([job(engine.place, "--version")], engine)
        shutil.rmtree(engine.folder)
    assert taken == [True, True]


@pytest.mark.usefixtures("no_request")
def test_an_array_that_slurm_took_as_we_were_stopped_is_taken_back(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    commands = {
        "scontrol": "echo MaxArraySize = 1001",
        "sbatch": "kill -INT $PPID; sleep 0.2; echo 7",
        "squeue": "",
        "scancel": f'echo "$@" >> {tmp_path}/cancelled',
    }
    for name, line in commands.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(Interrupted), interrupt.ending():
        launch([job("fine", "--version"), job("after", "--version", after=("fine",))], Slurm(0, ""))
    assert (tmp_path / "cancelled").read_text().splitlines() == [
        "--quiet --state=PENDING 7_0",
        "--quiet --batch --signal=TERM 7_0",
    ]


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
def test_stages_of_the_users_own_are_no_jobs(work: Path):
    (work.parents[1] / "dvc.yaml").write_text(
        """
        stages:
          several: {cmd: [echo a, python -m kdcore report]}
          set-up: {cmd: pip install kdcore}
          quoted: {cmd: echo it's}
          prepare: {cmd: python -m kdcore prepare movies data/movies}
        """
    )
    Repo.init(no_scm=True).close()
    found = jobs(None, lambda job, before: Asked())
    assert [(one.stage, one.line) for one in found] == [("prepare", ("prepare", "movies", "data/movies"))]


def test_an_attempt_that_leaves_without_a_word_was_lost(work: Path, capfd: pytest.CaptureFixture[str]):
    class Lost(Here):
        def unfinished(self) -> Collection[int]:
            (self.folder / "0.events").write_text('{"event": "started", "place": "n1", "pid": 1}\n{"event": "en')
            (self.folder / "0.log").write_text("epoch 1\n")
            return []

    assert not launch([job("fine", "--version")], Lost())
    assert "warning: fine: failed on n1, it was lost: epoch 1 (" in capfd.readouterr().err
