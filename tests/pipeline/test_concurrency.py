"""Two commands that want one run at the same time: it is trained once, and both end with it."""

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.killing import stopped, stopping, watch
from kdcore.artefacts import HOST
from tests.pipeline.conftest import TASK, Project

FOLDERS = (f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}")


@pytest.fixture
def begin(finished_copy: Project, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """begin(command, **environment): a new process in the project, all with one store; none outlives the test."""
    started: list[subprocess.Popen[str]] = []
    own = {"KDCORE_WORK": str(tmp_path / "store"), "PYTHONUNBUFFERED": "1"}
    watch(finished_copy)

    def new(*args: str, **environment: str) -> subprocess.Popen[str]:
        environment = finished_copy.environment() | own | environment
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(
                args, cwd=finished_copy.root, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
            )
        )
        return started[-1]

    yield new
    for process in started:
        process.kill()
        process.wait()


def wait_for(process: subprocess.Popen[str], part: str) -> str:
    """The next line of its output with that in it."""
    assert process.stdout is not None
    for line in process.stdout:
        if part in line:
            return line
    pytest.fail(f"ended with {process.wait()} before a line with {part!r}")


def test_of_two_that_want_one_student_the_second_waits_and_finds_it_finished(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
):
    command = ("python", "-m", "kdcore", "student", TASK, "sid", "0", *FOLDERS)
    first = begin(*command, str(tmp_path / "first"), **stopping("student"))
    stopped(first.pid)  # so it is at work when the second comes, however slow that is
    second = begin(*command, str(tmp_path / "second"))
    assert f"process {first.pid} of {HOST} works on it; waiting until it is done" in wait_for(second, "waiting")
    first.send_signal(signal.SIGCONT)
    assert second.stdout is not None
    said = second.stdout.read()
    first.communicate()
    second.wait()
    assert (first.returncode, second.returncode) == (0, 0), said
    assert not re.search(r": epoch \d+ \(", said)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]
