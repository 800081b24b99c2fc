"""What of a run lies in a bucket, and in its folder here: the result and the checkpoints, written there, brought here.

Below the run's name: `identity.json`, and sealed folders, `result` and `checkpoints/<step>`.
"""

import json
import shutil
from pathlib import Path

from kdcore.artefacts import link_folder, write_bytes
from kdcore.console import warn
from kdcore.errors import LeaseLostError
from kdcore.store.bucket import Bucket, RefusedError
from kdcore.store.hold import PARTS
from kdcore.store.local import is_whole
from kdcore.store.objects import SEAL, DamagedError, contents, download, seal_of, upload

KEPT = 2  # checkpoints, as here: a damaged one gives way to the one before it


class Mirror:
    """One run, in its folder and in the bucket. Who writes there must hold its lease."""

    def __init__(self, folder: Path, bucket: Bucket) -> None:
        self.folder, self.bucket, self.name = folder, bucket, folder.name
        self._result, self._published = folder / "result", folder / "published"
        self._uploaded, self._damaged = "", list[str]()

    # The result

    def is_known(self) -> bool:
        """Whether the result is here, and this bucket is known to have it."""
        published = self._published.exists() and self._published.read_text(encoding="utf-8") == self.bucket.url
        return published and self._result.is_dir()

    def is_there(self) -> bool:
        """Whether the bucket has a result."""
        return self.bucket.patiently(seal_of, self.bucket, f"{self.name}/result") is not None

    def bring_result(self) -> bool:
        """Whether the run is finished, with its result whole in its folder; it is downloaded where it is not there.

        A damaged one is named and counts as none.
        """
        here = is_whole(self._result)
        if here and self.is_known():
            return True
        key = f"{self.name}/result"
        seal = self.bucket.patiently(seal_of, self.bucket, key)
        if seal is None:
            return False
        try:
            if not here or contents(self._result) != seal["files"]:
                shutil.rmtree(self._result, ignore_errors=True)
                download(self.bucket, key, seal, self._result)
        except DamagedError as error:
            if not self._damaged:
                warn(f"a finished run is damaged and made again: {error}")
            self._damaged = error.objects
            return False
        self._note()
        return True

    def publish(self) -> None:
        """Upload the finished result; its seal comes last.

        Raises LeaseLostError where another result is there by then.
        """
        key = f"{self.name}/result"
        patiently, put = self.bucket.patiently, self.bucket.put
        self._drop_damaged()
        parts = self.folder / PARTS
        others = json.loads(parts.read_text(encoding="utf-8")) if parts.exists() else []
        seal = upload(self.bucket, self._result, key, others=[f"{name}/result" for name in others])
        identity = json.loads((self.folder / "identity.json").read_text(encoding="utf-8"))
        patiently(put, f"{self.name}/identity.json", identity)
        try:
            patiently(put, f"{key}/{SEAL}", seal, new=True)
        except RefusedError as error:
            if patiently(seal_of, self.bucket, key) != seal:  # else written by a try whose answer was lost
                raise LeaseLostError("another process has published its result") from error
        self._note()
        patiently(self._remove, list(patiently(self._checkpoints)))

    def _note(self) -> None:
        write_bytes(self._published, self.bucket.url.encode())

    def _drop_damaged(self) -> None:
        """Take away the seal first, and what is damaged: what is whole need not be uploaded again."""
        if self._damaged:
            doomed = [f"{self.name}/result/{SEAL}", *self._damaged]
            patiently, sizes = self.bucket.patiently, self.bucket.sizes
            patiently(self.bucket.remove, doomed[:1])
            folders = {key.rpartition("/")[0] for key in doomed}
            there = {place: patiently(sizes, place) for place in folders}
            left = [key for key in doomed if key.rpartition("/")[2] in there[key.rpartition("/")[0]]]
            patiently(self.bucket.remove, left)
            self._damaged = []

    # Checkpoints

    def bring_checkpoint(self) -> None:
        """Download the newest whole checkpoint, where it is newer than those here. A damaged one is named."""
        patiently = self.bucket.patiently
        newest = max(map(int, self._here()), default=-1)
        there = [step for step, files in patiently(self._checkpoints).items() if SEAL in files]
        for step in sorted((step for step in there if int(step) > newest), reverse=True):
            key = f"{self.name}/checkpoints/{step}"
            seal = patiently(seal_of, self.bucket, key)
            try:
                if seal is not None:
                    download(self.bucket, key, seal, self.folder / "checkpoints" / step)
                    self._uploaded = step
                    return
            except DamagedError as error:
                warn(f"checkpoint is damaged, falling back to the one before it: {error}")

    def upload_checkpoint(self, patience: float) -> None:
        """Upload the newest checkpoint where it is not there yet; older ones go."""
        if not (here := self._here()) or here[-1] == self._uploaded:
            return
        aside = self.folder / "uploading"  # by another name: the folder itself goes when newer ones are there
        shutil.rmtree(aside, ignore_errors=True)
        try:
            link_folder(self.folder / "checkpoints" / here[-1], aside)
            key = f"{self.name}/checkpoints/{here[-1]}"
            seal = upload(self.bucket, aside, key, patience)
            self.bucket.patiently(self.bucket.put, f"{key}/{SEAL}", seal, patience=patience)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self._uploaded = here[-1]
        there = self.bucket.patiently(self._checkpoints, patience=patience)
        kept = sorted(int(step) for step, files in there.items() if SEAL in files)[-KEPT:]
        self._remove([step for step in there if kept and int(step) < kept[0]])  # none: another process has finished it

    def _here(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "checkpoints").glob("[0-9]*"))

    def _checkpoints(self) -> dict[str, list[str]]:
        """The names of the objects of every checkpoint in the bucket, by its step."""
        found = dict[str, list[str]]()
        for name in self.bucket.sizes(f"{self.name}/checkpoints"):
            step, _, file = name.partition("/")
            found.setdefault(step, []).append(file)
        return {step: files for step, files in found.items() if step.isdecimal()}

    def _remove(self, steps: list[str]) -> None:
        """Remove these checkpoints from the bucket, their seals first."""
        there = self._checkpoints() if steps else {}
        keys = [f"{self.name}/checkpoints/{step}/{file}" for step in steps for file in there.get(step, ())]
        self.bucket.remove([key for key in keys if key.endswith(SEAL)])
        self.bucket.remove([key for key in keys if not key.endswith(SEAL)])
