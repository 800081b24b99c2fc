"""The paper's two figures on a tiny model: a study shares students with the headline run and adds only what is new."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.pipeline.conftest import TASK, Project

# SMALL has depths 1 and 2 (headline: 2), sizes 16 and 32 (headline: 32), methods soft and sid, and one seed.


def students(project: Project) -> set[str]:
    """The finished students in the store."""
    return {path.parent.name for path in (project.root / "work").glob("student-*/result")}


def repro(project: Project, study: str) -> list[str]:
    """Run a study; returns the stages that ran, without the path of their file; `inputs` always does."""
    output = project.run("dvc", "repro", f"stages/dvc.yaml:{study}", warm=True).stdout
    return re.findall(r"^Running stage '(?!inputs')(?:[^':]+:)?([^']+)'", output, re.MULTILINE)


@pytest.fixture(scope="module")
def studied(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, list[str]]]:
    """The finished project after both studies, and the stages that each of them ran."""
    project = Project(tmp_path_factory.mktemp("studied") / "repository")
    shutil.copytree(finished.root, project.root, symlinks=True)
    return project, {study: repro(project, study) for study in ("depth", "data_size")}


def test_a_study_runs_its_own_stages_and_none_of_the_headline(studied: tuple[Project, dict[str, list[str]]]):
    _, ran = studied
    points = {f"depth-point@{TASK}-{method}-{layers}-0" for method in ("soft", "sid") for layers in (1, 2)}
    assert set(ran["depth"]) == {*points, "depth"}
    points = {f"data_size-point@{TASK}-{method}-{rows}-0" for method in ("soft", "sid") for rows in (16, 32)}
    assert set(ran["data_size"]) == {*points, f"data_size-targets@{TASK}-0", "data_size"}


def test_the_headlines_students_are_not_trained_again(finished: Project, studied: tuple[Project, dict[str, list[str]]]):
    """New are two students of one layer, and two that have seen 16 rows."""
    project, _ = studied
    assert students(finished) < students(project)
    assert len(students(project) - students(finished)) == 4
    for study, name in (("depth", "sid-L2-s0"), ("data_size", "sid-n32-s0")):
        shared = json.loads((project.root / f"metrics/{study}/points/{TASK}/{name}.json").read_text())
        main = json.loads((project.root / f"metrics/main/points/{TASK}/sid-s0.json").read_text())
        assert shared == main


def test_a_point_is_what_its_name_says(studied: tuple[Project, dict[str, list[str]]]):
    project, _ = studied
    for study, name, expected in (
        ("depth", "soft-L1-s0", {"method": "soft", "layers": 1, "rows": 32}),
        ("data_size", "soft-n16-s0", {"method": "soft", "layers": 2, "rows": 16}),
    ):
        point = json.loads((project.root / f"metrics/{study}/points/{TASK}/{name}.json").read_text())
        assert {key: point[key] for key in expected} == expected


@pytest.mark.parametrize(("study", "column", "values"), [("depth", "layers", {1, 2}), ("data_size", "rows", {16, 32})])
def test_a_study_leaves_table_and_picture(
    studied: tuple[Project, dict[str, list[str]]], study: str, column: str, values: set[int]
):
    folder = studied[0].root / "metrics" / study
    curve = pd.read_csv(folder / "table.csv")
    for method in ("soft", "sid"):
        assert set(curve.loc[curve["method"] == method, column]) == values
    assert "teacher" in set(curve["method"])
    assert "soft" in (folder / "table.md").read_text()
    assert (folder / f"figures/{study}.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / f"figures/{study}.svg").read_text()


def test_a_study_that_ran_runs_nothing(studied: tuple[Project, dict[str, list[str]]]):
    assert repro(studied[0], "depth") == []


def test_another_depth_trains_that_depth_only(studied: tuple[Project, dict[str, list[str]]], tmp_path: Path):
    before, _ = studied
    shutil.copytree(before.root, tmp_path / "repository", symlinks=True)
    grown = Project(tmp_path / "repository")
    grown.edit({"study.depth.layers": [1, 2, 3]})
    assert sorted(repro(grown, "depth")) == ["depth", f"depth-point@{TASK}-sid-3-0", f"depth-point@{TASK}-soft-3-0"]
    assert len(students(grown) - students(before)) == 2
    curve = pd.read_csv(grown.root / "metrics/depth/table.csv")
    assert set(curve.loc[curve["method"] == "sid", "layers"]) == {1, 2, 3}


def test_a_depth_that_is_taken_out_leaves_the_curve_without_training(
    studied: tuple[Project, dict[str, list[str]]], tmp_path: Path
):
    before, _ = studied
    shutil.copytree(before.root, tmp_path / "repository", symlinks=True)
    shrunk = Project(tmp_path / "repository")
    shrunk.edit({"study.depth.layers": [2]})
    assert repro(shrunk, "depth") == ["depth"]
    assert students(shrunk) == students(before)
    curve = pd.read_csv(shrunk.root / "metrics/depth/table.csv")
    assert set(curve.loc[curve["method"] != "teacher", "layers"]) == {2}
