"""A store that a group shares: it may be read-only, and its file system may give out no locks."""

import errno
import os
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from kdcore.artefacts import check_file, publish
from kdcore.distil import checkpoint
from kdcore.door import explained
from kdcore.errors import UserError
from kdcore.runs import open_run


def finish(result: str) -> None:
    with open_run("student", {"seed": 0}) as run:
        run.finish(lambda folder: (folder / "model").write_text(result) and None)


@pytest.fixture
def read_only(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one finished run, in which nothing can be made any more, as on a disk mounted read-only."""
    finish("weights")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("write_bytes", "write_text", "touch"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(FileLock, "acquire", refuse)
    return store


def test_a_finished_run_of_a_read_only_store_is_found(read_only: Path):
    before = sorted(read_only.rglob("*"))
    with open_run("student", {"seed": 0}) as run:
        assert run.finished
        assert (run.result / "model").read_text() == "weights"
    assert sorted(read_only.rglob("*")) == before


def test_a_new_run_needs_a_store_that_can_be_written(read_only: Path):
    with pytest.raises(OSError, match="Read-only file system") as caught, open_run("student", {"seed": 1}):
        pass
    assert "make it writable, or work in another folder" in explained(caught.value)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESTALE])
def test_a_file_system_without_locks_has_advice(store: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        finish("weights")
    assert str(store) in explained(caught.value)
    assert "let its server give out locks, or set KDCORE_WORK to a folder on another disk" in explained(caught.value)


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_what_a_run_writes_has_the_mode_that_the_umask_gives(store: Path, umask: int):
    """From its lock and its checkpoints to its result: a group's members read it, and go on with it."""
    before = os.umask(umask)
    try:
        with open_run("student", {"seed": 0}) as run:
            weights = {"weights": torch.ones(2)}  # safetensors writes 0600
            run.save(1, lambda folder: checkpoint.write(folder, weights, {"step": 1}))
        finish("weights")
        publish(store.parent / "table.md", b"one")
    finally:
        os.umask(before)
    made = [store.parent / "table.md", *store.rglob("*")]
    assert {path.name for path in made} >= {"lock", "owner", "identity.json", "model", "manifest.json", "table.md"}
    wrong = [path for path in made if path.stat().st_mode & 0o777 != (0o777 if path.is_dir() else 0o666) & ~umask]
    assert wrong == []


def test_in_a_read_only_store_without_notes_what_is_there_is_kept(read_only: Path, tmp_path: Path):
    with (tmp_path / "mine.csv").open("w") as file:
        file.write("years of work")
    with pytest.raises(UserError, match="kdcore did not write it"):
        check_file(tmp_path / "mine.csv")
    assert not (read_only / "written").exists()


def test_results_can_be_written_though_the_store_cannot(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    store.mkdir()
    monkeypatch.setattr(Path, "touch", refuse)
    publish(tmp_path / "table.md", b"one")
    assert (tmp_path / "table.md").read_bytes() == b"one"
    with pytest.raises(UserError, match="kdcore did not write it"):  # it can't tell: then it is kept
        publish(tmp_path / "table.md", b"two")
