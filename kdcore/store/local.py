"""A run in a folder: held through a file lock, which goes with its process, however that ends."""

import os
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from kdcore.artefacts import HOST, open_sealed, write_bytes
from kdcore.console import warn
from kdcore.errors import UserError
from kdcore.store.locks import warn_of_local_locks


class Local:
    """The hold of a run whose folder all who share the store see: the file `lock`, and `owner` that says who has it."""

    lost = False  # the lock is this process's until it ends

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / "lock")

    def is_there(self) -> bool:
        return (self.folder / "result").is_dir()

    find = is_there

    @property
    def taken(self) -> bool:
        return self._lock.is_locked

    def take(self, seconds: float) -> bool:
        if self.taken:
            return True
        try:
            self._lock.acquire(timeout=seconds, poll_interval=0.5)
        except Timeout:
            return False
        warn_of_local_locks(self.folder.parent)
        write_bytes(self.folder / "owner", this_process().encode())
        return True

    def owner(self) -> str:
        owner = self.folder / "owner"
        return owner.read_text(encoding="utf-8") if owner.exists() else "another process"

    def publish(self) -> None:
        """It is where all see it already."""

    def release(self) -> None:
        self._lock.release()


def this_process() -> str:
    """Its name in messages, on this machine and on others."""
    return f"process {os.getpid()} of {HOST}"


def drop_rest(folder: Path) -> None:
    """Drop what a finished run was made of; one that was killed as it finished may have left it."""
    for name in ("checkpoints", "partial"):
        shutil.rmtree(folder / name, ignore_errors=True)


def is_whole(result: Path) -> bool:
    """Whether a finished run's result is there, and is as it was written. A damaged one is named and dropped."""
    if not result.is_dir():
        return False
    drop_rest(result.parent)  # first: files of a damaged result may be those that it was made of
    try:
        open_sealed(result, "dvc repro")
    except UserError as error:
        warn(f"a finished run is damaged and made again: {error}")
        shutil.rmtree(result)
        return False
    return True
