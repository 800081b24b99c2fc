"""Rows of one's own in the documented place, data/raw/<task>/: with git, with DVC, in experiments and in a clone."""

import shutil
from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, TASK, Project

TRACKED = {
    "git": ("git", "add", f"data/raw/{TASK}"),
    "dvc": ("dvc", "add", f"data/raw/{TASK}"),
}


@pytest.fixture(params=TRACKED)
def own(project: Project, request: pytest.FixtureRequest) -> Project:
    """A project whose rows lie in data/raw/tiny and are tracked, by git or by DVC."""
    raw = project.root / "data/raw"
    raw.mkdir(parents=True)
    shutil.copy(ROOT / "data/raw/README.md", raw)
    shutil.move(project.params()["data"]["path"] + f"/{TASK}", raw / TASK)
    project.edit({"data.path": "data/raw"})
    project.run(*TRACKED[request.param])
    project.commit("Rows of my own")
    return project


def test_experiments_in_a_workspace_of_their_own_find_the_rows(own: Project):
    assert own.run("git", "status", "--short").stdout == ""
    own.run("dvc", "exp", "run", "--temp", "prepare")
    own.run("dvc", "exp", "run", "--queue", "--set-param", "task.tiny.metrics=[f1]", "prepare")
    own.run("dvc", "exp", "run", "--run-all")
    assert len(own.run("dvc", "exp", "list", "--name-only").stdout.split()) == 2


def test_a_clone_prepares_the_same(own: Project, tmp_path: Path):
    """And only this task's: what else lies in data/ here is nobody's concern there."""
    own.run("dvc", "repro", "prepare")
    own.run("dvc", "remote", "add", "--default", "here", str(tmp_path / "remote"))
    own.commit("Prepared")
    own.run("dvc", "push")
    clone = Project(tmp_path / "clone")
    own.run("git", "clone", "--quiet", str(own.root), str(clone.root))
    clone.run(
        "dvc", "pull", "prepare", f"data/raw/{TASK}.dvc" if (own.root / f"data/raw/{TASK}.dvc").exists() else "prepare"
    )
    assert f"Stage 'prepare@{TASK}' didn't change, skipping" in clone.run("dvc", "repro", "prepare").stdout


def test_the_data_of_another_task_change_no_results(finished_copy: Project):
    (finished_copy.root / "data/other").mkdir()
    (finished_copy.root / "data/other/train.parquet").write_text("of another task")
    done = finished_copy.run("dvc", "status", "errors", "report")
    assert "Data and pipelines are up to date" in done.stdout


def test_results_that_came_with_a_clone_are_made_anew(finished_copy: Project):
    """Nothing tells there which of them kdcore wrote; DVC takes its own outs away first."""
    shutil.rmtree(finished_copy.root / "work/written")
    finished_copy.run("dvc", "repro", "--force", "--single-item", "evaluate", "plots", "errors")
