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
    own.run("dvc", "exp", "run", "--temp", "prepare", warm=True)
    own.run("dvc", "exp", "run", "--queue", "--set-param", "task.tiny.metrics=[f1]", "prepare")
    own.run("dvc", "exp", "run", "--run-all", warm=True)
    assert len(own.run("dvc", "exp", "list", "--name-only").stdout.split()) == 2


def test_a_clone_prepares_the_same(own: Project, tmp_path: Path):
    """And only this task's: what else lies in data/ here is nobody's concern there."""
    own.run("dvc", "repro", "prepare", warm=True)
    own.run("dvc", "remote", "add", "--default", "here", str(tmp_path / "remote"))
    own.commit("Prepared")
    own.run("dvc", "push")
    clone = Project(tmp_path / "clone")
    own.run("git", "clone", "--quiet", str(own.root), str(clone.root))
    clone.run(
        "dvc", "pull", "prepare", f"data/raw/{TASK}.dvc" if (own.root / f"data/raw/{TASK}.dvc").exists() else "prepare"
    )
    assert f"Stage 'prepare@{TASK}' didn't change, skipping" in clone.run("dvc", "repro", "prepare", warm=True).stdout


def test_the_data_of_another_task_change_no_results(finished_copy: Project):
    (finished_copy.root / "data/other").mkdir()
    (finished_copy.root / "data/other/train.parquet").write_text("of another task")
    done = finished_copy.run("dvc", "status", "errors", "report")
    assert "Data and pipelines are up to date" in done.stdout


def test_results_that_came_with_a_clone_are_made_anew(finished_copy: Project):
    """Nothing tells there which of them kdcore wrote; DVC takes its own outs away first."""
    shutil.rmtree(finished_copy.root / "work/written")
    finished_copy.run("dvc", "repro", "--force", "--single-item", "evaluate", "plots", "errors", warm=True)


def test_a_task_of_ones_own_stands_alone_after_clean_results(finished_copy: Project, tmp_path: Path):
    """Tables, pictures and the page name no other task; what git does not know, and runs and work, stay."""
    project = finished_copy
    shutil.copy(ROOT / "Makefile", project.root)
    project.commit("With the Makefile")
    changed = project.root / "metrics/main/table.md"
    text = changed.read_text()
    changed.write_text(text + "my note")
    assert project.run("make", "clean-results", check=False).returncode == 2
    assert changed.read_text() == text + "my note"
    changed.write_text(text)
    (project.root / "metrics/notes.txt").write_text("mine")
    project.run("make", "clean-results")
    assert [path.name for path in (project.root / "metrics").rglob("*")] == ["notes.txt"]
    assert not (project.root / "dvc.lock").exists()
    assert (project.root / f"runs/teacher/{TASK}").is_dir()
    given = project.params()
    rows = tmp_path / "rows"
    shutil.copytree(Path(given["data"]["path"]) / TASK, rows / "mine")
    project.edit(
        {"tasks": ["mine"], "methods": ["none"], "task": {"mine": given["task"][TASK]}, "data.path": str(rows)}
    )
    project.commit("My own task")
    project.run("dvc", "repro", warm=True)
    made = [path for path in (project.root / "metrics").rglob("*") if path.is_file()]
    assert {"report.html", "table.md", "mine.json", "notes.txt"} <= {path.name for path in made}
    assert not [path for path in made if TASK in str(path.relative_to(project.root))]
    assert not [path for path in made if path.suffix in (".md", ".csv", ".json") and f"{TASK}" in path.read_text()]
    assert f">{TASK}<" not in (project.root / "metrics/main/report.html").read_text()
