"""What `kdcore doctor` finds: where the store is, whether its locks or leases can be trusted, and who holds what."""

import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout

from kdcore import __version__
from kdcore.artefacts import HOST, store
from kdcore.console import size
from kdcore.errors import UserError
from kdcore.store.bucket import Bucket, bucket
from kdcore.store.hold import bucket_url
from kdcore.store.lease import Lease, holders
from kdcore.store.local import Local
from kdcore.store.locks import ONLY_HERE, TRY, locks_of

LIBRARIES = ("torch", "transformers", "dvc", "filelock", "s3fs", "ray")


def examine() -> Iterator[str]:
    """Yield what is found, a line each. Raises UserError where the store cannot be used, or not by several machines."""
    yield f"kdcore      {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield f"libraries   {', '.join(f'{name} {_version(name)}' for name in LIBRARIES)}"
    url = bucket_url()
    if url:
        yield from _bucket(bucket(url))
    yield from _folder(store(), "cache" if url else "store")


def _bucket(found: Bucket) -> Iterator[str]:
    yield f"store       {found.url}, a bucket at {found.endpoint}"
    held, names = holders(found), list(found.sizes(""))
    finished = sum(name.endswith("/result/seal.json") for name in names)
    trial = Lease(found, f"doctor-{HOST}/lease", "kdcore doctor", 1.0)
    if trial.claim():  # which proves it
        trial.release()
    yield "leases      can be trusted: the server heeds the conditions of writes (If-None-Match, If-Match)"
    yield f"runs        {finished} finished, {_in_words(held)}"


def _folder(folder: Path, what: str) -> Iterator[str]:
    yield f"{what:<11} {folder.resolve()}, {size(shutil.disk_usage(folder).free)} free"
    locks = locks_of(folder)
    _check_locks(folder)
    if locks.hold is False and what == "store":
        raise UserError(str(folder), f"{ONLY_HERE} ({locks.why})")
    trust = {True: "can be trusted", None: f"hold between processes here, between machines unknown; {TRY}"}
    yield f"locks       {trust.get(locks.hold, 'hold on this machine only')} ({locks.why})"
    results = list(folder.glob("*/result"))
    yield f"runs here   {len(results)} finished, {_in_words(_holders(folder))}"


def _check_locks(folder: Path) -> None:
    """Raises UserError where the file system gives one lock to two."""
    file = folder / f".doctor.{HOST}"
    try:
        with FileLock(file, timeout=10):
            try:
                with FileLock(file, timeout=0):
                    pass
            except Timeout:
                return
        raise UserError(str(folder), "its file system gives one lock to two; set KDCORE_WORK to another")
    finally:
        file.unlink(missing_ok=True)


def _holders(folder: Path) -> dict[str, str]:
    """Run -> who works on it now, of the runs of a folder."""
    held = {}
    for lock in sorted(folder.glob("*/lock")):
        run = Local(lock.parent)
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            held[run.folder.name] = run.owner()
        except OSError:  # of a store that is read-only
            continue
    return held


def _in_words(held: dict[str, str]) -> str:
    listed = "".join(f"\n            {run}: {owner}" for run, owner in held.items())
    return f"{len(held)} worked on{':' if held else ''}{listed}"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"
