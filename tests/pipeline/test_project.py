"""The miniature project is what the other pipeline tests take it for."""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kdcore.params import read as params
from tests.pipeline.conftest import SMALL, TASK, Project


def test_its_params_pass_every_check(project: Project):
    loaded = params.load(project.root / "params.yaml")
    assert list(loaded.tasks) == [TASK]
    assert loaded.student.layers == SMALL["student.layers"]
    assert loaded.train.learning_rate == pytest.approx(2e-3)


def test_it_is_a_clean_git_repository_with_one_commit(project: Project):
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert project.run("git", "rev-list", "--count", "HEAD").stdout.strip() == "1"


def test_it_holds_no_result_of_the_repository_it_comes_from(project: Project):
    assert not any((project.root / name).exists() for name in ("data", "runs", "work", "metrics", "dvc.lock"))


def test_its_rows_are_enough_for_its_params(project: Project):
    folder = Path(project.params()["data"]["path"]) / TASK
    assert len(pd.read_csv(folder / "train.csv")) >= SMALL["teacher.rows"]
    assert len(pd.read_csv(folder / "validation.csv")) >= SMALL["train.history_rows"]


def test_its_commands_are_those_of_this_environment(project: Project):
    found = project.run("python", "-c", "import sys, kdcore; print(sys.prefix); print(kdcore.__file__)").stdout
    assert found.splitlines() == [sys.prefix, str(project.root / "kdcore/__init__.py")]


def test_edits_reach_params_and_keep_comments(new_project: Callable[..., Project]):
    project = new_project({"student.rows": 16})
    assert project.params()["student"]["rows"] == 16
    assert "# The headline run" in (project.root / "params.yaml").read_text()


def test_an_edit_of_an_unknown_key_is_refused(project: Project):
    with pytest.raises(KeyError, match=r"student\.layer"):
        project.edit({"student.layer": 1})


def test_a_failing_command_shows_its_output(project: Project):
    with pytest.raises(pytest.fail.Exception, match="No such file"):
        project.run("cat", "nothing-here")
    assert project.run("cat", "nothing-here", check=False).returncode == 1
