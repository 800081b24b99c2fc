"""Runs of their own for every test, and a tiny task that is prepared, taught and extracted once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdcore import interrupt


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of runs, for this test only."""
    folder = tmp_path / "work"
    monkeypatch.setenv("KDCORE_WORK", str(folder))
    return folder


@pytest.fixture
def no_request(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A function that forgets the signal that this process got, as a new process would not know of it."""

    def forget() -> None:
        monkeypatch.setattr(interrupt, "_requested", 0)

    forget()
    yield forget
    forget()


@pytest.fixture(scope="session")
def tiny_ingredients(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[..., Path]):
    """Data, teacher and signals of a tiny task (tests.on_disk.Ingredients). Read only."""
    from tests import on_disk

    folder = tmp_path_factory.mktemp("tiny-task")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCORE_WORK", str(folder / "work"))
        return on_disk.ingredients(folder, tiny_folder("bert"))
