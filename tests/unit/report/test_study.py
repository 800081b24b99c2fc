"""Each study, from its section of params.yaml to its files: which points it wants, what it writes, what it refuses."""

import itertools
import shutil
from pathlib import Path

import pandas as pd
import pytest

from kdcore.errors import UserError
from kdcore.params.read import load
from kdcore.report.studies import cells
from kdcore.report.study import write_study
from tests.unit.report import synthetic_points as synthetic

ROOT = Path(__file__).parents[3]
SEEDS = [0, 1]
GRIDS = {
    "methods": {"methods": ["none", "soft", "sid", "sid-kl"]},
    "depth": {"layers": [1, 2], "methods": ["soft", "sid"]},
    "data_size": {"rows": [100, 200], "methods": ["soft", "sid"]},
    "convergence": {"methods": ["soft", "all", "sid"], "head": ["sid"]},
    "ablation": {"methods": ["sid", "sid-cos"], "layer_maps": ["uniform", "last"], "inits": ["teacher", "random"]},
}
FILES = {
    "methods": ["figures/methods.png", "figures/methods.svg", "methods.csv", "table.csv", "table.md"],
    "depth": ["curve.csv", "figures/depth.png", "figures/depth.svg", "table.md"],
    "data_size": ["curve.csv", "figures/data_size.png", "figures/data_size.svg", "table.md"],
    "convergence": [
        "convergence.csv", "figures/convergence.png", "figures/convergence.svg", "table.csv", "table.md",
    ],
    "ablation": ["ablation.csv", "figures/ablation.png", "figures/ablation.svg", "table.csv", "table.md"],
}  # fmt: skip


def points_of(folder, study, tasks=("movies",)):
    """A point and a history for every cell and seed, in the layout that `point` writes."""
    for task, cell, seed in itertools.product(tasks, cells(study, GRIDS[study]), SEEDS):
        says = dict(cell.says)
        method = says.pop("method")
        path = folder / task / f"{cell.name}-s{seed}.json"
        synthetic.write(path, synthetic.point(task, method, seed, **says))
        synthetic.history(path.with_suffix(".csv"), method, seed)


def write(folder, study, tasks=("movies",)):
    """Write a study of synthetic points into <folder>/out."""
    teachers = {task: synthetic.write(folder / f"{task}.json", synthetic.teacher(task)) for task in tasks}
    write_study(study, folder / "points", folder / "out", teachers, GRIDS[study], SEEDS, 0.95)
    return folder / "out"


@pytest.mark.parametrize("study", GRIDS)
def test_every_study_writes_its_files(tmp_path, study):
    points_of(tmp_path / "points", study)
    out = write(tmp_path, study)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == FILES[study]


def test_every_table_says_how_long_its_students_train(tmp_path):
    points_of(tmp_path / "points", "depth")
    # Two methods, two depths, and seeds 0 and 1 of 30 and 31 s: 4 x 61.
    assert (
        (write(tmp_path, "depth") / "table.md")
        .read_text()
        .endswith("\nStudents: 8; training them takes 244 s in all.\n")
    )


def test_params_have_a_section_for_each_of_these_studies():
    study = load(ROOT / "params.yaml").study
    assert {name: set(grid) for name, grid in study.items()} == {name: set(grid) for name, grid in GRIDS.items()}


@pytest.mark.parametrize(
    ("study", "names"),
    [
        ("methods", ["none", "soft", "sid", "sid-kl"]),
        ("depth", ["soft-L1", "soft-L2", "sid-L1", "sid-L2"]),
        ("data_size", ["soft-n100", "soft-n200", "sid-n100", "sid-n200"]),
        ("convergence", ["soft-model", "all-model", "sid-model", "sid-head"]),
    ],
)
def test_points_are_named_by_what_the_study_varies(study, names):
    assert [cell.name for cell in cells(study, GRIDS[study])] == names


def test_the_ablation_is_a_full_grid():
    found = [cell.name for cell in cells("ablation", GRIDS["ablation"])]
    assert len(found) == len(set(found)) == 2 * 2 * 2
    assert found[:2] == ["sid-uniform-teacher", "sid-uniform-random"]


@pytest.mark.parametrize(
    ("study", "lost", "key"),
    [
        ("methods", "sid-kl-s*", "study.methods.methods: sid-kl"),
        ("convergence", "sid-head-s*", "study.convergence.head: sid"),
        ("convergence", "all-model-s1", "seeds: 1"),
        ("ablation", "*-last-*", "study.ablation.layer_maps: last"),
        ("ablation", "*-random-s*", "study.ablation.inits: random"),
    ],
)
def test_missing_points_name_the_params_key_and_what_makes_them(tmp_path, study, lost, key):
    points_of(tmp_path / "points", study)
    for path in (tmp_path / "points/movies").glob(f"{lost}.json"):
        path.unlink()
    with pytest.raises(UserError) as refused:
        write(tmp_path, study)
    assert f"params.yaml: {key} is asked for" in str(refused.value)
    assert f"`dvc repro stages/dvc.yaml:{study}` makes" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_point_of_another_recipe_is_refused(tmp_path):
    points_of(tmp_path / "points", "ablation")
    folder = tmp_path / "points/movies"
    shutil.copy(folder / "sid-uniform-teacher-s0.json", folder / "sid-last-teacher-s0.json")
    with pytest.raises(UserError, match=r"sid-last-teacher-s0.json: layer_map: expected last, found uniform"):
        write(tmp_path, "ablation")


def test_convergence_needs_the_history_beside_each_point(tmp_path):
    points_of(tmp_path / "points", "convergence")
    (tmp_path / "points/movies/sid-head-s1.csv").unlink()
    with pytest.raises(UserError, match=r"sid-head-s1.csv: missing"):
        write(tmp_path, "convergence")
    assert not (tmp_path / "out").exists()


def test_convergence_compares_the_head_with_the_model_and_all_with_soft(tmp_path):
    points_of(tmp_path / "points", "convergence")
    out = write(tmp_path, "convergence")
    table = pd.read_csv(out / "table.csv")
    assert table[["method", "trains"]].to_numpy().tolist() == [
        ["soft", "model"],
        ["all", "model"],
        ["sid", "model"],
        ["sid", "head"],
    ]
    assert table["minus_soft"].isna().tolist() == [True, False, False, False]
    assert table["minus_model"].isna().tolist() == [True, True, True, False]
    history = pd.read_csv(out / "convergence.csv")
    assert history.groupby(["method", "trains"]).size().to_dict() == {
        ("all", "model"): 20,
        ("sid", "head"): 20,
        ("sid", "model"): 20,
        ("soft", "model"): 20,
    }


def test_tables_of_two_tasks_keep_the_tasks_apart(tmp_path):
    points_of(tmp_path / "points", "ablation", ("rte", "movies"))
    table = pd.read_csv(write(tmp_path, "ablation", ("rte", "movies")) / "table.csv")
    assert table["task"].tolist() == ["rte"] * 8 + ["movies"] * 8
    for _, rows in table.groupby("task"):
        assert rows["score"].is_monotonic_decreasing
