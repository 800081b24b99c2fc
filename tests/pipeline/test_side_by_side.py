"""Several DVC processes in one project, as docs/scale.md has them: no run is trained twice, and none is lost."""

import csv
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

from benchmarks.killing import stopped, stopping, watch
from kdcore.artefacts import HOST
from tests.pipeline.conftest import ROOT, SMALL, TASK, Project

MARK = "KDCORE_TEST_SIDE_BY_SIDE"  # in the environment of every process that a test starts, and of theirs
PATIENCE = 1200  # seconds; a guard against waiting for ever, far above what anything here takes


def block(title: str) -> str:
    """The first shell block of that section of docs/scale.md."""
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {title}$.*?^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def ran(output: str) -> list[str]:
    """The stages that ran, without the path of their file, as dvc says itself; `inputs` always does."""
    return re.findall(r"^Running stage '(?!inputs')(?:[^':]+:)?([^']+)'", output, re.MULTILINE)


def epochs_said(output: str) -> int:
    return len(re.findall(r": epoch \d+ \(", output))


def epochs_kept(project: Project) -> dict[str, int]:
    """How many epochs each finished teacher and student of the store took."""
    files = (project.root / "work").glob("*/result/run.json")
    return {file.parents[1].name: json.loads(file.read_text())["epochs"] for file in files}


def wait_until(found: Callable[[], Any]) -> Any:
    """What `found` gives as soon as it is something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.1)
    pytest.fail("what was waited for did not come")


@pytest.fixture
def fresh(finished_copy: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of the finished project with an empty store, and watched; no process of the test outlives it."""
    shutil.rmtree(finished_copy.root / "work")
    watch(finished_copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, str(tmp_path))
        yield finished_copy
    wait_until(lambda: kill(alive(tmp_path)) == 0)


def alive(folder: Path) -> list[psutil.Process]:
    """The processes that the test with that folder started, with theirs, and that have not ended."""

    def own(process: psutil.Process) -> bool:
        try:
            return process.pid != os.getpid() and process.environ().get(MARK) == str(folder)
        except psutil.Error:  # it has ended, or is another user's
            return False

    return [process for process in psutil.process_iter() if own(process)]


def kill(processes: list[psutil.Process]) -> int:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return len(processes)


def begin(project: Project, *args: str, **environment: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    environment = project.environment() | environment
    return subprocess.Popen(args, cwd=project.root, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def trainer(project: Project, kind: str) -> psutil.Process:
    """The process that has begun a run of that kind, as soon as it has stopped itself."""

    def pid() -> int | None:
        owners = [path.read_text() for path in (project.root / "work").glob(f"{kind}-*/owner")]
        return next((int(said[1]) for owner in owners if (said := re.match(r"process (\d+) of ", owner))), None)

    return stopped(wait_until(pid))


def test_of_two_repro_the_second_names_the_first_and_then_finds_its_work(fresh: Project):
    fresh.edit({"distill.classification_epochs": 3})
    command = ("dvc", "repro", f"student@{TASK}-soft-0")
    first = begin(fresh, *command, **stopping("student"))
    at_work = trainer(fresh, "student")  # so it is at work when the second comes, however slow that is
    second = fresh.run(*command, check=False)
    at_work.resume()
    assert second.returncode != 0
    assert ran(second.stdout) == []
    assert re.search(rf"is busy, it is being blocked by:\n  \(PID {first.pid}\): \S*dvc repro", second.stderr)

    said, _ = first.communicate()
    assert first.returncode == 0, said
    assert ran(said) == [f"student@{TASK}-soft-0"]
    assert ran(fresh.run(*command).stdout) == []
    assert list(epochs_kept(fresh).values()) == [epochs_said(said)]


def test_a_study_by_two_processes_is_the_one_that_a_single_process_makes(fresh: Project, finished: Project):
    """The headline's students, trained one after another, are those of the study at the headline's depth."""
    fresh.edit({"study.depth.layers": [SMALL["student.layers"]], "study.depth.methods": ["soft", "pid", "sid"]})
    said = fresh.run("bash", "-euo", "pipefail", "-c", block("A study side by side"), warm=True).stdout
    assert [stage for stage in ran(said) if not stage.startswith("report")] == ["depth"]
    assert len(epochs_kept(fresh)) == 3
    assert sum(epochs_kept(fresh).values()) == epochs_said(said)
    for method in ("soft", "pid", "sid"):
        one = finished.root / f"metrics/main/points/{TASK}/{method}-s0.json"
        assert one.read_bytes() == (fresh.root / f"metrics/depth/points/{TASK}/{method}-L2-s0.json").read_bytes()
    assert "up to date" in fresh.run("dvc", "status", "stages/dvc.yaml:depth").stdout


def leave_out(project: Project, *stages: str) -> None:
    """Take stages out of the headline run that nothing here looks at."""
    yaml, path = YAML(), project.root / "dvc.yaml"
    document = yaml.load(path)
    for stage in stages:
        del document["stages"][stage]
    yaml.dump(document, path)


def outputs(project: Project) -> str:
    """What the experiments of the queue have said."""
    return "\n".join(path.read_text() for path in (project.root / ".dvc/tmp/exps/run").glob("*/*.out"))


def ended(project: Project) -> list[str]:
    """The names of the experiments that have ended, none while DVC still clears away the workspace of one, which `dvc
    exp show` would trip over. Fails the test where one of the queue has failed."""
    if [*(project.root / ".dvc/tmp/exps").glob("tmp*")]:
        return []
    refs = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    assert "refs/exps/celery/failed" not in refs, outputs(project)
    return [found[1] for ref in refs if (found := re.fullmatch(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)", ref))]


def test_of_two_experiments_in_the_queue_one_trains_the_teacher_and_both_end(fresh: Project):
    fresh.edit({"methods": ["soft"], "teacher.epochs": 2, "student.layers": 3})
    leave_out(fresh, "attention", "errors", "report")
    fresh.commit("Another teacher")
    with (fresh.root.parent / "queue.log").open("w") as log:  # workers keep what they were started with: no pipe
        command = ["bash", "-euc", block("The queue")]
        environment = fresh.environment() | stopping("teacher")
        subprocess.run(command, cwd=fresh.root, env=environment, stdout=log, stderr=log, check=True)
    at_work = trainer(fresh, "teacher")  # which goes on when the other one has come
    wait_until(lambda: f": process {at_work.pid} of {HOST} works on it; waiting until it is done" in outputs(fresh))
    at_work.resume()
    names = wait_until(lambda: len(found := ended(fresh)) == 2 and found)
    assert sorted(run.partition("-")[0] for run in epochs_kept(fresh)) == ["student", "student", "teacher"]
    assert sum(epochs_kept(fresh).values()) == epochs_said(outputs(fresh))
    shown = fresh.run("dvc", "exp", "show", "--csv").stdout
    found = {row["Experiment"]: row for row in csv.DictReader(shown.splitlines()) if row["Experiment"] in names}
    assert sorted(row["student.layers"] for row in found.values()) == ["2", "4"]
    assert all(0 < float(row["soft"]) <= 1 for row in found.values())
