"""Workers that share nothing but a bucket: one dies, hangs or loses the server, and the student is the same, once.

A real S3 server, real processes, real signals; each worker has a cache of its own, as on a machine of its own.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdcore.artefacts import HOST
from tests.pipeline.conftest import TASK, Project
from tests.s3 import BUCKET, Server

pytest.importorskip("s3fs", reason="needs the extra kdcore[s3]")
pytest.importorskip("moto.server", reason="needs moto[server], an S3 server")

FOLDERS = (f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}")
EPOCHS = 80  # of 4 steps each: some seconds, enough to be stopped in


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def place(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished project, whose student would now be trained for longer, with a checkpoint after every step."""
    project = finished.copy(tmp_path_factory.mktemp("bucket"))
    project.edit({"distill.classification_epochs": EPOCHS, "train.checkpoint_seconds": 0})
    return project


@pytest.fixture(scope="module")
def expected(place: Project) -> bytes:
    """The student's weights, by one command that nothing disturbs, with its runs in a folder."""
    where = place.root.parent
    place.run(*command(where / "expected"), KDCORE_WORK=str(where / "work"), warm=True)
    return (where / "expected/model.safetensors").read_bytes()


def command(out: Path) -> tuple[str, ...]:
    return ("python", "-m", "kdcore", "student", TASK, "sid", "0", *FOLDERS, str(out))


class Worker:
    """`kdcore student` on a machine of its own. Its output is read by line."""

    def __init__(self, project: Project, server: Server, folder: Path, name: str) -> None:
        own = {"KDCORE_CACHE": str(folder / name), "KDCORE_WORK": f"s3://{BUCKET}/{folder.name}"}
        often = {"KDCORE_LEASE_SECONDS": "3", "KDCORE_UPLOAD_SECONDS": "0.3", "PYTHONUNBUFFERED": "1"}
        self.out, self.said = folder / f"{name}-out", list[str]()
        self.process = subprocess.Popen(
            command(self.out),
            cwd=project.root,
            env=project.environment() | server.environment | own | often,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, part: str) -> str:
        """The next line with that in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if part in line:
                return line
        pytest.fail(f"ended with {self.process.wait()} before a line with {part!r}:\n{''.join(self.said)}")

    def end(self) -> int:
        """Its exit code, once it has ended; `said` then has all that it said."""
        assert self.process.stdout is not None
        self.said += self.process.stdout
        return self.process.wait()

    @property
    def weights(self) -> bytes:
        return (self.out / "model.safetensors").read_bytes()


@pytest.fixture
def worker(place: Project, server: Server, tmp_path: Path) -> Iterator[Callable[[str], Worker]]:
    """worker(machine): a new one; none outlives the test."""
    started: list[Worker] = []

    def new(name: str) -> Worker:
        started.append(Worker(place, server, tmp_path, name))
        return started[-1]

    yield new
    for one in started:
        one.process.kill()
        one.process.communicate()


def uploaded(server: Server, tmp_path: Path) -> list[str]:
    """The student's whole checkpoints in the bucket."""
    keys = server.keys(f"{tmp_path.name}/student-")
    return [key for key in keys if "/checkpoints/" in key and key.endswith("/seal.json")]


def wait_for_upload(server: Server, tmp_path: Path) -> None:
    end = time.monotonic() + 1200
    while not uploaded(server, tmp_path):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_workers_run_goes_on_elsewhere_and_through_a_server_that_is_away_with_the_same_bits(
    worker: Callable[[str], Worker], server: Server, tmp_path: Path, expected: bytes
):
    first = worker("first")
    first.wait_for("epoch 1 ")
    wait_for_upload(server, tmp_path)
    first.process.send_signal(signal.SIGKILL)
    second = worker("second")
    second.wait_for("goes on at epoch ")
    second.wait_for("epoch ")
    with server.away():
        second.wait_for("does not answer")
        second.wait_for("epoch ")
        time.sleep(4)  # longer than a lease
    assert second.end() == 0, "".join(second.said)
    assert "".join(second.said).count("answers again") == 1
    assert second.weights == expected
    assert uploaded(server, tmp_path) == []


def test_a_worker_that_hung_finds_its_run_taken_over_and_publishes_nothing(
    worker: Callable[[str], Worker], server: Server, tmp_path: Path, expected: bytes
):
    first = worker("first")
    first.wait_for("epoch 1 ")
    wait_for_upload(server, tmp_path)
    first.process.send_signal(signal.SIGSTOP)
    second = worker("second")
    second.wait_for("goes on at epoch ")
    first.process.send_signal(signal.SIGCONT)
    assert first.end() == 75, "".join(first.said)
    told = f"process {second.process.pid} of {HOST} has taken it over: nothing is published; what is made of it in "
    assert told in "".join(first.said)
    assert not first.out.exists()
    assert list((tmp_path / "first").glob("student-*/checkpoints/*/state.json"))
    assert second.end() == 0, "".join(second.said)
    assert second.weights == expected


def test_sigterm_uploads_the_last_checkpoint_and_gives_the_run_back(
    worker: Callable[[str], Worker], server: Server, tmp_path: Path, expected: bytes
):
    first = worker("first")
    first.wait_for("epoch 2 ")
    first.process.send_signal(signal.SIGTERM)
    assert first.end() == 143, "".join(first.said)
    newest = max(path.name for path in (tmp_path / "first").glob("student-*/checkpoints/[0-9]*"))
    assert max(key.split("/")[-2] for key in uploaded(server, tmp_path)) == newest
    second = worker("second")
    assert f", step {int(newest)}\n" in second.wait_for("goes on at epoch ")
    assert not [line for line in second.said if "waiting" in line]
    assert second.end() == 0, "".join(second.said)
    assert second.weights == expected
