"""A bucket for every test, of one real S3 server; and machines, each with a cache of its own, that share it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdcore.artefacts import write_json
from kdcore.runs import Run
from kdcore.store.remote import Remote
from tests.s3 import BUCKET, Server

pytest.importorskip("s3fs", reason="needs the extra kdcore[s3]")
pytest.importorskip("moto.server", reason="needs moto[server], an S3 server")

NAME = "student-0"  # of the run that the machines share


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def url(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new prefix of the server's bucket, which this process uses as its store, with short leases."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KDCORE_LEASE_SECONDS", "2")
    monkeypatch.setenv("KDCORE_UPLOAD_SECONDS", "0.1")
    monkeypatch.setenv("KDCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KDCORE_WORK", f"s3://{BUCKET}/{tmp_path.name}")
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    """machine(name): the run as that machine has it, not taken yet. All let it go when the test ends."""
    made: list[Remote] = []

    def new(name: str) -> Run:
        folder = tmp_path / name / NAME
        write_json(folder / "identity.json", {"seed": 0})
        made.append(Remote(folder, url))
        return Run(folder, made[-1])

    yield new
    for one in made:
        one.release()


@pytest.fixture
def keys(server: Server, tmp_path: Path) -> Callable[[], list[str]]:
    """keys(): those of the run's objects, below its name, but for the lease."""
    start = f"{tmp_path.name}/{NAME}/"
    return lambda: [key.removeprefix(start) for key in server.keys(start) if not key.endswith("/lease")]
