"""The studies as data: which students each asks for, how their points are named, which key asks for what."""

import pytest

from kdcore.cli.study import as_asked
from kdcore.params.overrides import renamed
from kdcore.params.read import load
from kdcore.studies import STUDIES, cells
from tests.pipeline.conftest import ROOT

# A small grid of each study -> the names of its points before the seed, which committed results have too.
NAMES = {
    "glue": ({"methods": ["soft", "sid"]}, ["soft", "sid"]),
    "methods": ({"methods": ["none", "sid-kl"]}, ["none", "sid-kl"]),
    "depth": ({"methods": ["soft"], "layers": [1, 5]}, ["soft-L1", "soft-L5"]),
    "data_size": ({"methods": ["sid"], "rows": [250, 4000]}, ["sid-n250", "sid-n4000"]),
    "convergence": ({"methods": ["none", "pid"], "head": ["pid"]}, ["none-model", "pid-model", "pid-head"]),
    "ablation": (
        {"methods": ["sid"], "layer_maps": ["uniform", "last"], "inits": ["teacher", "random"]},
        ["sid-uniform-teacher", "sid-uniform-random", "sid-last-teacher", "sid-last-random"],
    ),
    "tune": (
        {"methods": ["sid"], "knobs": {"train": {"learning_rate": [1e-4, 5e-5]}, "student": {"init": ["random"]}}},
        ["sid/untuned", "sid/learning_rate=0.0001-init=random", "sid/learning_rate=5e-05-init=random"],
    ),
}


@pytest.mark.parametrize("study", STUDIES)
def test_points_are_named_by_what_the_study_varies(study: str):
    grid, names = NAMES[study]
    assert [cell.name for cell in cells(STUDIES[study], grid)] == names


@pytest.mark.parametrize("study", STUDIES)
def test_the_points_that_are_committed_are_those_that_params_ask_for(study: str):
    params = load(ROOT / "params.yaml", study=study)
    grid, folder = params.study[study], ROOT / "metrics" / study / "points"
    if not folder.is_dir() and (STUDIES[study].own or STUDIES[study].tunes):
        pytest.skip(f"{study} has not run here")
    tasks, seeds = grid.get("tasks", params.tasks), grid.get("seeds", params.seeds)
    asked = {f"{task}/{cell.name}" for task in tasks for cell in cells(STUDIES[study], grid)}
    points = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.json")}
    wanted = {f"{name}-s{seed}" for name in asked for seed in seeds}
    assert points >= wanted if STUDIES[study].own else points == wanted  # hours each: those of `none` stay


def test_a_cell_says_what_it_sets_and_which_keys_ask_for_it():
    *_, cell = cells(STUDIES["ablation"], NAMES["ablation"][0])
    assert cell.sets == {"student.layer_map": "last", "student.init": "random"}
    assert cell.fields == {"method": "sid", "layer_map": "last", "init": "random"}
    assert cell.asked == {
        "study.ablation.methods": "sid",
        "study.ablation.layer_maps": "last",
        "study.ablation.inits": "random",
    }
    *_, head = cells(STUDIES["convergence"], NAMES["convergence"][0])
    assert (head.sets, head.asked) == ({"distill.trains": "head"}, {"study.convergence.head": "pid"})


def test_a_knob_that_params_list_is_asked_for_by_its_list():
    grid = NAMES["tune"][0]
    *_, cell = cells(STUDIES["tune"], grid)
    assert cell.sets == {"train.learning_rate": 5e-5, "student.init": "random"}
    assert cell.fields == {"method": "sid", "learning_rate": 5e-5, "init": "random"}
    assert cell.asked == {
        "study.tune.methods": "sid",
        "study.tune.knobs.train.learning_rate": 5e-5,
        "study.tune.knobs.student.init": "random",
    }
    problem = "train.learning_rate: must be 1"
    assert renamed(problem, STUDIES["tune"].asked(grid).asks) == f"study.tune.knobs.{problem}"


def test_a_problem_with_a_knob_is_said_of_the_list_that_asks_for_it():
    assert renamed("student.layers: must be 1", STUDIES["depth"].asks) == "study.depth.layers: must be 1"
    assert renamed("student.rows: must be 1", STUDIES["depth"].asks) == "student.rows: must be 1"


def test_a_head_can_train_alone_where_there_is_a_phase_for_it():
    _, head = STUDIES["convergence"].arms
    assert head.allowed == ("pid", "pid-kl", "pid-cos", "sid", "sid-kl", "sid-cos")


def test_a_point_says_how_many_rows_there_are_where_more_are_asked_for():
    assert as_asked({"rows": 250, "init": "teacher"}, {"rows": 250}) == {"rows": 250, "init": "teacher"}
    assert as_asked({"rows": 1500}, {"rows": 2000}) == {"rows": 2000, "used": 1500}
    assert as_asked({"rows": 1500}, {"rows": None}) == {"rows": None}
    assert as_asked({"rows": 1500}, {"layers": 2}) == {"rows": 1500, "layers": 2}
