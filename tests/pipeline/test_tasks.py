"""Several tasks and teachers with real DVC: what is other for a task, who teaches whom, and the table over all tasks.

The tasks are two of GLUE's, CoLA (one text, Matthews) and RTE (pairs), with made-up rows in the layout of its files.
"""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kdcore.predict.server import FILES
from tests import tiny
from tests.pipeline.conftest import Project

GLUE: dict[str, Any] = {
    "tasks": ["cola", "rte"],
    "methods": ["soft", "sid"],
    "seeds": [0, 1],
    "teacher.seeds": [0, 7],
    "task": {
        "cola": {},
        "rte": {"teacher": {"epochs": 2}, "student": {"rows": 16}, "methods": {"sid": {"student": {"layers": 1}}}},
    },
}
NAMES = {"cola": "CoLA", "rte": "RTE"}  # of the server's files


def write_glue(folder: Path) -> Path:
    """<folder>/{cola,rte}/{train,validation,test}.parquet with GLUE's columns, and as many rows to test as GLUE has."""
    for task, pairs in (("cola", False), ("rte", True)):
        (folder / task).mkdir(parents=True)
        for seed, (split, rows) in enumerate({"train": 96, "validation": 32, "test": FILES[NAMES[task]].rows}.items()):
            names = {"first": "sentence1", "second": "sentence2"}
            frame = tiny.texts(rows, pairs=pairs, seed=seed).rename(columns=names).assign(idx=range(rows))
            hidden = {"label": -1} if split == "test" else {}
            frame.assign(**hidden).to_parquet(folder / task / f"{split}.parquet", index=False)
    return folder


@pytest.fixture(scope="module")
def graded(new_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of both tasks, after its headline run."""
    project = new_project(GLUE | {"data.path": str(write_glue(tmp_path_factory.mktemp("glue")))})
    project.run("dvc", "repro", warm=True)
    project.commit("Results")
    return project


def ran(said: str) -> set[str]:
    """The stages that ran, without the path of their file; `inputs` always does."""
    return set(re.findall(r"^Running stage '(?!inputs')(?:[^':]+:)?([^']+)'", said, re.MULTILINE))


def facts(project: Project, path: str) -> dict[str, Any]:
    return json.loads((project.root / path).read_text())


def test_a_task_has_its_own_settings_and_a_method_its_own_of_these(graded: Project):
    assert [facts(graded, f"metrics/teacher/{task}/s0.json")["epochs"] for task in ("cola", "rte")] == [3, 2]
    shapes = {
        (task, method): tuple(
            facts(graded, f"metrics/main/points/{task}/{method}-s0.json")[key] for key in ("layers", "rows")
        )
        for task in GLUE["tasks"]
        for method in GLUE["methods"]
    }
    assert shapes == {
        ("cola", "soft"): (2, 32),
        ("cola", "sid"): (2, 32),
        ("rte", "soft"): (2, 16),
        ("rte", "sid"): (1, 16),
    }


def test_students_take_the_teachers_in_turn_and_say_so(graded: Project):
    for task in GLUE["tasks"]:
        points = [facts(graded, f"metrics/main/points/{task}/sid-s{seed}.json") for seed in GLUE["seeds"]]
        assert [point["teacher_seed"] for point in points] == [0, 7]
        assert [facts(graded, f"metrics/main/points/{task}/teacher-s{seed}.json")["seed"] for seed in (0, 7)] == [0, 7]
    signals = [
        facts(graded, f"runs/targets/cola/s{seed}/train/manifest.json")["teacher"] for seed in GLUE["teacher.seeds"]
    ]
    assert len(set(signals)) == 2


def test_one_table_has_all_tasks(graded: Project):
    main = graded.root / "metrics/main"
    first, *_ = (main / "table.md").read_text().split("\n\n")
    assert first == "## All tasks: headline metrics on validation data"
    table = pd.read_csv(main / "overview.csv").set_index("method")
    scores = facts(graded, "metrics/main/scores/cola.json"), facts(graded, "metrics/main/scores/rte.json")
    assert table.loc["sid", "average"] == pytest.approx(sum(by_method["sid"] for by_method in scores) / 2, abs=1e-5)
    assert table.loc[["soft", "sid"], "rank"].sum() == 3
    assert (
        (main / "overview.tex").read_text().startswith("\\begin{tabular}{lrrrrr}\n\\toprule\nmethod & cola, matthews &")
    )
    assert "2 teachers, each the mean of its students (2 in all)" in (main / "table.md").read_text()


def test_the_page_and_the_plan_say_what_is_other_for_a_task(graded: Project):
    page = (graded.root / "metrics/main/report.html").read_text()
    plan = graded.run("python", "-m", "kdcore", "plan", "--seconds", "0", warm=True).stdout
    for text in (page, plan):
        assert "task.rte.methods.sid.student.layers" in text
    assert "Of this task alone: task.rte.teacher.epochs 2, task.rte.student.rows 16" in plan


def test_students_that_match_other_layers_are_not_put_side_by_side(graded: Project):
    compared = {task: facts(graded, f"metrics/main/attention/{task}.json") for task in GLUE["tasks"]}
    assert [model["name"] for model in compared["cola"]["models"]] == ["teacher", "soft", "sid"]
    assert [model["name"] for model in compared["rte"]["models"]] == ["teacher", "soft"]
    note = "sid matches teacher layers [4] and soft [2, 4], so sid is left out"
    assert compared["rte"]["notes"] == [note]


def test_another_setting_of_one_task_runs_that_task_again_and_no_other(graded: Project, tmp_path: Path):
    project = graded.copy(tmp_path)
    project.edit({"task": GLUE["task"] | {"rte": {"teacher": {"epochs": 1}}}})
    changed = set(re.findall(r"^(\S+):$", project.run("dvc", "status", "dvc.yaml").stdout, re.MULTILINE))
    of_rte = {f"{stage}@rte-{seed}" for stage in ("teacher", "targets") for seed in GLUE["teacher.seeds"]}
    of_rte |= {f"student@rte-{method}-{seed}" for method in GLUE["methods"] for seed in GLUE["seeds"]}
    assert changed == {*of_rte, "inputs", "prepare@rte", "report"}  # the page lists what is other for a task
    stages = ran(project.run("dvc", "repro", "teacher@rte-7", "teacher@cola-7", warm=True).stdout)
    assert stages == {"prepare@rte", "teacher@rte-7"}
    assert facts(project, "metrics/teacher/rte/s7.json")["epochs"] == 1


# The study of GLUE, which has tasks, data, teachers and knobs of its own


@pytest.fixture(scope="module")
def studied(graded: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A copy of it after the study, with another number of layers than the headline run; what the study said."""
    project = graded.copy(tmp_path_factory.mktemp("studied"))
    project.edit({f"study.glue.{key}": GLUE[key] for key in ("tasks", "seeds")})
    project.edit(
        {
            "study.glue.methods": ["sid"],
            "study.glue.data": {"source": "local", "path": project.params()["data"]["path"]},
            "study.glue.model": {},
            "study.glue.teacher": {"seeds": [7], "rows": 64},
            "study.glue.student": {"layers": 3, "rows": 24},
            "tasks": ["cola"],
        }
    )
    return project, project.run("dvc", "repro", "stages/dvc.yaml:glue", warm=True).stdout


def test_the_study_runs_its_own_stages_and_none_of_the_headline(studied: tuple[Project, str]):
    project, said = studied
    assert {name.partition("@")[0] for name in ran(said)} == {
        *("glue-prepare", "glue-teacher", "glue-targets", "glue-point", "glue")
    }
    point = facts(project, "metrics/glue/points/cola/sid-s1.json")
    assert (point["layers"], point["rows"], point["teacher_seed"]) == (3, 24, 7)
    assert facts(project, "metrics/glue/points/rte/sid-s1.json")["layers"] == 1  # of the task, which is narrower
    assert facts(project, "metrics/glue/teacher/rte/s7.json")["rows"] == 64


def test_the_study_leaves_numbers_and_no_text(studied: tuple[Project, str]):
    project, _ = studied
    folder = project.root / "metrics/glue"
    left = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert left == {".json", ".csv", ".md", ".tex", ".png", ".svg"}
    for path in folder.rglob("*.*"):
        if path.suffix in (".json", ".csv", ".md", ".tex"):
            assert not re.search(r"lovely|scenes|ending", path.read_text()), path
    table = pd.read_csv(folder / "overview.csv")
    assert {"cola_matthews", "rte_accuracy", "average", "rank"} <= set(table)


def test_one_command_predicts_all_tasks_by_the_seed_that_is_best_on_validation(studied: tuple[Project, str]):
    project, _ = studied
    trained = sorted(path.name for path in (project.root / "work").glob("student-*"))
    said = project.run("python", "-m", "kdcore", "submission", "sid", "sent", "--study", "glue", warm=True).stdout
    for task, name in NAMES.items():
        scores = {
            seed: facts(project, f"metrics/glue/points/{task}/sid-s{seed}.json")["score"] for seed in GLUE["seeds"]
        }
        assert f"{task}: sid, seed {max(scores, key=scores.__getitem__)}, " in said
        assert len((project.root / f"sent/{name}.tsv").read_text().splitlines()) == 1 + FILES[name].rows
    assert set(zipfile.ZipFile(project.root / "sent/submission.zip").namelist()) == {"CoLA.tsv", "RTE.tsv"}
    assert sorted(path.name for path in (project.root / "work").glob("student-*")) == trained
