"""A run that is in the store is found without torch: a replay of many costs little."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.conftest import TASK, Project

DATA, TEACHERS, TARGETS = f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}"


@pytest.fixture(scope="module")
def replayed(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished project whose files a test may replace by the same ones."""
    return finished.copy(tmp_path_factory.mktemp("replayed"))


@pytest.fixture
def imported(replayed: Project) -> Callable[..., tuple[str, set[str]]]:
    """imported(command, …): what the command said on stdout, and the top-level modules that it imported."""

    def run(*args: str) -> tuple[str, set[str]]:
        made = replayed.run(sys.executable, "-X", "importtime", "-m", "kdcore", *args)
        lines = [
            line.rpartition("|")[2].strip() for line in made.stderr.splitlines() if line.startswith("import time:")
        ]
        return made.stdout, {name.partition(".")[0] for name in lines}

    return run


def contents(folder: Path) -> dict[Path, bytes]:
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


COMMANDS = {
    "teacher": ("teacher", TASK, "0", DATA, f"{TEACHERS}/s0", f"metrics/teacher/{TASK}/s0.json"),
    "targets": ("targets", TASK, DATA, f"{TEACHERS}/s0", f"{TARGETS}/s0"),
    "student": ("student", TASK, "sid", "0", DATA, TEACHERS, TARGETS, f"runs/student/{TASK}/sid-s0"),
    "point": ("point", TASK, "sid", "0", DATA, TEACHERS, TARGETS, "sid.json", "--study", "methods"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_was_made_is_found_without_torch(
    command: str, imported: Callable[..., tuple[str, set[str]]], replayed: Project, finished: Project
):
    said, names = imported(*COMMANDS[command])
    assert "kdcore" in names
    assert names & {"torch", "transformers", "pandas"} == set()
    assert "epoch " not in said
    out = Path(COMMANDS[command][-1])
    if command in ("targets", "student"):
        assert contents(replayed.root / out) == contents(finished.root / out)
    else:
        assert (replayed.root / COMMANDS[command][-1 if command == "teacher" else 7]).is_file()


def test_a_damaged_result_is_made_again(replayed: Project):
    """It is named, and torch is imported after all."""
    (run,) = [
        folder.parent
        for folder in (replayed.root / "work").glob("student-*/result")
        if '"method": "soft"' in (folder / "run.json").read_text()
    ]
    weights = run / "result/model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    out = "soft.json"
    made: subprocess.CompletedProcess[str] = replayed.run(
        *("python", "-m", "kdcore", "point", TASK, "soft", "0", DATA, TEACHERS, TARGETS, out), warm=True
    )
    assert "a finished run is damaged and made again" in made.stdout + made.stderr
    assert weights.read_bytes() == whole
