"""A whole `dvc repro` on a tiny model: what it leaves, what a change reruns, and that it can be read anywhere."""

import json
import re
import shutil

import pandas as pd
import pytest
from ruamel.yaml import YAML
from transformers import pipeline

from tests.pipeline.conftest import ROOT, SMALL, TASK, Project

METHODS = SMALL["methods"]
BRANCH = "one-layer"


def ran(output: str) -> list[str]:
    """The stages that a `dvc repro` or `dvc exp run` ran, as it says itself, beside `inputs`, which always runs."""
    return re.findall(r"^Running stage '(?!inputs')([^']+)'", output, re.MULTILINE)


@pytest.fixture(scope="module")
def experiment(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[str]]:
    """A copy of the finished project in which one layer was tried and put on a branch; and the stages that it ran."""
    project = Project(tmp_path_factory.mktemp("experiment") / "repository")
    shutil.copytree(finished.root, project.root, symlinks=True)
    stages = ran(project.run("dvc", "exp", "run", "-S", "student.layers=1", warm=True).stdout)
    project.run("git", "checkout", "--quiet", "-b", BRANCH)
    project.commit("One layer")
    project.run("git", "checkout", "--quiet", "main")
    project.run("dvc", "checkout", "--quiet")
    return project, stages


@pytest.fixture(scope="module")
def clone(experiment: tuple[Project, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A fresh clone with both branches, without a DVC remote, data or runs."""
    folder = tmp_path_factory.mktemp("clone")
    project = Project(folder / "repository")
    Project(folder).run("git", "clone", "--quiet", str(experiment[0].root), str(project.root))
    project.run("git", "branch", "--quiet", BRANCH, f"origin/{BRANCH}")
    assert not any((project.root / name).exists() for name in ("data", "runs", "work"))
    return project


# What it leaves


def test_it_leaves_a_student_of_each_method_that_transformers_loads(finished: Project):
    folders = {path.name: path for path in (finished.root / f"runs/student/{TASK}").iterdir()}
    assert set(folders) == {f"{method}-s0" for method in METHODS}
    for folder in folders.values():
        facts = json.loads((folder / "run.json").read_text())
        assert (facts["layers"], facts["rows"]) == (SMALL["student.layers"], SMALL["student.rows"])
        assert len(pd.read_csv(folder / "history.csv")) == facts["epochs"] == 3
        answers = pipeline("text-classification", str(folder))(["a lovely film", "the plot was dull"])
        assert {answer["label"] for answer in answers} <= {"bad", "good"}


def test_it_leaves_a_score_for_the_teacher_and_each_method(finished: Project):
    scores = json.loads((finished.root / f"metrics/main/scores/{TASK}.json").read_text())
    assert set(scores) == {"teacher", *METHODS}
    for name, score in scores.items():
        point = json.loads((finished.root / f"metrics/main/points/{TASK}/{name}-s0.json").read_text())
        assert score == pytest.approx(point["score"], abs=1e-6)
        assert point["method"] == name
    assert json.loads((finished.root / f"metrics/teacher/{TASK}/s0.json").read_text())["score"] == scores["teacher"]


def test_the_tiny_teacher_learns_so_that_there_is_something_to_distil(finished: Project):
    assert json.loads((finished.root / f"metrics/teacher/{TASK}/s0.json").read_text())["score"] > 0.9


def test_it_leaves_tables_and_pictures(finished: Project):
    main = finished.root / "metrics/main"
    table = (main / "table.md").read_text()
    assert re.findall(r"^\| (\w+) \|", table.partition("###")[0], re.MULTILINE) == ["method", "teacher", *METHODS]
    assert pd.read_csv(main / "table.csv")["method"].tolist() == ["teacher", *METHODS]
    assert set(pd.read_csv(main / "convergence.csv")["method"]) == set(METHODS)
    for picture in ("main", "convergence"):
        assert (main / f"figures/{picture}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (main / f"figures/{picture}.svg").read_text()


def test_it_leaves_predictions_of_the_same_rows_in_the_same_order_for_every_model(finished: Project):
    tables = [pd.read_parquet(path) for path in (finished.root / f"runs/predictions/{TASK}").glob("*.parquet")]
    assert len(tables) == len(METHODS) + 1
    assert all(table["row"].tolist() == tables[0]["row"].tolist() for table in tables)
    assert len(tables[0]) == 32


def test_results_are_in_git_and_what_is_large_is_not(finished: Project):
    kept = finished.run("git", "ls-files").stdout.split()
    assert f"metrics/main/scores/{TASK}.json" in kept
    assert f"metrics/main/points/{TASK}/teacher-s0.json" in kept
    assert "dvc.lock" in kept
    assert not [path for path in kept if path.startswith(("data/", "runs/", "work/", "dvc_plots/"))]
    assert finished.run("git", "status", "--porcelain").stdout == ""


def test_it_leaves_no_checkpoint_and_nothing_half_written(finished: Project):
    left = [path for path in (finished.root / "work").rglob("*") if path.name in ("checkpoints", "partial")]
    asides = [
        path for folder in ("work", "runs", "metrics", "data") for path in (finished.root / folder).rglob(".*.[0-9]*")
    ]
    assert (left, asides) == ([], [])


# What a change reruns


def test_a_second_repro_runs_nothing(finished_copy: Project):
    assert ran(finished_copy.run("dvc", "repro", warm=True).stdout) == []
    assert finished_copy.run("git", "status", "--porcelain").stdout == ""


def test_what_students_are_told_leaves_the_teacher_up_to_date(finished_copy: Project):
    finished_copy.edit({"train.learning_rate": 1e-3, "train.batch_size": 4, "train.schedule": "whole"})
    changed = json.loads(finished_copy.run("dvc", "status", "--json").stdout)
    assert {stage.partition("@")[0] for stage in changed} >= {"student"}
    assert not [stage for stage in changed if stage.startswith(("teacher", "targets"))]


def test_another_depth_reruns_the_students_and_what_follows_them(experiment: tuple[Project, list[str]]):
    _, stages = experiment
    names = {stage.partition("@")[0] for stage in stages}
    assert {stage for stage in stages if stage.startswith("student@")} == {f"student@{TASK}-{m}-0" for m in METHODS}
    assert {"student", "evaluate", "plots"} <= names
    assert names <= downstream("student") | {"targets"}  # whose signals of all layers are found, and stay
    assert not names & {"prepare", "teacher"}


def downstream(stage: str) -> set[str]:
    """The stages of the root dvc.yaml that read what `stage` writes, directly or not, and itself."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]

    def paths(name: str, key: str) -> list[str]:
        return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in stages[name].get(key, [])]

    found = {stage}
    while True:
        outs = [out for name in found for key in ("outs", "metrics") for out in paths(name, key)]
        more = {n for n in stages if any(o.startswith(d) or d.startswith(o) for o in outs for d in paths(n, "deps"))}
        if more <= found:
            return found
        found |= more


def test_the_other_depth_is_what_was_asked_for(experiment: tuple[Project, list[str]]):
    project, _ = experiment
    shown = project.run("git", "show", f"{BRANCH}:metrics/main/points/{TASK}/sid-s0.json").stdout
    here = json.loads((project.root / f"metrics/main/points/{TASK}/sid-s0.json").read_text())
    assert (json.loads(shown)["layers"], here["layers"]) == (1, 2)


def test_teacher_and_signals_survive_the_loss_of_every_run_as_dvc_has_them(finished_copy: Project):
    """work/ is not DVC's: without it a new depth still needs no teacher, only its signals."""
    shutil.rmtree(finished_copy.root / "work")
    finished_copy.edit({"methods": ["soft"], "student.layers": 1})
    output = finished_copy.run("dvc", "repro", "evaluate", warm=True).stdout
    assert ran(output) == [f"targets@{TASK}-0", f"student@{TASK}-soft-0", f"evaluate@{TASK}"]
    assert f"{TASK} soft, 1 layer, seed 0: student 1 of 1\n" in output


# That it can be read, here and in a clone


@pytest.fixture(params=["where it ran", "in a fresh clone"])
def place(request: pytest.FixtureRequest, experiment: tuple[Project, list[str]]) -> Project:
    return experiment[0] if request.param == "where it ran" else request.getfixturevalue("clone")


def test_metrics_show_has_a_row_per_task_and_a_column_per_method(place: Project):
    shown = json.loads(place.run("dvc", "metrics", "show", "--json").stdout)
    (files,) = [revision["data"] for revision in shown.values()]
    assert set(files) == {f"metrics/main/scores/{TASK}.json"}
    assert set(files[f"metrics/main/scores/{TASK}.json"]["data"]) == {"teacher", *METHODS}
    text = place.run("dvc", "metrics", "show")
    assert re.search(rf"metrics/main/scores/{TASK}\.json( +[\d.]+)+", text.stdout)
    assert "failed" not in text.stderr


def test_metrics_diff_compares_the_branches_method_by_method(place: Project):
    """A method whose score did not change has no line."""
    scores = [
        json.loads(place.run("git", "show", f"{branch}:metrics/main/scores/{TASK}.json").stdout)
        for branch in ("main", BRANCH)
    ]
    changed = {name for name, score in scores[0].items() if score != scores[1][name]}
    assert changed
    assert "teacher" not in changed
    found = json.loads(place.run("dvc", "metrics", "diff", "main", BRANCH, "--json").stdout)
    lines = found[f"metrics/main/scores/{TASK}.json"]
    assert {name: (line["old"], line["new"]) for name, line in lines.items()} == {
        name: (scores[0][name], scores[1][name]) for name in changed
    }
    assert "Change" in place.run("dvc", "metrics", "diff", "main", BRANCH).stdout


def test_params_diff_says_what_differs(place: Project):
    found = json.loads(place.run("dvc", "params", "diff", "main", BRANCH, "--json").stdout)
    assert found == {"params.yaml": {"student.layers": {"old": 2, "new": 1, "diff": -1}}}


@pytest.mark.parametrize("command", [["show"], ["diff", "main", BRANCH]], ids=["show", "diff"])
def test_plots_are_pages_that_need_no_network(place: Project, command: list[str]):
    place.run("dvc", "plots", *command)
    page = (place.root / "dvc_plots/index.html").read_text(encoding="utf-8")
    declared = [path.replace("${tasks[0]}", TASK) for path in YAML(typ="safe").load(ROOT / "dvc.yaml")["plots"]]
    shown = re.findall(r'<img src="(static/[^"]+)"', page)
    assert len(shown) >= len(declared) == 3
    assert [path for path in declared if not any(name.endswith(path.replace("/", "_")) for name in shown)] == []
    assert all((place.root / "dvc_plots" / name).is_file() for name in shown)
    assert "<script" not in page
    assert re.findall(r"""(?:src|href)\s*=\s*["']https?://[^"']+""", page) == []


def test_a_clone_says_what_is_missing_and_how_to_get_it(clone: Project):
    """Nothing was pushed; the stages can still run, and DVC says which files it lacks."""
    status = clone.run("dvc", "status").stdout
    assert f"data/{TASK}" in status
    assert "deleted" in status


# The page that a stage writes, where there is one


def test_no_page_asks_for_a_network(finished: Project):
    pages = list((finished.root / "metrics").rglob("*.html"))
    links = {page.name: re.findall(r"""(?:src|srcset)\s*=\s*["']https?://""", page.read_text()) for page in pages}
    assert not any(links.values())
