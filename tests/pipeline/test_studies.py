"""The studies on a tiny model: each runs by its name, shares students with the headline run, adds what is new."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.pipeline.conftest import TASK, Project

# SMALL has methods soft and sid, sid's head, and for the ablation sid with the layer maps uniform and last.


@pytest.fixture(scope="module")
def studied(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished project after three of its studies, each on a few points."""
    root = tmp_path_factory.mktemp("studied") / "repository"
    shutil.copytree(finished.root, root, symlinks=True)
    project = Project(root)
    project.run(
        "dvc", "repro", *(f"stages/dvc.yaml:{study}" for study in ("methods", "convergence", "ablation")), warm=True
    )
    return project


def runs(project: Project) -> set[str]:
    return {path.name for path in (project.root / "work").glob("student-*")}


def point(project: Project, study: str, name: str) -> dict:
    return json.loads((project.root / f"metrics/{study}/points/{TASK}/{name}.json").read_text())


def test_students_of_the_headline_run_are_not_trained_again(finished: Project, studied: Project):
    # New are: sid whose last phase trains the head, and sid with the last layers (2 of 4: uniform is 2 and 4).
    assert len(runs(studied) - runs(finished)) == 2
    for study, name in (("methods", "sid-s0"), ("convergence", "sid-model-s0"), ("ablation", "sid-uniform-teacher-s0")):
        assert point(studied, study, name) == point(studied, "main", "sid-s0")


def test_points_say_what_they_were_asked_for(studied: Project):
    assert point(studied, "convergence", "sid-head-s0")["trains"] == "head"
    assert point(studied, "ablation", "sid-last-teacher-s0")["layer_map"] == "last"


def test_every_point_has_its_history(studied: Project):
    points = sorted((studied.root / "metrics").glob("*/points/*/*-s0.json"))
    studies = [path for path in points if path.parts[-4] != "main"]
    assert len(studies) == 2 + 3 + 2
    for path in studies:
        history = pd.read_csv(path.with_suffix(".csv"))
        assert history["epoch"].tolist() == [1, 2, 3]  # one epoch per layer, one of classification


def test_a_damaged_history_is_named_and_what_is_said_makes_it_and_its_point_again(studied: Project, tmp_path: Path):
    project = studied.copy(tmp_path)
    point = project.root / f"metrics/convergence/points/{TASK}/sid-head-s0.json"
    whole = {path: path.read_bytes() for path in (point, point.with_suffix(".csv"))}
    damaged = {path: content[::-1].replace(b"0", b"9", 1)[::-1] for path, content in whole.items()}  # the last zero
    history = point.with_suffix(".csv")
    history.write_bytes(damaged[history])
    folders = ("metrics/convergence/points", "metrics/teacher", "metrics/convergence")
    said = project.run("python", "-m", "kdcore", "curve", "convergence", *folders, check=False, warm=True)
    history.write_bytes(whole[history])
    point.write_bytes(damaged[point])
    again = project.run("python", "-m", "kdcore", "curve", "convergence", *folders, check=False, warm=True)
    history.write_bytes(damaged[history])
    rerun = "dvc repro stages/dvc.yaml:convergence"
    problem = f"was changed since it was written; `{rerun}` makes it again"
    for file, told in ((history, said), (point, again)):
        assert (told.returncode, told.stderr) == (2, f"{file.relative_to(project.root)}: {problem}\n")
    project.run(*rerun.split(), warm=True)
    assert {path: path.read_bytes() for path in whole} == whole


@pytest.mark.parametrize(
    ("study", "files"),
    [
        ("methods", ["table.csv", "table.md", "figures/methods.png", "figures/methods.svg"]),
        ("convergence", ["convergence.csv", "table.csv", "table.md", "figures/convergence.svg"]),
        ("ablation", ["table.csv", "table.md", "figures/ablation.svg"]),
    ],
)
def test_a_study_leaves_its_table_and_picture(studied: Project, study: str, files: list[str]):
    assert [file for file in files if not (studied.root / "metrics" / study / file).is_file()] == []


def test_the_head_alone_stands_beside_the_model(studied: Project):
    table = pd.read_csv(studied.root / "metrics/convergence/table.csv")
    table = table[table["method"] != "teacher"]
    assert table[["method", "trains"]].to_numpy().tolist() == [["soft", "model"], ["sid", "model"], ["sid", "head"]]
    history = pd.read_csv(studied.root / "metrics/convergence/convergence.csv")
    by_epoch = history[history["method"] == "sid"].pivot(index="epoch", columns="trains", values="score")
    assert by_epoch["head"].tolist()[:2] == by_epoch["model"].tolist()[:2]  # they part after the layers


def test_plots_of_the_studies_can_be_shown(studied: Project):
    pictures = [f"metrics/{study}/figures/{study}.png" for study in ("methods", "ablation")]
    shown = studied.run("dvc", "plots", "show", *pictures)
    assert "failed to load" not in shown.stderr
    page = (studied.root / "dvc_plots/index.html").read_text()
    assert page.count("<img src=") == 2


def test_a_new_value_runs_its_own_points_only(studied: Project, tmp_path: Path):
    shutil.copytree(studied.root, tmp_path / "repository", symlinks=True)
    grown = Project(tmp_path / "repository")
    grown.edit({"study.methods.methods": ["none", "soft", "sid"]})
    said = grown.run("dvc", "repro", "stages/dvc.yaml:methods", warm=True).stdout
    ran = [line for line in said.splitlines() if line.startswith("Running stage") and "'inputs'" not in line]
    assert len(ran) == 2
    assert any("methods-point@tiny-none-0" in line for line in ran)
    assert any("dvc.yaml:methods'" in line for line in ran)


def test_errors_of_the_headline_run_are_analysed(finished: Project):
    found = json.loads((finished.root / "metrics/main/errors.json").read_text())[TASK]
    for method, facts in found["methods"].items():
        run = facts["runs"][0]
        score = point(finished, "main", f"{method}-s0")
        right = run["counts"]["both_right"] + run["counts"]["only_student_right"]
        assert right / found["examples"] == pytest.approx(score["score"])
        assert run["shares"]["agreement"] == pytest.approx(score["fidelity"]["agreement"])
        assert run["score"]["low"] <= run["score"]["value"] == pytest.approx(score["score"])
        assert run["tests"]["teacher"]["p_holm"] is not None
        classes, own = found["classes"][method], score["classification"]["validation"]
        assert classes["confusion"] == own["confusion"]
        assert classes["f1_macro"]["value"] == pytest.approx(own["f1_macro"])
        assert classes["calibration_error"]["value"] == pytest.approx(own["calibration_error"])
    assert (finished.root / "metrics/main/errors.md").is_file()
    assert (finished.root / "metrics/main/errors.csv").is_file()
