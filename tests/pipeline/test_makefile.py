"""The Makefile sets .venv up once, again when a pin changes, and from nothing after an interruption."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ".venv/.ready"
UNFINISHED = ".venv/.unfinished"
EMBEDDED = ".venv/share/kdcore/.ready"


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A folder with what the set-up reads, beside a `python-old` that says it is Python 3.9."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "embedded.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "old.py").write_text(
        "import sys\nsys.version_info, sys.version = (3, 9), '3.9.1 (old)'\nexec(sys.argv[2])\n"
    )
    (tmp_path / "python-old").write_text(f'#!/bin/sh\nexec "{sys.executable}" old.py "$@"\n')
    (tmp_path / "python-old").chmod(0o755)
    return tmp_path


def environment() -> dict[str, str]:
    """Without the flags of a make that may have started the tests: they are not meant for those of the tests."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}


def make(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *args], cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def set_up(folder: Path) -> None:
    """Lay out the stamps of a finished set-up, newer than what it was made from."""
    for age, stamp in enumerate((PACKAGES, EMBEDDED), start=1):
        (folder / stamp).parent.mkdir(parents=True, exist_ok=True)
        (folder / stamp).touch()
        set_time(folder / stamp, 10 * age)
    for source in ("pyproject.toml", "constraints.txt", "embedded.txt"):
        set_time(folder / source, 0)


def set_time(path: Path, seconds: int) -> None:
    os.utime(path, (1_000_000_000 + seconds, 1_000_000_000 + seconds))


@pytest.mark.parametrize("target", ["test", "lint", "embedded"])
def test_an_old_python_is_refused_by_its_version_before_anything_is_made(sandbox: Path, target: str):
    result = make(sandbox, target, "PYTHON=./python-old")
    assert result.returncode == 2
    assert "kdcore needs Python 3.11 or newer, found 3.9.1: name one with PYTHON=" in result.stderr
    assert not (sandbox / ".venv").exists()


def test_a_folder_without_git_says_what_to_do(sandbox: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(sandbox.parent))
    result = make(sandbox, "repro")
    assert result.returncode == 2
    assert "run 'git init' here first" in result.stderr
    assert not (sandbox / ".venv").exists()


@pytest.mark.parametrize("target", ["repro", "test", "lint", "embedded"])
def test_a_finished_set_up_is_not_repeated(sandbox: Path, target: str):
    set_up(sandbox)
    planned = make(sandbox, "--dry-run", target)
    assert planned.returncode == 0
    assert "pip install" not in planned.stdout


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_changed_pin_installs_again(sandbox: Path, changed: str):
    set_up(sandbox)
    set_time(sandbox / changed, 15)
    assert "pip install --no-compile -c constraints.txt" in make(sandbox, "--dry-run", "test").stdout


def test_a_changed_wheel_unpacks_only_the_wheels_again(sandbox: Path):
    set_up(sandbox)
    set_time(sandbox / "embedded.txt", 30)
    planned = make(sandbox, "--dry-run", "test").stdout
    assert "--require-hashes -r embedded.txt" in planned
    assert "-c constraints.txt" not in planned


@pytest.mark.parametrize("left", ["", f"{os.getpid()}\n"], ids=["nothing", "the id of a process that lives"])
def test_a_set_up_that_was_cut_short_starts_from_nothing(sandbox: Path, left: str):
    (sandbox / ".venv/lib").mkdir(parents=True)
    (sandbox / UNFINISHED).write_text(left)
    make(sandbox, "test", "PYTHON=./python-old")
    assert not (sandbox / ".venv").exists()


@pytest.mark.skipif(shutil.which("flock") is None, reason="no flock on this system")
def test_of_two_set_ups_the_second_waits_for_the_first_and_finds_it_done(sandbox: Path):
    """The first is this test, which holds the lock while a second make begins."""
    (sandbox / ".venv/lib").mkdir(parents=True)
    (sandbox / UNFINISHED).touch()
    with (sandbox / "Makefile").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(
            ["make", "embedded", "PYTHON=./python-old"],
            cwd=sandbox,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        assert second.stderr.readline() == "Another make is setting up .venv: waiting for it.\n"
        assert (sandbox / ".venv/lib").exists()
        set_up(sandbox)
        (sandbox / UNFINISHED).unlink()
    out, err = second.communicate()
    assert second.returncode == 0, err
    assert "pip install" not in out
    assert (sandbox / ".venv/lib").exists()


def test_a_folder_made_by_hand_is_kept(sandbox: Path):
    (sandbox / ".venv/own").mkdir(parents=True)
    make(sandbox, "test", "PYTHON=./python-old")
    assert (sandbox / ".venv/own").exists()


def test_clean_keeps_results(sandbox: Path):
    kept = [sandbox / name for name in ("data", "runs", "work", "metrics", "kdcore", "tests")]
    for folder in (*kept, sandbox / ".venv", sandbox / "kdcore/__pycache__"):
        folder.mkdir()
    assert make(sandbox, "clean").returncode == 0
    assert all(folder.exists() for folder in kept)
    assert not (sandbox / ".venv").exists()
    assert not (sandbox / "kdcore/__pycache__").exists()
