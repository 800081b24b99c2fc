"""`dvc repro`, killed a dozen times at chosen moments, ends with the bits of the one that nothing stopped.

benchmarks/chaos.py does the same at random moments.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.killing import Repro, left_behind, outputs, steps, watch
from kdcore.artefacts import HOST
from tests.pipeline.conftest import TASK, Project

TERM, KILL, INT = signal.SIGTERM, signal.SIGKILL, signal.SIGINT
STAGE_FAILED = 255  # dvc's exit code
KEPT = "what is finished is kept, the same command does the rest"
RESUMES = "a checkpoint is written, the same command goes on from it"
# When: command, event and its number, as WATCHED has them. What: signal and target. Then: dvc's exit code, what is
# said. All moments are a stage's: dvc waits then, and its own lock file is whole. A student does 12 steps, so that
# after its seventh it has less than seven left, and each of the kills finds another of the four.
KILLS = (
    ("prepare", ".parquet", 1, KILL, "group", -KILL, ""),
    ("teacher", "tensors.safetensors", 3, KILL, "group", -KILL, ""),
    ("teacher", "step", 5, TERM, "dvc", -TERM, "epoch 3 "),  # the stage finishes alone
    ("targets", "shard-00000.json", 2, KILL, "group", -KILL, ""),
    ("targets", "result", 1, TERM, "stage", STAGE_FAILED, f"stopped by SIGTERM: {KEPT}"),
    ("student", "step", 7, KILL, "dvc", -KILL, "epoch 3 "),  # the stage finishes alone
    ("student", "step", 7, INT, "group", STAGE_FAILED, f"stopped by SIGINT: {RESUMES}"),
    ("student", "step", 7, TERM, "group", -TERM, f"stopped by SIGTERM: {RESUMES}"),
    ("student", "step", 7, KILL, "stage", STAGE_FAILED, "failed to reproduce 'student@"),  # by the shell: -9 or 137
    ("student", "predictions.parquet", 1, KILL, "group", -KILL, ""),
    ("evaluate", "soft-s0.json", 1, KILL, "group", -KILL, ""),
    ("evaluate", "sid-s0.parquet", 1, INT, "stage", STAGE_FAILED, f"stopped by SIGINT: {KEPT}"),
    ("evaluate", "teacher-s0.json", 1, INT, "dvc", 0, ""),  # which does not heed it while a stage runs
)
STEPS = 3 * 80 // 8 + 4 * 3 * 32 // 8  # 3 epochs of 80 rows by 8; four students of 3 epochs of 32 rows by 8
DONE_TWICE = 2  # the steps after which SIGKILL came to the stage, before their checkpoint was there


@pytest.fixture
def unfinished(finished: Project, new_project: Callable[..., Project]) -> Project:
    """A project like the finished one, in which nothing has run; it writes a checkpoint after every step."""
    project = new_project({"train.checkpoint_seconds": 0, "data.path": finished.params()["data"]["path"]})
    watch(project)
    return project


@pytest.fixture
def start(unfinished: Project, tmp_path: Path) -> Iterator[Callable[[str], Repro]]:
    """start(kill): `dvc repro`; none outlives the test."""
    started: list[Repro] = []

    def begin(kill: str) -> Repro:
        started.append(Repro(unfinished, tmp_path / f"log-{len(started)}", kill))
        return started[-1]

    yield begin
    for repro in started:
        repro.end()


def test_a_pipeline_that_is_killed_a_dozen_times_ends_with_the_same_bits(
    finished: Project, unfinished: Project, start: Callable[[str], Repro]
):
    for command, event, count, signum, target, code, said in KILLS:
        kill = f"{command} {event} {count} {int(signum)} {target}"
        repro = start(kill)
        assert repro.wait() == code, f"{kill}:\n{repro.output}"
        repro.wait_for_orphans()
        assert said in repro.output, f"{kill}:\n{repro.output}"
    found, expected = outputs(unfinished), outputs(finished)
    assert [path for path in expected if found.get(path) != expected[path]] == []
    assert found.keys() == expected.keys()
    assert left_behind(unfinished) == []
    assert steps(unfinished) - STEPS == DONE_TWICE


class Student:
    """`python -m kdcore student …` of a finished project, as its own process and with a store of its own."""

    def __init__(self, project: Project, store: Path) -> None:
        folders = (f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}", str(store / "out"))
        self.process = subprocess.Popen(
            ["python", "-m", "kdcore", "student", TASK, "sid", "0", *folders],
            cwd=project.root,
            env=project.environment() | {"KDCORE_WORK": str(store), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, part: str) -> str:
        """The next line of its output with that in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if part in line:
                return line
        pytest.fail(f"ended with {self.process.wait()} before a line with {part!r}: {self.process.stderr.read()}")  # type: ignore[union-attr]

    def end(self, signum: int) -> tuple[int, str]:
        """Send the signal, wait, and give the exit code and the last line of stderr."""
        self.process.send_signal(signum)
        _, err = self.process.communicate()
        return self.process.returncode, (err.splitlines() or [""])[-1]


@pytest.fixture
def student(finished_copy: Project, tmp_path: Path) -> Iterator[Callable[[], Student]]:
    """student(): a new process for the same run, which would take minutes; none outlives the test."""
    finished_copy.edit({"distill.classification_epochs": 1000})
    started: list[Student] = []

    def begin() -> Student:
        started.append(Student(finished_copy, tmp_path / "store"))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.communicate()


def test_an_orphan_keeps_its_run_and_who_waits_for_it_says_so_and_can_be_stopped(student: Callable[[], Student]):
    orphan = student()
    orphan.wait_for("epoch ")
    orphan.process.send_signal(signal.SIGSTOP)
    other = student()
    owner = f"process {orphan.process.pid} of {HOST}"
    assert f": {owner} works on it; waiting until it is done, or is stopped" in other.wait_for("waiting")
    assert other.end(INT) == (130, f"stopped by SIGINT: {KEPT}")
    orphan.process.send_signal(signal.SIGCONT)
    orphan.wait_for("epoch ")
    assert orphan.end(TERM) == (143, f"stopped by SIGTERM: {RESUMES}")
