"""Folders that are complete or absent: written aside, sealed with checksums, moved into place, verified when read.

Nothing that kdcore did not make is ever removed or overwritten: what takes a place is checked against what is there.
"""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from kdcore.errors import UserError

MANIFEST = "manifest.json"
LFS = b"version https://git-lfs.github.com/spec/"  # the first bytes of what Git has in the place of a large file
HOST = socket.gethostname()  # several machines may share a store
CLOCK = 2.0  # seconds by which a file's time may be rounded
MACHINE = [HOST, uuid.getnode()]  # whose disk a file is on; two machines may have one name
SMALL = 2**20  # bytes of a file that is read whenever it is opened
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
NETWORK = (ConnectionError, TimeoutError, socket.gaierror)  # OSErrors too, but of no file


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state(path: Path) -> list[int]:
    """A file as it is on this machine: a write changes one of these, if only the time of change."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def store() -> Path:
    """Where runs live on this machine; now it exists."""
    folder = place_of_store()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def place_of_store() -> Path:
    """KDCORE_WORK, or KDCORE_CACHE where that names a bucket; nothing need be there.

    Else it is `work/` of the project, shared by DVC's temporary workspaces through DVC_ROOT.
    """
    told = os.environ.get("KDCORE_WORK", "")
    told = os.environ.get("KDCORE_CACHE", "") if "://" in told else told
    return Path(told or Path(os.environ.get("DVC_ROOT", ".")) / "work")


# Writing


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is either the old one or the whole new one."""
    write_bytes(path, _json(value))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the whole new one; folders are made as needed."""
    with _aside(path) as aside:
        aside.write_bytes(content)
        _flush(aside)
        aside.replace(path)


def write_copy(path: Path, source: Path) -> None:
    """As write_bytes, with what is in another file, of any size."""
    with _aside(path) as aside:
        shutil.copyfile(source, aside)
        _flush(aside)
        aside.replace(path)


def publish(path: Path, content: Any) -> None:
    """Write a result (bytes, or a value as JSON) where a user may have files of his own.

    Raises UserError where one is there that kdcore did not write, or that was changed since.
    """
    publish_all({path: content if isinstance(content, bytes) else _json(content)})


def publish_all(contents: Mapping[Path, bytes]) -> None:
    """Write several results, or, where the user has a file in the place of one, none of them."""
    new = {path: content for path, content in contents.items() if not _holds(path, content)}
    for path in new:
        check_file(path)
    for path, content in new.items():
        _keep(_note(path.name, io.BytesIO(content)))
        write_bytes(path, content)


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file, and no link to one, has exactly this content."""
    is_file = path.is_file() and not path.is_symlink()
    return is_file and path.stat().st_size == len(content) and path.read_bytes() == content


def vouch(path: Path) -> None:
    """Have a file that is there taken for published: somebody else knows that kdcore wrote it."""
    with path.open("rb") as content:
        _keep(_note(path.name, content))


def _note(name: str, content: io.BytesIO | io.BufferedReader) -> Path:
    """A file of the store that exists where kdcore published exactly this content under this name."""
    both = hashlib.file_digest(content, lambda: hashlib.sha256(name.encode() + b"\0"))
    return place_of_store() / "written" / both.hexdigest()


def _is_kept(note: Path) -> bool:
    return os.path.exists(note)  # unlike Path.exists, False where this user may not look


def _keep(note: Path) -> None:
    """Leave a note in the store, where this user may: what has none is protected from kdcore, and read again."""
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to write in; it becomes `path` when the block ends, and is gone when it fails.

    Raises UserError where `path` holds anything but what kdcore made: sealed files, and published ones.
    """
    check_folder(path)
    with _aside(path, ".old") as old, _aside(path) as aside:
        aside.mkdir()
        yield aside
        readable = aside.stat().st_mode & 0o666  # what the umask gives; safetensors lets nobody else read
        for file in _files(aside):
            if file.stat().st_nlink == 1:
                file.chmod(readable)
            _flush(file)
        if path.exists():
            path.replace(old)  # one step: of a folder that is half removed, nothing would say what kdcore made of it
        aside.replace(path)
        _flush(path.parent)


def linking(source: Path) -> Callable[[Path], None]:
    """A function that fills a folder with hard links to the files of `source`, less its notes (*.json).

    `source` stays whole, so that who is killed before the folder is sealed has lost nothing.
    """

    def fill(target: Path) -> None:
        for file in source.iterdir():
            if file.suffix != ".json":
                link(file, target / file.name)

    return fill


# What may be replaced


def check_folder(path: Path, *inputs: Path) -> None:
    """Raises UserError where a folder at `path`, replaced as a whole, would take away what kdcore did not make.

    Kdcore's is what the folder's own manifest says, file by file and bit by bit, and what was published.
    inputs: what the command reads: the folder must neither contain one nor lie in one.
    """
    check_place(path, *inputs)
    here = _real(path)
    for source in inputs:
        if here in _real(source).parents:
            raise UserError(str(path), f"contains {source}, an input of this command; write elsewhere")
        if _real(source) in here.parents:
            raise UserError(str(path), f"is in {source}, an input of this command; write elsewhere")
    if path.exists() and not path.is_dir():
        raise UserError(str(path), "must be a folder that kdcore made, or nothing, found a file; move it away")
    ours = set(_as_sealed(path))
    entries = _entries(path) if path.exists() else ()
    foreign = next((file for file in entries if file not in ours and not published(file)), None)
    if foreign is not None:  # it may be anybody's home: the rest is not looked at
        problem = f"holds what kdcore did not make, or what was changed since: {foreign.relative_to(path)}"
        raise UserError(str(path), f"{problem}; move it away, or write elsewhere")
    _check_permission(path)


def check_file(path: Path, *inputs: Path) -> None:
    """Raises UserError where writing the file `path` would take away what kdcore did not write, or an input."""
    check_place(path, *inputs)
    if path.is_dir():
        raise UserError(str(path), "must be a file, found a folder")
    if path.exists() and not published(path):
        raise UserError(
            str(path),
            "is there, and kdcore did not write it, or it was changed since; move it away, or write elsewhere",
        )
    _check_permission(path)


def check_place(path: Path, *inputs: Path) -> None:
    """Raises UserError where `path` is no place for results: a link, an input, the folder at work or one around it, or
    below a file."""
    here, at_work = _real(path), _real(Path.cwd())
    if path.is_symlink():
        raise UserError(str(path), f"is a link to {os.readlink(path)}; name the place itself")
    if here == at_work or here in at_work.parents:
        raise UserError(str(path), f"is the folder that you work in, or one around it ({at_work}); write elsewhere")
    around = nearest(path.parent)
    if not around.is_dir():
        raise UserError(str(path), f"can't be written: {around} is a file, not a folder")
    for source in inputs:
        if here == _real(source) or (path.is_file() and source.is_file() and path.samefile(source)):
            raise UserError(str(path), "is an input of this command, which is never overwritten; write elsewhere")


def nearest(folder: Path) -> Path:
    """The folder itself where it exists, else the nearest one around it that does."""
    here = folder.absolute()
    return next(one for one in (here, *here.parents) if one.exists())


def _real(path: Path) -> Path:
    """Where a path leads, for those that are there; one whose links lead in a circle stays as it is."""
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError there


def _check_permission(path: Path) -> None:
    """Raises OSError where this user may not make, or replace, `path`: now, and not after hours of work."""
    around = nearest(path.parent)
    if not os.access(around, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(around).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(number, os.strerror(number), str(path))


def _as_sealed(folder: Path) -> Iterator[Path]:
    """The files that a folder's own manifest names and that are as it says, and the manifest where there are any."""
    try:
        files = read_manifest(folder, "")["files"].items()
    except UserError:
        return
    said = {folder / name: facts for name, facts in files if isinstance(facts, dict)}
    whole = [file for file, facts in said.items() if differs(file, facts) is None]
    for file in whole:
        yield file
        if file.name == MANIFEST:
            yield from _as_sealed(file.parent)
    if whole:
        yield folder / MANIFEST


def published(path: Path) -> bool:
    """Whether kdcore published exactly this file, as far as this store knows: nothing of what came with a clone."""
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as content:  # of any size, as it may be the user's
        return _is_kept(_note(path.name, content))


def _entries(folder: Path) -> Iterator[Path]:
    """Every file, link and empty folder in a folder, one by one."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
            yield path
        else:
            yield from _entries(path)


@contextmanager
def _aside(path: Path, kind: str = "") -> Iterator[Path]:
    """A name beside `path` to write under first. Nothing stays there, nor what killed processes left."""
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        start = f".{path.name}{kind}.{HOST}."
        for left in path.parent.iterdir():
            if left.name.startswith(start) and left.name.removeprefix(start).isdecimal() and not _owned(left):
                with suppress(PermissionError):  # another user's, in a folder like /tmp
                    _remove(left)
        aside = path.with_name(f"{start}{os.getpid()}")
        try:
            yield aside
        finally:
            _remove(aside)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """A disk error inside that names no file, or only a name aside, is raised as an OSError that names `path`."""
    try:
        yield
    except Exception as error:
        if (reason := _disk_error(error, path)) is None:
            raise
        raise OSError(*reason, str(path)) from error


def _disk_error(error: Exception, path: Path) -> tuple[int, str] | None:
    """Number and reason of a disk error that concerns `path`; of some libraries' errors only the text tells."""
    text = str(error)
    if isinstance(error, OSError):
        aside = rf"\.{re.escape(path.name)}(\.old)?\.{re.escape(HOST)}\."
        # A copy that fails names what it read first, then what it wrote.
        about = error.filename is None or re.search(aside, f"{error.filename}\n{error.filename2}")
        if not about or isinstance(error, NETWORK):
            return None
        if error.errno is None and re.search(r"^\d+ requested and \d+ written", text):  # numpy
            return errno.ENOSPC, f"could be written in part only ({text})"
        return (error.errno, os.strerror(error.errno)) if error.errno is not None else None
    number = None if isinstance(error, UserError) else re.search(r"\(os error (\d+)\)", text)  # Rust
    return (int(number[1]), os.strerror(int(number[1]))) if number else None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _owned(left: Path) -> bool:
    """Whether the process that began to write under this name, which ends with its id, is still at it.

    One that was killed may stay as a zombie, and its id may be that of a later process by now.
    """
    try:
        pid = int(left.suffix[1:])
        process = psutil.Process(pid)
        if pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.create_time() <= left.lstat().st_mtime + _behind(left.parent) + CLOCK
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    except psutil.AccessDenied:  # another user's, on some systems
        return True


def _behind(folder: Path) -> float:
    """Seconds by which the clock of this folder's file system is behind the machine's, as a server's may be."""
    probe = folder / f".clock.{HOST}.{os.getpid()}"
    try:
        probe.touch()
        return max(0.0, time.time() - probe.stat().st_mtime)
    finally:
        probe.unlink(missing_ok=True)


# Sealing


def seal(folder: Path, **facts: Any) -> None:
    """Write manifest.json: the facts, and size and sha256 of every file; of a sealed folder inside, its manifest's."""
    inner = [file.parent for file in _files(folder) if file.name == MANIFEST and file.parent != folder]
    own = [file for file in _files(folder) if file.name == MANIFEST or not set(inner) & set(file.parents)]
    files = {str(file.relative_to(folder)): {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in own}
    write_json(folder / MANIFEST, {**facts, "files": files})


def read_manifest(folder: Path, rerun: str) -> dict[str, Any]:
    """The manifest of a sealed folder. Where it is none, raises UserError that says what to run (`rerun`).

    Raises OSError where this user may not read it, or the disk fails: nobody may take the folder for damaged then.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest["files"].items()
    except (*ABSENT, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(str(folder), f"{MANIFEST} can't be read ({error}); run `{rerun}`") from error
    return manifest


def open_sealed(folder: Path, rerun: str, only: Collection[str] = ()) -> dict[str, Any]:
    """The manifest of a sealed folder whose files are all as they were written, or those that are named (`only`).

    Raises UserError that names each file that is missing or changed, and what to run (`rerun`).
    """
    manifest = read_manifest(folder, rerun)
    problems = [
        f"{name}: {problem}; run `{rerun}`"
        for name, facts in manifest["files"].items()
        if (not only or name in only) and (problem := _problem(folder / name, facts))
    ]
    if problems:
        raise UserError(str(folder), problems)
    return manifest


def proved(value: Mapping[str, Any]) -> dict[str, Any]:
    """A result to publish as JSON, with a key `sha256` of all the rest: it proves the file wherever that is read."""
    return {**value, "sha256": digest(value)}


def read_proved(path: Path, rerun: str) -> Any:
    """What was `proved` before it was published, without its proof.

    Raises UserError where the file was changed. Results of older versions have no proof, and are read without.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(str(path), f"not valid JSON: {error}; `{rerun}` makes it again") from error
    proof = value.pop("sha256", None) if isinstance(value, dict) else None
    if proof is not None and proof != digest(value):
        raise UserError(str(path), f"was changed since it was written; `{rerun}` makes it again")
    return value


def differs(path: Path, facts: dict[str, Any]) -> str | None:
    """How a file differs from what its manifest says of it."""
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != facts.get("bytes"):
        return f"has {path.stat().st_size} bytes where {facts.get('bytes')} were written"
    return None if _proved(path, facts.get("sha256")) else "its content is not what was written (sha256 differs)"


def _proved(path: Path, content: str | None) -> bool:
    """Whether a file's sha256 is that of its manifest.

    A large file is read once on each machine, and again when it was changed since: the store has a note of its size,
    its times and its place on the disk. KDCORE_VERIFY=1 reads all. A write changes the time of change, which nobody can
    set back; what changes beneath the file system, on the disk itself, is not seen until then.
    """
    before = path.stat()
    if before.st_size <= SMALL:
        return sha256(path) == content
    note = place_of_store() / "proved" / digest([MACHINE, content, *state(path)])
    if _is_kept(note) and os.environ.get("KDCORE_VERIFY", "0") in ("", "0"):
        return True
    if sha256(path) != content:
        return False
    # Two writes within a tick of the clock have one time: a file that is so new may change and look the same.
    if time.time() - before.st_ctime > CLOCK:
        _keep(note)
    return True


def _problem(path: Path, facts: dict[str, Any]) -> str | None:
    problem = differs(path, facts)
    if problem is None:
        return None
    # DVC's cache may have this very file by another name. While its file is read-only and no younger than it was, DVC
    # trusts it and gives it out again. Once it is writable and new, DVC looks at it, and drops it.
    with suppress(OSError):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
        path.touch()
    return problem


def link_folder(source: Path, target: Path) -> None:
    """Make `target` a folder of hard links to the files of `source` (copies across file systems)."""
    with new_folder(target) as aside:
        for file in _files(source):
            place = aside / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            link(file, place)


def link(file: Path, place: Path) -> None:
    """Make `place` a hard link to a file, or a copy across file systems."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copy2(file, place)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
