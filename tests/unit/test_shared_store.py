"""A store that a group shares: it may be read-only, and its file system may give out no locks."""

import errno
import os
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from kdcore.artefacts import HOST, SMALL, check_file, check_folder, open_sealed, publish, seal
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


def test_a_result_that_this_user_may_not_read_is_no_damaged_one(store: Path, monkeypatch: pytest.MonkeyPatch):
    """Of another user with a umask of 077: it would be removed, and trained again."""
    finish("weights")
    read = Path.read_text

    def refuse(path: Path, *args: object, **named: object) -> str:
        if path.name == "manifest.json":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PermissionError, match=r"manifest\.json"), open_run("student", {"seed": 0}) as run:
        assert run.finished
    assert len([*store.glob("student-*/result/model")]) == 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_store_that_cannot_even_be_made_keeps_nobody_from_a_result(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    """As in another user's project, whose student is asked."""
    mkdir = Path.mkdir

    def refuse(path: Path, *args: object, **named: object) -> None:
        if path == store or store in path.parents:
            raise OSError(number, os.strerror(number), str(path))
        mkdir(path, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", refuse)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_bytes(b"x" * (SMALL + 1))
    seal(tmp_path / "model")
    open_sealed(tmp_path / "model", "")
    publish(tmp_path / "out/table.md", b"one")
    assert (tmp_path / "out/table.md").read_bytes() == b"one"
    assert not store.exists()


def test_where_nothing_may_be_written_that_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for check in (check_file, check_folder):
        with pytest.raises(PermissionError, match=r"out\.csv"):
            check(tmp_path / "new/out.csv")
    assert not [*tmp_path.iterdir()]


def test_what_another_users_killed_process_left_keeps_nobody_from_writing(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
):
    """In a folder like /tmp, where nobody may remove it but its owner."""
    left = tmp_path / f".table.md.{HOST}.99999999"
    left.write_text("half")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == left:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    publish(tmp_path / "table.md", b"one")
    assert (tmp_path / "table.md").read_bytes() == b"one"


def test_results_can_be_written_though_the_store_cannot(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    store.mkdir()
    monkeypatch.setattr(Path, "touch", refuse)
    publish(tmp_path / "table.md", b"one")
    assert (tmp_path / "table.md").read_bytes() == b"one"
    with pytest.raises(UserError, match="kdcore did not write it"):  # it can't tell: then it is kept
        publish(tmp_path / "table.md", b"two")
