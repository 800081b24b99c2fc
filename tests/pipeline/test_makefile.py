"""The Makefile sets .venv up once, again when a pin changes, and from nothing after an interruption."""

import os
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


def make(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    # The tests may have been started by make, whose own flags are not meant for this one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *args], cwd=folder, env=environment, capture_output=True, text=True, check=False)


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
    assert "pip install -c constraints.txt" in make(sandbox, "--dry-run", "test").stdout


def test_a_changed_wheel_unpacks_only_the_wheels_again(sandbox: Path):
    set_up(sandbox)
    set_time(sandbox / "embedded.txt", 30)
    planned = make(sandbox, "--dry-run", "test").stdout
    assert "--require-hashes -r embedded.txt" in planned
    assert "-c constraints.txt" not in planned


def test_a_set_up_that_was_cut_short_starts_from_nothing(sandbox: Path):
    (sandbox / ".venv/lib").mkdir(parents=True)
    (sandbox / UNFINISHED).write_text(f"{ended_process()}\n")
    make(sandbox, "test", "PYTHON=./python-old")
    assert not (sandbox / ".venv").exists()


def test_a_set_up_in_progress_is_left_alone(sandbox: Path):
    (sandbox / ".venv/lib").mkdir(parents=True)
    (sandbox / UNFINISHED).write_text(f"{os.getpid()}\n")
    result = make(sandbox, "test")
    assert result.returncode == 2
    assert f"Process {os.getpid()} is setting up .venv" in result.stderr
    assert (sandbox / ".venv/lib").exists()


def test_a_folder_made_by_hand_is_kept(sandbox: Path):
    (sandbox / ".venv/own").mkdir(parents=True)
    make(sandbox, "test", "PYTHON=./python-old")
    assert (sandbox / ".venv/own").exists()


def ended_process() -> int:
    """The id of a process that is over."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_clean_keeps_results(sandbox: Path):
    kept = [sandbox / name for name in ("data", "runs", "work", "metrics", "kdcore", "tests")]
    for folder in (*kept, sandbox / ".venv", sandbox / "kdcore/__pycache__"):
        folder.mkdir()
    assert make(sandbox, "clean").returncode == 0
    assert all(folder.exists() for folder in kept)
    assert not (sandbox / ".venv").exists()
    assert not (sandbox / "kdcore/__pycache__").exists()
