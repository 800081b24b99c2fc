"""Content-addressed runs: what determines a run names its folder, where it resumes or is found finished.

A run lives in `work/<kind>-<fingerprint>/`, which DVC does not know and so never deletes.
"""

import ast
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kdcore.artefacts import digest, new_folder, open_sealed, seal, write_json
from kdcore.console import warn
from kdcore.errors import UserError

# The modules whose code decides what a run computes: a change in one of them makes new runs.
CODE = (
    "data/batches",
    "data/examples",
    "data/metrics",
    "model/build",
    "model/cost",
    "model/encoder",
    "model/layers",
    "model/predict",
    "distil/losses",
    "distil/objective",
    "distil/schedule",
    "distil/signals",
    "distil/training",
    "distil/validation",
)


def store() -> Path:
    """Where runs live: `work/` of the project, shared by DVC's temporary workspaces through DVC_ROOT; now it exists."""
    folder = Path(os.environ.get("KDCORE_WORK") or Path(os.environ.get("DVC_ROOT", ".")) / "work")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def code_digest(modules: tuple[str, ...] = CODE) -> str:
    """What the modules compute: comments and formatting don't count."""
    folder = Path(__file__).parent
    sources = {module: (folder / f"{module}.py").read_text(encoding="utf-8") for module in modules}
    return digest({module: ast.unparse(ast.parse(source)) for module, source in sources.items()})


@dataclass(frozen=True)
class Run:
    """One run's folder, held by this process."""

    folder: Path

    @property
    def result(self) -> Path:
        """The finished run's files; the folder exists only when they are complete."""
        return self.folder / "result"

    @property
    def finished(self) -> bool:
        """Whether the result is there and whole. A damaged one is named and dropped, so that it is made again."""
        if not self.result.is_dir():
            return False
        try:
            open_sealed(self.result, "dvc repro")
        except UserError as error:
            warn(f"a finished run is damaged and made again: {error}")
            shutil.rmtree(self.result)
            return False
        return True

    def finish(self, write: Callable[[Path], None], **facts: Any) -> Path:
        """Write the result through `write(folder)`, seal it with the facts, and drop the checkpoints."""
        with new_folder(self.result) as aside:
            write(aside)
            seal(aside, **facts)
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
        return self.result

    def save(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write a checkpoint; the one before it is kept, older ones go."""
        with new_folder(self._checkpoint(step)) as aside:
            save_file(tensors, aside / "tensors.safetensors")
            write_json(aside / "state.json", state)
            seal(aside)
        for old in self._checkpoints()[:-2]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest checkpoint that is whole, or None. A damaged one is named, dropped and passed over."""
        for folder in reversed(self._checkpoints()):
            try:
                open_sealed(folder, "dvc repro")
                state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                return load_file(folder / "tensors.safetensors"), state
            except (UserError, SafetensorError) as error:
                warn(f"checkpoint is damaged, falling back to the one before it: {error}")
                shutil.rmtree(folder, ignore_errors=True)
        return None

    def _checkpoint(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"{step:09d}"

    def _checkpoints(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("[0-9]*"))


@contextmanager
def open_run(kind: str, identity: dict[str, Any]) -> Iterator[Run]:
    """Hold the run that `identity` determines; create its folder on first use.

    Raises UserError with the owner's process id where another process holds it.
    """
    folder = store() / f"{kind}-{digest(identity)[:20]}"
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(folder / "lock"), folder / "owner"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = owner.read_text(encoding="utf-8") if owner.exists() else "unknown"
        raise UserError(
            str(folder), f"this run is in the hands of process {pid}; wait for it, or stop it and run again"
        ) from None
    try:
        owner.write_text(str(os.getpid()), encoding="utf-8")
        write_json(folder / "identity.json", identity)
        yield Run(folder)
    finally:
        lock.release()
