"""The jobs of a project on a real Ray cluster and on real Slurm daemons, a node of which is killed in the middle."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest

from kdcore.artefacts import published
from kdcore.grid.jobs import Job, take_over
from kdcore.grid.launch import launch
from kdcore.grid.on_slurm import Slurm
from tests.pipeline.clusters import (
    daemons,
    has_slurm,
    kill,
    of_ray_node,
    of_slurm_node,
    ray_cluster,
    sbin,
    slurm_cluster,
    slurm_controller,
    wait_until,
)
from tests.pipeline.conftest import ROOT, TASK, Project

LONG: dict[str, Any] = {
    "methods": ["soft", "sid"],
    "distill.classification_epochs": 25,  # 100 steps: enough to be caught in the middle
    "train.checkpoint_seconds": 0,
}
STUDENTS = [f"student@{TASK}-{method}-0" for method in ("sid", "soft")]

PARTS = [f"targets@{TASK}-0, part {part} of 4" for part in (1, 2, 3, 4)]  # two of each split


def with_parts(project: Project) -> Project:
    """The project, to which a few kilobytes of signals are many."""
    code = project.root / "kdcore/distil/shards.py"
    text = code.read_text()
    for name, value in (("SHARD_BYTES", "25_000"), ("PART", "2")):
        text, found = re.subn(rf"^{name} = [^#]+", f"{name} = {value}  ", text, flags=re.MULTILINE)
        assert found == 1
    code.write_text(text)
    return project


@pytest.fixture(scope="module")
def plain(new_project: Callable[..., Project]) -> Project:
    """The project after `dvc repro student`, one stage after another on this machine."""
    project = with_parts(new_project(LONG))
    project.run("dvc", "repro", "student", warm=True)
    return project


@pytest.fixture
def fresh(plain: Project, new_project: Callable[..., Project]) -> Project:
    """The same project, in which nothing has run."""
    return with_parts(new_project(LONG | {"data.path": plain.params()["data"]["path"]}))


def give_signals(project: Project, plain: Project) -> None:
    """All that comes before the students, so that they alone are left to make."""
    for place in ("work/teacher-*", "work/targets-*", "work/evaluation-*", "runs/teacher", "runs/targets"):
        for folder in plain.root.glob(place):
            shutil.copytree(folder, project.root / folder.relative_to(plain.root))


def listed(project: Project, *args: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in project.run("python", "-m", "kdcore", "jobs", *args).stdout.splitlines()]


# What there is to do


def test_jobs_are_dvcs_stages_in_the_graphs_order_and_know_what_is_there(plain: Project):
    jobs = listed(plain)
    before = [f"prepare@{TASK}", f"teacher@{TASK}-0"]
    assert [job["stage"] for job in jobs] == [*before, *PARTS, f"targets@{TASK}-0", *STUDENTS]
    signals = jobs[6]
    assert [job["after"] for job in jobs[2:7]] == [before] * 4 + [[*before, *PARTS]]
    assert [job["command"] for job in jobs[2:6]] == [[*signals["command"], "--part", part] for part in "1234"]
    assert all(job["found"] for job in jobs)
    assert listed(plain, "--missing") == []
    student = jobs[-1]
    dry = plain.run("dvc", "repro", "--dry", "--force", "student").stdout
    assert f"> {' '.join(student['command'])}\n" in dry
    assert student["after"] == [*before, f"targets@{TASK}-0"]
    assert student["threads"] == 1
    (run,) = student["runs"]
    facts = json.loads((plain.root / "work" / run / "result/run.json").read_text())
    assert facts["method"] == "soft"


def test_a_studys_jobs_are_those_that_nothing_else_made(plain: Project):
    """Depth 2 is the headline's: the point is there, although its stage never ran."""
    jobs = listed(plain, "depth", "--missing")
    assert [job["stage"].partition("@")[2] for job in jobs] == [f"{TASK}-sid-1-0", f"{TASK}-soft-1-0"]
    assert all(job["runs"] and not (plain.root / "work" / job["runs"][0]).exists() for job in jobs)


def test_a_student_that_two_stages_ask_for_is_one_job(plain: Project, tmp_path: Path):
    """Of one layer, pid and sid are the same; so it is before there is a teacher. Of two they differ."""
    project = plain.copy(tmp_path)
    project.edit({"study.depth.methods": ["pid", "sid"], "student.layers": 1, "study.depth.layers": [1, 2]})
    points = [f"depth-point@{TASK}-pid-1-0", f"depth-point@{TASK}-sid-1-0"]

    def found() -> dict[str, Any]:
        return {job["stage"].partition(":")[2]: job for job in listed(project, "depth") if "point@" in job["stage"]}

    jobs = found()
    assert [*jobs] == [points[0], *(f"depth-point@{TASK}-{method}-2-0" for method in ("pid", "sid"))]
    assert [job.get("serves") for job in jobs.values()] == [[f"stages/dvc.yaml:{points[1]}"], None, None]
    shutil.rmtree(project.root / "runs/teacher")
    assert [job["runs"] for job in found().values()] == [None] * 3
    assert {name: job.get("serves") for name, job in found().items()} == {
        name: job.get("serves") for name, job in jobs.items()
    }


def test_before_anything_ran_a_job_names_what_it_waits_for(fresh: Project):
    jobs = listed(fresh)
    assert [job["stage"] for job in jobs if job["stage"] in PARTS] == []  # nobody knows how many rows there are
    assert [job["found"] for job in jobs] == [False] * 5
    assert [job.get("unknown") for job in jobs] == [None, *[f"waits for prepare@{TASK}"] * 4]


def test_a_job_says_the_gflop_that_its_run_writes_down(plain: Project):
    jobs = {job["stage"].partition("@")[0]: job for job in listed(plain)}
    assert jobs["prepare"]["gflop"] is None
    for stage in ("teacher", "student"):
        (run,) = jobs[stage]["runs"]
        recorded = json.loads((plain.root / "work" / run / "result/run.json").read_text())["gflop"]
        assert jobs[stage]["gflop"] == recorded > 0


def test_it_is_known_as_soon_as_the_rows_are_prepared(plain: Project, fresh: Project):
    """One model, the teacher, is still to be made; before the rows are there nobody knows how long they are."""
    assert [job["gflop"] for job in listed(fresh)] == [None] * 5
    fresh.run("dvc", "repro", f"prepare@{TASK}", warm=True)
    jobs = listed(fresh)
    assert [job["found"] for job in jobs] == [True] + [False] * 8
    assert [job["gflop"] for job in jobs] == [job["gflop"] for job in listed(plain)]
    assert [job["stage"] for job in jobs if not job["gflop"]] == [f"prepare@{TASK}", f"targets@{TASK}-0"]


def test_jobs_are_listed_without_torch(plain: Project):
    made = plain.run(sys.executable, "-X", "importtime", "-m", "kdcore", "jobs")
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in made.stderr.splitlines()}
    assert "kdcore" in names
    assert names & {"torch", "transformers", "pandas"} == set()


# On an engine


class Launched:
    """`kdcore launch …` of a project, as its own process."""

    def __init__(self, project: Project, line: tuple[str, ...], environment: dict[str, str]) -> None:
        self.project = project
        self.process = subprocess.Popen(
            ["python", "-m", "kdcore", "launch", *line],
            cwd=project.root,
            env=project.environment() | environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def attempt_in_training(self) -> int:
        """The pid of a student's attempt that has written a checkpoint."""

        def found() -> list[Path]:
            assert self.process.poll() is None, self.process.communicate()[0]
            return [*(self.project.root / "work").glob("student-*/checkpoints/[0-9]*/manifest.json")]

        wait_until(found, "a checkpoint of a student")
        owner = (found()[0].parents[2] / "owner").read_text()
        return int(owner.split()[1])

    def attempts(self) -> set[int]:
        """The pids of the students' attempts that run, as soon as there are two."""
        notes = self.project.root / "work/launch"

        def running() -> set[int]:
            last = [json.loads(file.read_text().splitlines()[-1]) for file in notes.glob("*/*.events")]
            return {event["pid"] for event in last if event["event"] == "started"}

        wait_until(lambda: len(running()) == len(STUDENTS), "both students")
        return running()

    def end(self) -> tuple[int, str]:
        said, _ = self.process.communicate()
        return self.process.returncode, said


@pytest.fixture
def launched() -> Iterator[Callable[..., Launched]]:
    """launched(project, line, environment): none outlives the test."""
    started: list[Launched] = []

    def begin(*args: Any) -> Launched:
        started.append(Launched(*args))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait()


Cluster = Callable[[int], AbstractContextManager[dict[str, str]]]
RAY = pytest.param(
    *("ray", ray_cluster, of_ray_node),
    marks=pytest.mark.skipif(find_spec("ray") is None, reason="the extra kdcore[ray] is not installed"),
    id="ray",
)
SLURM = pytest.param(
    *("slurm", slurm_cluster, of_slurm_node),
    marks=pytest.mark.skipif(not has_slurm(), reason="munged, slurmctld and slurmd are not installed"),
    id="slurm",
)


@pytest.mark.parametrize(("engine", "cluster", "node_of"), [RAY, SLURM])
def test_a_node_is_lost_and_the_results_are_those_of_one_machine(
    engine: str,
    cluster: Cluster,
    node_of: Callable[[int], list[psutil.Process]],
    plain: Project,
    fresh: Project,
    launched: Callable[..., Launched],
):
    jobs = [f"teacher@{TASK}-0", *PARTS, f"targets@{TASK}-0", *STUDENTS]
    if engine == "slurm":  # parts are made once, by Ray
        give_signals(fresh, plain)
        jobs = STUDENTS
    with cluster(2) as environment:
        launch = launched(fresh, (engine,), environment)
        attempt = launch.attempt_in_training()
        psutil.Process(attempt).suspend()  # until its node is lost: it may be fast
        if engine == "slurm":  # the other student comes to its limit of time
            (other,) = launch.attempts() - {attempt}
            job = psutil.Process(other).environ()["SLURM_JOB_ID"]
            subprocess.run(["scancel", "--batch", "--signal=TERM", job], env=os.environ | environment, check=True)
        node = node_of(attempt)
        psutil.Process(attempt).resume()
        kill(*node)
        code, said = launch.end()
    assert code == 0, said
    assert re.search(rf"^launch: {len(jobs)} of {len(jobs)} jobs done in", said, re.MULTILINE), said
    assert all(re.search(rf"^{stage}: done on ", said, re.MULTILINE) for stage in jobs), said
    assert re.search(r"^  moved: student@tiny-\w+-0, .+ → .+, went on at epoch \d+, step \d+$", said, re.MULTILINE), (
        said
    )
    assert said.endswith("now `dvc repro` assembles the results, and trains nothing\n")
    assert results(fresh) == results(plain)
    repro = fresh.run("dvc", "repro", "student", warm=True)
    assert not re.search(r": epoch \d+ \(", repro.stdout + repro.stderr)
    assert results(fresh) == results(plain)
    assert listed(fresh, "--missing") == []


def results(project: Project) -> dict[str, bytes]:
    """Every model of the store, and all signals, bit by bit."""
    files = [*(project.root / "work").glob("*/result/model.safetensors"), *project.root.glob("runs/targets/**/*.npy")]
    return {str(file.relative_to(project.root)): file.read_bytes() for file in files}


@pytest.mark.parametrize(("engine", "cluster", "node_of"), [RAY, SLURM])
def test_sigterm_leaves_checkpoints_and_the_same_command_goes_on(
    engine: str,
    cluster: Cluster,
    node_of: Callable[[int], list[psutil.Process]],
    plain: Project,
    fresh: Project,
    launched: Callable[..., Launched],
):
    give_signals(fresh, plain)
    with cluster(2) as environment:
        launch = launched(fresh, (engine,), environment)
        attempt = launch.attempt_in_training()
        psutil.Process(attempt).suspend()  # so that it is in training when it is asked to stop, however fast it is
        launch.process.send_signal(signal.SIGTERM)
        wait_until(lambda: [*(fresh.root / "work/launch").glob("*/cancelled")], "the launcher to take it up")
        time.sleep(2)
        psutil.Process(attempt).resume()
        code, said = launch.end()
        assert code == 143, said
        assert "stopped by SIGTERM: " in said
        assert not psutil.pid_exists(attempt)
        assert [*(fresh.root / "work").glob("student-*/checkpoints/[0-9]*/manifest.json")]
        code, said = launched(fresh, (engine,), environment).end()
    assert code == 0, said
    assert re.search(r"^student@tiny-\w+-0: done on .*, went on at epoch \d+, step \d+$", said, re.MULTILINE), said
    assert results(fresh) == results(plain)


@pytest.mark.skipif(not has_slurm(), reason="munged, slurmctld and slurmd are not installed")
def test_more_jobs_than_an_array_takes_while_slurms_controller_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """An array takes ten here, and two wait for one of them; the controller says nothing of the jobs that run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    line = ("python", "-m", "kdcore", "--version")
    jobs = [Job(f"job {number}", line, ("job 0",) if number > 10 else ()) for number in range(13)]
    said, ended = "", Event()

    def has_said(words: str) -> bool:
        nonlocal said
        said += "".join(capfd.readouterr())
        return words in said or ended.is_set()

    with slurm_cluster(2, size=11) as environment, daemons(tmp_path / "log") as start, ThreadPoolExecutor(1) as thread:
        monkeypatch.setenv("SLURM_CONF", environment["SLURM_CONF"])

        def restart() -> None:
            wait_until(lambda: has_said(": on n"), "the first job")
            slurm_controller(environment).terminate()
            wait_until(lambda: has_said("warning: launch: squeue: "), "the launcher to miss it")
            start([sbin("slurmctld"), "-D"], **environment)

        restarted = thread.submit(restart)
        try:
            assert launch(jobs, Slurm(0, ""))
        finally:
            ended.set()
            restarted.result()
    assert has_said("launch: 13 of 13 jobs done in ")
    assert "launch: 3 arrays, as one takes 10 jobs here\n" in said
    assert said.count("warning: ") == said.count("launch: Slurm answers again\n") == 1
    logs = {log.name: log.read_text() for log in tmp_path.glob("work/launch/*/*.log")}
    assert {*logs} == {f"{number}.log" for number in range(13)}
    assert all("kdcore " in text for text in logs.values())


def test_in_a_clone_a_job_may_replace_what_dvc_lock_has_and_nothing_else(
    plain: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """`dvc repro` takes it away before it runs a stage; the store of a clone knows nothing of it."""
    clone = plain.copy(tmp_path)
    monkeypatch.chdir(clone.root)
    monkeypatch.setenv("KDCORE_WORK", str(tmp_path / "store"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", clone.environment()["DVC_SITE_CACHE_DIR"])
    (tmp_path / "store").mkdir()
    teacher, scores = Job(f"teacher@{TASK}-0", ()), Path(f"metrics/teacher/{TASK}/s0.json")
    whole = scores.read_bytes()
    scores.write_bytes(whole + b"\n")
    take_over([teacher])
    assert not published(scores)
    scores.write_bytes(whole)
    assert not published(scores)
    take_over([teacher])
    assert published(scores)


# What can't be


def test_an_engine_or_a_study_that_there_is_not_is_named(plain: Project):
    for line, said in {
        ("dask",): "must be ray | slurm, found 'dask'",
        ("ray", "dept"): "found 'dept', did you mean 'depth'?",
        ("ray", "--sbatch", "--time=1"): "--sbatch: is for slurm",
    }.items():
        made = plain.run("python", "-m", "kdcore", "launch", *line, check=False)
        assert made.returncode == 2
        assert said in made.stderr


def test_slurm_gives_out_whole_gpus(plain: Project, tmp_path: Path):
    for name in ("sbatch", "squeue", "scancel", "scontrol"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{plain.environment()['PATH']}"
    made = plain.run("python", "-m", "kdcore", "launch", "slurm", "--gpus", "0.25", check=False, PATH=path)
    assert made.returncode == 2
    assert "--gpus: Slurm gives out whole ones, found 0.25; `kdcore launch ray` shares them" in made.stderr
