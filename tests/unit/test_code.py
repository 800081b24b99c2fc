"""The hash of the code that a run, or a command, depends on: what changes it, and what does not."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdcore import code
from kdcore.code import code_digest, command_digests
from tests.unit.raw_files import ROOT

MADE_BY = {
    "distil.student": "distil.student_training",
    "distil.teacher": "distil.teacher_training",
    "distil.targets": "distil.extraction",
    "evaluation.score": "evaluation.scoring",
}
# Each in a fork, into which nothing of kdcore is loaded before: the libraries take seconds, and are loaded once.
LOADED = """
import os, sys
from importlib import import_module
import torch, transformers.modeling_utils
for module in sys.argv[1:]:
    if os.fork() == 0:
        import_module(f"kdcore.{module}")
        print(*(name for name in sys.modules if name.startswith("kdcore.")), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


def modules(root: Path) -> dict[str, Path]:
    return {".".join(("kdcore", *path.relative_to(root).with_suffix("").parts)): path for path in root.rglob("*.py")}


@pytest.fixture(scope="module")
def loaded_for() -> dict[str, list[str]]:
    """The modules of kdcore that are loaded for each of the modules that make a run."""
    command = [sys.executable, "-c", LOADED, *MADE_BY.values()]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(zip(MADE_BY.values(), map(str.split, listed), strict=True))


@pytest.mark.parametrize(("module", "made_by"), MADE_BY.items())
def test_the_code_of_a_run_is_every_module_that_is_loaded_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded_for: dict[str, list[str]], module: str, made_by: str
):
    """Each of them, changed in a copy, changes the digest; those that are told not to count do not."""
    shutil.copytree(ROOT / "kdcore", tmp_path / "kdcore", ignore=shutil.ignore_patterns("__pycache__", "page"))
    monkeypatch.setattr(code, "__file__", str(tmp_path / "kdcore/code.py"))
    files, before = modules(tmp_path / "kdcore"), code_digest(f"kdcore.{module}")
    counted = set()
    for name in loaded_for[made_by]:
        if name in files:
            text = files[name].read_text()
            files[name].write_text(f"{text}\nx = 1\n")
            if code_digest(f"kdcore.{module}") != before:
                counted.add(name.removeprefix("kdcore."))
            files[name].write_text(text)
    assert made_by in counted
    assert {"model.encoder", "model.attention", "data.examples", "data.batches"} <= counted
    outside = {name.replace("/", ".") for name in (*code.DOOR_OF_RUNS, *code.OUTSIDE)}
    loaded = {name.removeprefix("kdcore.") for name in loaded_for[made_by] if name in files}
    assert {name for name in loaded - counted if not {name, name.split(".")[0]} & outside} == set()


def test_another_line_of_code_is_another_digest_and_another_comment_or_name_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "data").mkdir()
    one, two = tmp_path / "one.py", tmp_path / "data/two.py"
    one.write_text("from kdcore.data import two\n")
    two.write_text("x = 1\n")
    monkeypatch.setattr(code, "__file__", str(tmp_path / "code.py"))
    before = code_digest("kdcore.one")
    two.write_text('"""What x is."""\n# Of no use.\nx = (\n    1  # one\n)\n')
    assert code_digest("kdcore.one") == before
    one.rename(tmp_path / "first.py")
    assert code_digest("kdcore.first") == before
    two.write_text("x = 2\n")
    assert code_digest("kdcore.first") != before


# Of a command


@pytest.fixture
def changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], set[str]]:
    """changes(file, text): the commands whose hash is another one with the text at the end of that file."""
    shutil.copytree(ROOT / "kdcore", tmp_path / "kdcore", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "__file__", str(tmp_path / "kdcore/code.py"))
    known: dict[str, Any] = {}
    before = command_digests(COMMANDS, known)

    def changed(file: str, text: str) -> set[str]:
        path = tmp_path / "kdcore" / file
        own = path.read_text(encoding="utf-8")
        path.write_text(own + text, encoding="utf-8")
        after = command_digests(COMMANDS, known)
        path.write_text(own, encoding="utf-8")
        return {command for command in COMMANDS if before[command] != after[command]}

    return changed


COMMANDS = ("prepare", "teacher", "targets", "student", "point", "evaluate", "plots", "attention", "report", "curve")
ONE = "\nx = 1\n"


def test_a_line_more_changes_the_commands_that_import_it_and_no_others(changes: Callable[[str, str], set[str]]):
    assert changes("data/order.py", ONE) == {"prepare"}
    assert changes("distil/targets.py", ONE) == changes("distil/extraction.py", ONE) == {"targets"}
    assert changes("distil/teacher.py", ONE) == changes("distil/teacher_training.py", ONE) == {"teacher"}
    assert changes("distil/student.py", ONE) == changes("distil/student_training.py", ONE) == {"student", "point"}
    assert changes("distil/schedule.py", ONE) == {"teacher", "student", "point"}
    assert changes("artefacts.py", ONE) == set(COMMANDS)
    assert changes("report/page/files/run.html", ONE) == {"report"}


def test_the_door_and_a_comment_change_nothing(changes: Callable[[str, str], set[str]]):
    assert changes("params/rules.py", ONE) | changes("console.py", ONE) | changes("errors.py", ONE) == set()
    assert changes("distil/schedule.py", "\n# Of no use.\n") == set()


def test_a_helper_of_a_commands_function_counts_and_another_command_does_not(
    changes: Callable[[str, str], set[str]],
):
    opened = "\n\ndef open_all(*arguments):\n    return 1\n"
    assert changes("cli/opening.py", opened) == {"student", "point", "evaluate", "attention"}
    assert changes("cli/study.py", "\n\ndef another() -> None:\n    return None\n") == set()


def test_no_two_functions_of_the_commands_share_a_name():
    """A command's helpers are found by name, in whatever module of cli/ they stand."""
    nodes = [node for path in (ROOT / "kdcore/cli").glob("*.py") for node in ast.parse(path.read_text()).body]
    names = [node.name.rstrip("_") for node in nodes if isinstance(node, ast.FunctionDef)]
    assert len(names) == len(set(names))
