"""Folders are complete or absent, and what was changed since is named when it is read."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kdcore import artefacts
from kdcore.artefacts import (
    HOST,
    digest,
    link_folder,
    new_folder,
    open_sealed,
    publish_all,
    read_manifest,
    seal,
    sha256,
    write_json,
)
from kdcore.errors import UserError


def contents(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in sorted(folder.rglob("*")) if f.is_file()}


# Digests


def test_equal_values_have_one_digest_whatever_their_order():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1, "b": (1, 2)}) == digest({"a": 1, "b": [1, 2]})
    assert len({digest({"a": 1}), digest({"a": 1.5}), digest({"a": "1"}), digest({"a": None}), digest({"b": 1})}) == 5


def test_a_files_digest_is_that_of_sha256sum(tmp_path: Path):
    (tmp_path / "abc").write_text("abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2


# New folders


def test_a_folder_appears_when_it_is_complete(tmp_path: Path):
    with new_folder(tmp_path / "a/b") as aside:
        (aside / "file").write_text("new")
        assert not (tmp_path / "a/b").exists()
    assert contents(tmp_path) == {"a/b/file": "new"}


def made(folder: Path, name: str) -> None:
    """A sealed folder with one file."""
    with new_folder(folder) as aside:
        (aside / name).write_text(name)
        seal(aside)


def test_a_folder_takes_the_place_of_an_older_one_whole(tmp_path: Path):
    made(tmp_path / "out", "old")
    with new_folder(tmp_path / "out") as aside:
        (aside / "new").write_text("new")
        assert set(contents(tmp_path / "out")) == {"old", "manifest.json"}
    assert contents(tmp_path) == {"out/new": "new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_folder_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: type[BaseException]):
    made(tmp_path / "out", "old")

    def fails() -> None:
        with new_folder(tmp_path / "out") as aside:
            (aside / "half").write_text("ha")
            raise error

    with pytest.raises(error):
        fails()
    assert set(contents(tmp_path)) == {"out/old", "out/manifest.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_umask_says_who_may_read_a_file(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        with new_folder(tmp_path / "out") as aside:
            (aside / "deep").mkdir()
            for name in ("one", "deep/two"):
                (aside / name).write_text(name)
                (aside / name).chmod(0o600)  # as safetensors writes
    finally:
        os.umask(before)
    assert {(tmp_path / "out" / name).stat().st_mode & 0o777 for name in ("one", "deep/two")} == {0o666 & ~umask}


@pytest.fixture
def zombie() -> Iterator[int]:
    """The id of a process that has ended, and that its parent has not asked after."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


def left_by(pid: int, folder: Path) -> Path:
    """What that process has begun to write, in place of folder/out."""
    left = folder / f".out.{HOST}.{pid}"
    left.mkdir()
    (left / "file").write_text("half")
    return left


def test_what_a_killed_process_left_goes_even_while_it_is_a_zombie(tmp_path: Path, zombie: int):
    left_by(zombie, tmp_path)
    with new_folder(tmp_path / "out") as aside:
        (aside / "file").write_text("new")
    assert contents(tmp_path) == {"out/file": "new"}


def test_what_a_killed_process_left_goes_though_a_later_one_has_its_id(tmp_path: Path):
    os.utime(left_by(os.getppid(), tmp_path), (0, 0))
    with new_folder(tmp_path / "out") as aside:
        (aside / "file").write_text("new")
    assert contents(tmp_path) == {"out/file": "new"}


def test_a_file_systems_clock_that_is_behind_kills_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The machine's clock, which processes go by, is an hour ahead of that of the file system."""
    created, now = psutil.Process.create_time, time.time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 3600)
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    left = left_by(os.getppid(), tmp_path)
    with new_folder(tmp_path / "out") as aside:
        (aside / "file").write_text("new")
    assert contents(tmp_path) == {"out/file": "new", f"{left.name}/file": "half"}


@pytest.mark.parametrize("name", [f".out.{HOST}.txt", ".out.elsewhere.1", f".out.{HOST}."])
def test_what_only_looks_like_a_leftover_stays(tmp_path: Path, name: str):
    (tmp_path / name).write_text("mine")
    with new_folder(tmp_path / "out"):
        pass
    assert (tmp_path / name).read_text() == "mine"


def test_what_another_process_writes_stays(tmp_path: Path):
    left = left_by(os.getppid(), tmp_path)
    with new_folder(tmp_path / "out") as aside:
        (aside / "file").write_text("new")
    assert contents(tmp_path) == {"out/file": "new", f"{left.name}/file": "half"}


def test_what_a_process_writes_that_cannot_be_asked_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(self: psutil.Process) -> str:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "status", denied)
    left = left_by(os.getppid(), tmp_path)
    os.utime(left, (0, 0))
    with new_folder(tmp_path / "out") as aside:
        (aside / "file").write_text("new")
    assert left.exists()


# Killed at any moment

WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod")  # as sys.audit calls them


def killed(work: Callable[[], object], step: int) -> bool:
    """Whether another process that does the work had still to write when it was killed, at its write number `step`."""
    if process := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code in (0, 9)
        return code == 9
    steps = itertools.count(1)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in WRITES and (event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes and next(steps) == step:
            os._exit(9)

    code = 1
    try:
        sys.addaudithook(hook)
        work()
        code = 0
    finally:
        os._exit(code)


def folder_of(place: Path, **files: str) -> None:
    with new_folder(place) as aside:
        for name, text in files.items():
            (aside / name).write_text(text)
        seal(aside)


WORKS: dict[str, Callable[[Path], object]] = {
    "a folder": lambda place: folder_of(place / "out", one="new", two="new"),
    "a folder of links": lambda place: link_folder(place / "source", place / "out"),
    "files": lambda place: publish_all({place / "1.csv": b"new", place / "2.csv": b"new"}),
}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("name", WORKS)
def test_killed_at_any_write_the_same_call_makes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, before: bool
):
    """What can be seen is old or new. before: whether older results are there."""
    work, whole = WORKS[name], {}
    for step in itertools.count():
        place = tmp_path / str(step)
        monkeypatch.setenv("KDCORE_WORK", str(place / "work"))
        folder_of(place / "source", one="new", three="new")
        if before:
            folder_of(place / "out", two="old", four="old")
            publish_all({place / "1.csv": b"old"})
        old = contents(place)
        if step == 0:  # undisturbed
            work(place)
            whole = contents(place)
            continue
        if not killed(lambda: work(place), step):  # noqa: B023
            break
        seen = {file: text for file, text in contents(place).items() if not file.startswith(".")}
        assert all(text in (old.get(file), whole.get(file)) for file, text in seen.items()), step
        work(place)
        assert contents(place) == whole, step
    assert step > 8


def test_every_file_is_on_the_disk_before_the_folder_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After a power cut the folder is there with its content or not at all."""
    done: list[str] = []
    flush, replace = artefacts._flush, Path.replace
    monkeypatch.setattr(artefacts, "_flush", lambda path: (done.append(path.name), flush(path)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (done.append(f"-> {to.name}"), replace(self, to)))
    with new_folder(tmp_path / "out") as aside:
        (aside / "deep").mkdir()
        for name in ("one", "deep/two"):
            (aside / name).write_text(name)
    assert set(done[:2]) == {"one", "two"}
    assert done[2:] == ["-> out", tmp_path.name]


# JSON


def test_json_is_the_old_file_or_the_whole_new_one(tmp_path: Path):
    path = tmp_path / "deep/facts.json"
    write_json(path, {"a": "é", "b": [1]})
    assert path.read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": [\n    1\n  ]\n}\n'
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "é", "b": [1]}
    assert [file.name for file in path.parent.iterdir()] == ["facts.json"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_json(tmp_path / "facts.json", 1)

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "facts.json", 2)
    assert [file.name for file in tmp_path.iterdir()] == ["facts.json"]
    assert json.loads((tmp_path / "facts.json").read_text()) == 1


# Seals


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "sealed"
    (folder / "deep").mkdir(parents=True)
    for name in ("one.bin", "two.bin", "deep/three.bin"):
        (folder / name).write_bytes(name.encode() * 100)
    seal(folder, layers=4)
    return folder


def test_a_sealed_folder_gives_its_facts_and_files(sealed: Path):
    manifest = open_sealed(sealed, "-")
    assert manifest["layers"] == 4
    assert manifest["files"]["deep/three.bin"] == {"bytes": 1400, "sha256": sha256(sealed / "deep/three.bin")}
    assert set(manifest["files"]) == {"one.bin", "two.bin", "deep/three.bin"}


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped bit": (flip, "its content is not what was written (sha256 differs)"),
    "truncated": (lambda f: f.write_bytes(f.read_bytes()[:-1]), "has 1399 bytes where 1400 were written"),
    "longer": (lambda f: f.write_bytes(f.read_bytes() + b"x"), "has 1401 bytes where 1400 were written"),
    "empty": (lambda f: f.write_bytes(b""), "has 0 bytes where 1400 were written"),
    "deleted": (Path.unlink, "is missing"),
    "a folder": (lambda f: (f.unlink(), f.mkdir()), "is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_with_what_to_run(sealed: Path, damage: str):
    act, problem = DAMAGE[damage]
    act(sealed / "deep/three.bin")
    with pytest.raises(UserError) as caught:
        open_sealed(sealed, "dvc repro -f targets")
    assert str(caught.value) == f"{sealed}: deep/three.bin: {problem}; run `dvc repro -f targets`"


# What was read once


@pytest.fixture
def proofs(sealed: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """proofs(): open the folder, and the names of the files that were read for it. Files count as large, and as old."""
    monkeypatch.setattr(artefacts, "SMALL", 1000)
    monkeypatch.setattr(artefacts, "CLOCK", -3600)
    monkeypatch.delenv("KDCORE_VERIFY", raising=False)

    def opened() -> list[str]:
        read: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(artefacts, "sha256", lambda path: read.append(path.name) or sha256(path))
            open_sealed(sealed, "dvc repro")
        return read

    return opened


def test_a_large_file_is_read_once_and_a_small_one_each_time(proofs: Callable[[], list[str]]):
    assert proofs() == ["three.bin", "one.bin", "two.bin"]
    assert proofs() == ["one.bin", "two.bin"]  # 700 bytes each, three.bin has 1400


@pytest.mark.parametrize("change", [os.utime, flip, lambda file: file.write_bytes(file.read_bytes())])
def test_what_was_touched_or_written_is_read_again(
    sealed: Path, proofs: Callable[[], list[str]], change: Callable[[Path], object]
):
    proofs()
    change(sealed / "deep/three.bin")
    if change is flip:
        with pytest.raises(UserError, match=r"three\.bin: its content is not what was written"):
            proofs()
    else:
        assert "three.bin" in proofs()
        assert "three.bin" not in proofs()


def test_a_bit_that_was_flipped_with_its_time_set_back_is_seen(sealed: Path, proofs: Callable[[], list[str]]):
    proofs()
    file = sealed / "deep/three.bin"
    before = file.stat()
    with file.open("r+b") as opened:  # in place: the same file
        opened.seek(700)
        opened.write(b"!")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    with pytest.raises(UserError, match=r"three\.bin: its content is not what was written"):
        proofs()


def test_damage_beneath_the_file_system_is_seen_when_asked_for(
    sealed: Path, proofs: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(artefacts, "state", lambda path: [path.stat().st_size])  # a disk that rots changes no time
    proofs()
    with (sealed / "deep/three.bin").open("r+b") as opened:
        opened.write(b"!")
    proofs()
    monkeypatch.setenv("KDCORE_VERIFY", "1")
    with pytest.raises(UserError, match=r"three\.bin: its content is not what was written .* run `dvc repro`"):
        proofs()


def test_another_machines_proof_is_none(proofs: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch):
    proofs()
    monkeypatch.setattr(artefacts, "MACHINE", ["elsewhere", 1])
    assert "three.bin" in proofs()


def test_a_file_that_is_as_new_as_the_clock_is_fine_is_not_noted(
    proofs: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(artefacts, "CLOCK", 3600)
    assert proofs() == proofs() == ["three.bin", "one.bin", "two.bin"]


def test_a_read_only_store_keeps_no_proof(sealed: Path, proofs: Callable[[], list[str]], store: Path):
    store.mkdir()
    (store / "proved").write_text("in the way, as a read-only folder would be")
    assert proofs() == proofs() == ["three.bin", "one.bin", "two.bin"]


def test_files_that_changed_places_are_both_named(sealed: Path):
    one, two = sealed / "one.bin", sealed / "two.bin"
    assert one.stat().st_size == two.stat().st_size
    spare = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(spare)
    with pytest.raises(UserError) as caught:
        open_sealed(sealed, "-")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["one.bin", "two.bin"]


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"files": 3}'])
def test_a_manifest_that_is_gone_or_broken_says_what_to_run(sealed: Path, text: str | None):
    (sealed / "manifest.json").unlink()
    if text is not None:
        (sealed / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json can't be read .*; run `dvc repro -f teacher`"):
        read_manifest(sealed, "dvc repro -f teacher")


# Links


def test_a_linked_folder_takes_no_second_copy_of_its_files(sealed: Path, tmp_path: Path):
    link_folder(sealed, tmp_path / "linked")
    assert contents(tmp_path / "linked") == contents(sealed)
    assert os.path.samefile(sealed / "deep/three.bin", tmp_path / "linked/deep/three.bin")


def test_where_there_are_no_links_the_files_are_copied(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuses(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuses)
    link_folder(sealed, tmp_path / "copied")
    assert contents(tmp_path / "copied") == contents(sealed)
    assert not os.path.samefile(sealed / "one.bin", tmp_path / "copied/one.bin")


def test_what_is_replaced_in_a_linked_folder_stays_in_the_store(sealed: Path, tmp_path: Path):
    link_folder(sealed, tmp_path / "linked")
    link_folder(sealed, tmp_path / "linked")
    write_json(tmp_path / "linked/one.bin", "other")
    open_sealed(sealed, "-")


def test_a_damaged_file_is_made_writable_and_new_so_that_dvc_looks_at_its_copy(tmp_path: Path):
    """DVC gives out of its cache, unseen, what is read-only and as old as it was; the same file may be there."""
    for name in ("whole", "damaged"):
        (tmp_path / name).write_text(name)
    seal(tmp_path)
    (tmp_path / "damaged").write_text("damagee")
    for name in ("whole", "damaged"):
        (tmp_path / name).chmod(0o444)
        os.utime(tmp_path / name, (1e9, 1e9))
    with pytest.raises(UserError, match="damaged: its content is not what was written"):
        open_sealed(tmp_path, "make")
    assert {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("whole", "damaged")} == {
        "whole": 0o444,
        "damaged": 0o644,
    }
    assert (tmp_path / "whole").stat().st_mtime == 1e9 < (tmp_path / "damaged").stat().st_mtime
