"""Every command that README.md shows runs, in its order, in a small project."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny
from tests.pipeline.conftest import ROOT, Project

README = ROOT / "README.md"
# What is not run here, and where it is.
SKIPPED = {
    r"make ": "set-up needs a package index; the continuous integration runs these as they are",
    r"pip install path/to/kdcore|kdcore init ": "tests/pipeline/test_installed.py runs these with a wheel of the clone",
    r"git clone ": "needs the network; the project is a copy of the repository",
}
# A folder that README leaves to the reader.
GLUE = "/path/to/glue"


def blocks(text: str) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[str]:
    """The commands of README's bash blocks: comments and empty lines are left out, continued lines are joined."""
    for block in blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield shlex.join(words)


def skipped(command: str) -> str | None:
    return next((reason for pattern, reason in SKIPPED.items() if re.match(pattern, command)), None)


def glue(folder: Path) -> Path:
    """A stand-in for GLUE's files in the hub's layout: mrpc, with as many rows as the tiny params ask for."""
    (folder / "mrpc").mkdir(parents=True)
    for split, rows in (("train", 96), ("validation", 32)):
        frame = tiny.texts(rows, pairs=True, seed=rows).rename(columns={"first": "sentence1", "second": "sentence2"})
        frame.to_parquet(folder / f"mrpc/{split}.parquet", index=False)
    return folder


@pytest.fixture
def small(finished_copy: Project) -> Project:
    """The finished project with the smallest studies that have anything to show."""
    tasks = finished_copy.params()["task"] | {"mrpc": {}}
    finished_copy.edit({"study.depth.layers": [2], "study.data_size.rows": [32], "task": tasks})
    finished_copy.commit("Small studies")
    return finished_copy


def test_readme_shows_the_commands_that_the_project_is_about():
    assert README.is_file(), "there is no README.md"
    shown = list(commands(README.read_text(encoding="utf-8")))
    for start in (
        *("make repro", "make test", "dvc metrics show", "dvc exp run -S student.layers=", "dvc params diff"),
        *("dvc plots show", "dvc repro stages/dvc.yaml:depth", "dvc repro stages/dvc.yaml:data_size"),
    ):
        assert any(command.startswith(start) for command in shown), f"README.md does not show `{start}`"


def test_every_command_of_readme_runs(small: Project, tmp_path: Path):
    assert README.is_file(), "there is no README.md"
    folder = glue(tmp_path / "glue")
    run = [command for command in commands(README.read_text(encoding="utf-8")) if skipped(command) is None]
    for command in run:
        small.run("bash", "-euc", command.replace(GLUE, str(folder)), warm=True)
    assert len(run) >= 6


def test_what_is_skipped_is_skipped_for_a_reason():
    assert skipped("make repro")
    assert skipped("git clone https://example.com/kdcore")
    assert skipped("dvc repro") is None
    assert skipped("makefile-lint") is None


def test_commands_are_found_as_a_shell_would_find_them():
    text = "```bash\nmake test   # the tests\n\ndvc exp run -S a=1 \\\n  -S 'b=[1, 2]'\n```\n```yaml\nx: 1\n```\n"
    assert list(commands(text)) == ["make test", "dvc exp run -S a=1 -S 'b=[1, 2]'"]


def test_no_bash_block_of_readme_hides_in_another_fence():
    """```sh or ```console blocks would not be run."""
    fences = re.findall(r"^```(\w*)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert not {"sh", "shell", "console", "shell-session", "zsh"} & set(fences)
