"""Content-addressed runs: what determines a run names its folder, where it resumes or is found finished.

A run lives in `work/<kind>-<fingerprint>/`, which DVC does not know and so never deletes.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdcore import processes
from kdcore.artefacts import digest, named, new_folder, open_sealed, seal, store, write_json
from kdcore.console import say, warn, working_on
from kdcore.errors import LeaseLostError, UserError
from kdcore.store.hold import PARTS, Hold, hold
from kdcore.store.local import drop_rest, is_whole

PATIENCE = 60  # seconds; processes that wait for the first one's answer would give up after minutes


@dataclass(frozen=True)
class Run:
    """One run's folder, held by this process, or by the first of several that work on it together.

    held: its place in the store; None where its folder is all that there is.
    """

    folder: Path
    held: Hold | None = None

    @property
    def result(self) -> Path:
        """The finished run's files; the folder exists only when they are complete."""
        return self.folder / "result"

    @property
    def finished(self) -> bool:
        """Whether the result is there and whole. A damaged one is named and dropped, so that it is made again.

        Where it is, nothing is left to do together: only the first of several processes goes on.
        """
        whole = bool(processes.agreed(lambda: is_whole(self.result)))
        if whole:
            processes.dismiss()
        return whole

    @property
    def lost(self) -> bool:
        """Whether another process has taken the run over; a process that finds it so stops, and publishes nothing."""
        return self.held is not None and self.held.lost

    def check(self) -> None:
        """Raises LeaseLostError where the run is lost."""
        if self.lost:
            raise self.stopped()

    def stopped(self) -> LeaseLostError:
        """What to raise then."""
        holder = self.held.owner() if self.held else "another process"
        kept = f"nothing is published; what is made of it in {self.folder} is kept"
        return LeaseLostError(f"{self.folder.name}: {holder} has taken it over: {kept}")

    def finish(self, write: Callable[[Path], None], parts: Sequence[Path] = (), **facts: Any) -> Path:
        """Write the result through `write(folder)`, seal it with the facts, drop what it was made of, and publish it.

        parts: results of other runs whose files it has too, so that a bucket need not have them twice. Only the first
        of several processes goes on from here. Raises LeaseLostError where the run is another's by now.
        """
        processes.dismiss()
        with new_folder(self.result) as aside:
            write(aside)
            seal(aside, **facts)
        if parts:
            write_json(self.folder / PARTS, [part.parent.name for part in parts])
        drop_rest(self.folder)
        if self.held:
            self.held.publish()
        return self.result

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep what `write(folder)` writes as a checkpoint; the one before it is kept, older ones go."""
        with new_folder(self._checkpoint(step)) as aside:
            write(aside)
            seal(aside)
        for old in self._checkpoints()[:-2]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self) -> Path | None:
        """The folder of the newest checkpoint that is whole, or None. A damaged one is named, dropped and passed over.

        Several processes go on from the one that the first finds.
        """
        step = processes.agreed(self._newest)
        if step < 0:
            return None
        folder = self._checkpoint(step)
        if not folder.is_dir():
            raise UserError(str(folder), "is not on this machine: machines that train together share one `work/`")
        return folder

    def _newest(self) -> int:
        """The step of the newest checkpoint that is as it was written, or -1."""
        for folder in reversed(self._checkpoints()):
            try:
                open_sealed(folder, "dvc repro")
                return int(folder.name)
            except UserError as error:
                warn(f"checkpoint is damaged, falling back to the one before it: {error}")
                shutil.rmtree(folder, ignore_errors=True)
        return -1

    def _checkpoint(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"{step:09d}"

    def _checkpoints(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("[0-9]*"))


def result_of(kind: str, identity: dict[str, Any]) -> Path | None:
    """The result of the run that `identity` determines, where it is finished; a bucket's is brought here.

    Its files are not verified where it was here already.
    """
    folder = _folder(kind, identity)
    return Run(folder).result if hold(folder).find() else None


def result_here(kind: str, identity: dict[str, Any]) -> Path | None:
    """As `result_of`, where it is on this machine; a bucket is not asked."""
    result = Run(_folder(kind, identity)).result
    return result if result.is_dir() else None


def is_finished(kind: str, identity: dict[str, Any]) -> bool:
    """Whether the run that `identity` determines has a result, here or in a bucket; nothing is brought here."""
    return hold(_folder(kind, identity)).is_there()


def name_of(kind: str, identity: dict[str, Any]) -> str:
    """The name of the run that `identity` determines, and of its folder in the store."""
    return f"{kind}-{digest(identity)[:20]}"


def _folder(kind: str, identity: dict[str, Any]) -> Path:
    return store() / name_of(kind, identity)


@contextmanager
def open_run(kind: str, identity: dict[str, Any]) -> Iterator[Run]:
    """Hold the run that `identity` determines; create its folder on first use.

    Where another process holds it, this one says so once and waits: it then finds the run finished, or goes on from
    its last checkpoint. Of several processes that work together the first holds the run for all. A disk error that
    names no file is said of the run's folder.
    """
    name = digest(identity)
    folder = _folder(kind, identity)
    folder.mkdir(parents=True, exist_ok=True)
    _check_same(folder, int(name[:15], 16))
    if (folder / "result").is_dir() and not os.access(folder, os.W_OK):  # a group's store: finished runs can be read
        yield Run(folder)
        return
    held = hold(folder)
    try:
        with named(folder), working_on(folder.name):
            _take(held, folder.name)
            if processes.first():
                write_json(folder / "identity.json", identity)
            yield Run(folder, held)
    finally:
        held.release()


def _check_same(folder: Path, number: int) -> None:
    """Raises UserError where processes that are to train together were given different runs."""
    if processes.agreed(lambda: number) != number:
        raise UserError(
            str(folder), "the first process works on another run: give every machine the same code, params and data"
        )


def _take(held: Hold, name: str) -> None:
    """Take a run; while another process has it, say once who, and wait."""
    if not processes.agreed(lambda: held.take(0)):
        say(f"{name}: {held.owner()} works on it; waiting until it is done, or is stopped")
        while not processes.agreed(lambda: held.take(PATIENCE)):
            pass
