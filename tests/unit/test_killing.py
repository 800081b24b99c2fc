"""What chaos.py and the tests of kills compare and count, and what checkpoints.py makes of its times."""

import json
import os
import random
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from benchmarks import killing
from benchmarks.chaos import Tally, attempt, table
from benchmarks.checkpoints import Measured, overhead
from benchmarks.checkpoints import table as checkpoint_table
from benchmarks.killing import bits, left_behind, outputs
from tests.pipeline.conftest import Project


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write(tmp_path / "data/movies/train.parquet", "rows")
    write(tmp_path / "runs/teacher/run.json", json.dumps({"epochs": 3, "seconds": 1.5}))
    files = {"run.json": {"sha256": "of seconds"}, "model.safetensors": {"sha256": "of weights"}}
    write(tmp_path / "runs/teacher/manifest.json", json.dumps({"files": files}))
    write(tmp_path / "metrics/teacher/movies.json", json.dumps({"score": 0.5}))
    return Project(tmp_path)


def test_only_seconds_may_differ(project: Project):
    before = outputs(project)
    assert set(before) == {
        "data/movies/train.parquet",
        "runs/teacher/run.json",
        "runs/teacher/manifest.json",
        "metrics/teacher/movies.json",
    }
    write(project.root / "runs/teacher/run.json", json.dumps({"epochs": 3, "seconds": 2.5}))
    assert outputs(project) == before
    write(project.root / "metrics/teacher/movies.json", json.dumps({"score": 0.6}))
    assert [name for name, found in outputs(project).items() if found != before[name]] == [
        "metrics/teacher/movies.json"
    ]


@pytest.mark.parametrize("name", ["run.json", "manifest.json"])
def test_a_change_in_facts_or_checksums_is_seen(project: Project, name: str):
    folder = project.root / "runs/teacher"
    before = bits(folder)
    write(folder / name, (folder / name).read_text().replace("of weights", "of others").replace("3", "4"))
    assert [file for file, found in bits(folder).items() if found != before[file]] == [name]


def test_hidden_files_and_folders_are_half_written_ones(project: Project):
    write(project.root / "data/.gitignore", "")
    assert left_behind(project) == []
    write(project.root / "runs/.teacher.host.12/model.safetensors", "half")
    write(project.root / "metrics/.table.md.host.12", "half")
    assert left_behind(project) == ["metrics/.table.md.host.12", "runs/.teacher.host.12"]


def test_kills_are_counted_by_signal_target_and_stage():
    tally = Tally(redone=[2, 1], differences=["project-0/runs/model"])
    tally.kills.update({("SIGKILL", "stage", "student"): 3, ("SIGINT", "dvc", "student"): 1})
    tally.ignored.update([("SIGINT", "dvc", "student")])
    lines = table(tally, files=7, needed=40).splitlines()
    for line in (
        "| kills | 4 |",
        "| … by SIGKILL | 3 |",
        "| … of dvc | 1 |",
        "| … during student | 4 |",
        "| of these without effect: SIGINT to dvc | 1 |",
        "| steps done twice, in all projects | 3 |",
        "| files that differ from the undisturbed run's | 1 |",
        "differs: project-0/runs/model",
    ):
        assert line in lines


class Deaf:
    """A `dvc repro` that every signal but SIGINT ends."""

    def __init__(self) -> None:
        self.ended = False

    def worked(self, seconds: float) -> bool:
        return self.ended

    def kill(self, signum: int, target: str) -> tuple[str, str]:
        self.ended = signum != signal.SIGINT
        return target, "student"


@pytest.mark.parametrize("seed", range(5))
def test_what_takes_no_notice_is_killed_again_until_it_ends(seed: int):
    *ignored, (last, _, _) = attempt(Deaf(), random.Random(seed), longest=1.0)  # noqa: S311  (no secret)
    assert {name for name, _, _ in ignored} <= {"SIGINT"}
    assert last in ("SIGKILL", "SIGTERM")


# As `dvc queue status` shows them; an experiment that is done may have been queued again.
HEAD = "Task     Name    Created    Status\n"
IN_QUEUE = ("exp", "run", "--queue")


@pytest.mark.parametrize(
    ("status", "commands"),
    [
        ("No experiment tasks in the queue.\n", [IN_QUEUE]),
        (HEAD + "d8d382a  mine    02:54 AM   Queued\n", []),
        (HEAD + "17262a7  mine    02:54 AM   Running\n", [("queue", "kill", "mine"), IN_QUEUE]),
        (
            HEAD + "17262a7  mine    02:54 AM   Running\nd8d382a  mine    02:58 AM   Queued\n",
            [("queue", "kill", "mine")],
        ),
        (HEAD + "17262a7  mine    02:54 AM   Failed\n", [IN_QUEUE]),
        (HEAD + "17262a7  other   02:54 AM   Running\n", [IN_QUEUE]),
    ],
)
def test_an_experiment_whose_worker_died_is_given_up_and_queued_again(
    project: Project, monkeypatch: pytest.MonkeyPatch, status: str, commands: list[tuple[str, ...]]
):
    said: list[tuple[str, ...]] = []

    def run(self: Project, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        said.append(command[1:])
        return subprocess.CompletedProcess(command, 0, status if command[1:] == ("queue", "status") else "", "")

    def started(project: Project, log: Path, command: Sequence[str], more: dict[str, str]) -> psutil.Popen:
        said.append(tuple(command[1:]))
        return psutil.Popen(["true"])

    monkeypatch.setattr(Project, "run", run)
    monkeypatch.setattr(killing, "_started", started)
    write(project.root / ".dvc/tmp/exps/celery/dvc-exp-worker-1.json", json.dumps({"pid": os.getpid()}))
    worker = killing.Worker(project, project.root / "log", "mine", IN_QUEUE)
    assert said == [("queue", "status"), *commands, ("queue", "start")]
    assert (worker.process.pid, worker.group, worker.ended) == (os.getpid(), os.getpgrp(), False)


def test_a_checkpoints_share_by_hand():
    # 1 s of writing after every 24 s of training: one second in 25.
    assert overhead([0.5, 1.0, 3.0], every=24) == 1 / 25


def test_checkpoints_are_no_part_of_a_step_and_bound_what_is_redone():
    # 12 s, of them 2 s in checkpoints, for 20 steps: 0.5 s each. At most 30 s, a step and the longest checkpoint: 32 s.
    found = table_of(Measured(whole=12.0, steps=20, checkpoints=[0.5, 1.5], sizes=[2_000_000, 3_000_000]))
    assert found["size of a checkpoint"] == "3 MB"
    assert found["seconds of an optimizer step, mean of 20"] == "0.500"
    assert found["share of training time, a checkpoint every 30 s"] == "3.2%"
    assert found["done again after a kill, at most"] == "32 s, 64 steps"


def table_of(found: Measured) -> dict[str, str]:
    lines = [line.split("|")[1:3] for line in checkpoint_table(found, every=30).splitlines()]
    return {name.strip(): value.strip() for name, value in lines}
