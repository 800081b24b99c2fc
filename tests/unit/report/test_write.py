"""The files of the stage `plots` and of each study: what is written, from which points, and what is refused."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from kdcore.errors import UserError
from kdcore.params.read import load
from kdcore.report import points
from kdcore.report.write import csv, histories, write_all, write_main, write_study
from kdcore.studies import STUDIES, Axis, Study, cells
from tests.unit.report import synthetic_points as synthetic

ROOT = Path(__file__).parents[3]
SEEDS = [0, 1]
MAIN = ["movies", "rte"], ["none", "soft", "sid"], SEEDS, [0], 0.95
GRIDS = {
    "methods": {"methods": ["none", "soft", "sid", "sid-kl"]},
    "glue": {
        "tasks": ["cola", "rte"],
        "seeds": SEEDS,
        "methods": ["soft", "sid"],
        "teacher": {"seeds": [0]},
        **{section: {} for section in ("data", "model", "student", "distill", "train")},
    },
    "depth": {"layers": [1, 2], "methods": ["soft", "sid"]},
    "data_size": {"rows": [100, 200], "methods": ["soft", "sid"]},
    "convergence": {"methods": ["soft", "all", "sid"], "head": ["sid"]},
    "ablation": {"methods": ["sid", "sid-cos"], "layer_maps": ["uniform", "last"], "inits": ["teacher", "random"]},
    "tune": {
        "methods": ["soft", "sid"],
        "seeds": SEEDS,
        "share": 0.2,
        "knobs": {"train": {"learning_rate": [1e-4, 2e-4]}, "distill": {"classification_epochs": [4]}},
    },
}


def headline(folder):
    """Points and histories of a headline run of two tasks."""
    tasks, methods, seeds, *_ = MAIN
    synthetic.headline(folder / "points", tasks, methods, seeds)
    for task, method, seed in itertools.product(tasks, methods, seeds):
        synthetic.history(folder / f"runs/{task}/{method}-s{seed}/history.csv", method, seed)


def points_of(folder, study, tasks=("movies",), grid=None):
    """A point and a history for every cell and seed, in the layout that `point` writes."""
    for task, cell, seed in itertools.product(tasks, cells(study, grid or GRIDS[study.name]), SEEDS):
        fields = dict(cell.fields)
        method = fields.pop("method")
        path = folder / task / f"{cell.name}-s{seed}.json"
        synthetic.write(path, synthetic.point(task, method, seed, **fields))
        synthetic.history(path.with_suffix(".csv"), method, seed)


def written(folder, study, tasks=("movies",), grid=None, latencies=None):
    """Write a study of synthetic points into <folder>/out."""
    teachers = {task: {0: synthetic.write(folder / f"{task}.json", synthetic.teacher(task))} for task in tasks}
    asked = (teachers, grid or GRIDS[study.name], SEEDS, 0.95)
    write_study(study, folder / "points", folder / "out", *asked, latencies)
    return folder / "out"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files(folder)}


def test_write_main_writes_these_files(tmp_path):
    headline(tmp_path)
    write_main(tmp_path / "points", tmp_path / "runs", tmp_path / "out", *MAIN)
    assert files(tmp_path / "out") == [
        "convergence.csv",
        "figures/convergence.png",
        "figures/convergence.svg",
        "figures/main.png",
        "figures/main.svg",
        "overview.csv",
        "overview.tex",
        "scores/movies.json",
        "scores/rte.json",
        "table.csv",
        "table.md",
        "test.csv",
        "test.md",
    ]
    scores = json.loads((tmp_path / "out/scores/rte.json").read_text())
    # soft: 0.795, and of seeds 0 and 1 the offsets 0 and 0.011 and the runs' own 0.002 and 0.004 (synthetic_points).
    assert list(scores) == ["teacher", "none", "soft", "sid"]
    assert (scores["teacher"], scores["soft"]) == (0.868, pytest.approx(0.8035))


def test_write_main_repeats_its_bytes_and_removes_nothing(tmp_path):
    headline(tmp_path)
    for out in ("first", "second"):
        (tmp_path / out).mkdir()
        (tmp_path / out / "notes.txt").write_text("mine")
        write_main(tmp_path / "points", tmp_path / "runs", tmp_path / out, *MAIN)
    assert "notes.txt" in files(tmp_path / "first")
    for name in files(tmp_path / "first"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_write_main_writes_nothing_when_a_point_is_missing(tmp_path):
    headline(tmp_path)
    (tmp_path / "points/rte/sid-s1.json").unlink()
    with pytest.raises(UserError, match="seeds: 1 is asked for"):
        write_main(tmp_path / "points", tmp_path / "runs", tmp_path / "new", *MAIN)
    assert not (tmp_path / "new").exists()


def test_the_old_file_stays_where_writing_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("KDCORE_WORK", str(tmp_path.parent / "work"))
    write_all(tmp_path, {"table.md": "old"}, {})
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_all(tmp_path, {"table.md": "new"}, {})
    assert (tmp_path / "table.md").read_text() == "old"
    assert files(tmp_path) == ["table.md"]


@pytest.mark.parametrize("name", GRIDS)
def test_every_study_writes_its_files(tmp_path, name):
    points_of(tmp_path / "points", STUDIES[name])
    pictures = [f"figures/{name}.png", f"figures/{name}.svg"]
    more = {"schedules": ["convergence.csv"], "choices": ["choice.txt"]}.get(STUDIES[name].summary, [])
    overview = ["overview.csv", "overview.tex"] if STUDIES[name].summary == "methods" else []
    assert files(written(tmp_path, STUDIES[name])) == [*more, *pictures, *overview, "table.csv", "table.md"]


def test_the_main_table_has_what_a_row_takes_where_that_was_measured(tmp_path):
    headline(tmp_path)
    synthetic.write(tmp_path / "latency/movies.json", synthetic.latency("movies"))
    write_main(tmp_path / "points", tmp_path / "runs", tmp_path / "without", *MAIN)
    write_main(tmp_path / "points", tmp_path / "runs", tmp_path / "with", *MAIN, tmp_path / "nowhere")
    assert contents(tmp_path / "with") == contents(tmp_path / "without")
    write_main(tmp_path / "points", tmp_path / "runs", tmp_path / "with", *MAIN, tmp_path / "latency")
    table = (tmp_path / "with/table.md").read_text()
    movies, rte = table[table.index("## movies") :].split("## rte")
    cells = [line.split("|")[-2].strip() for line in movies.splitlines() if line.startswith("|")]
    # The teacher's six layers at 2.5 ms each; its students have three, and those were not measured.
    assert cells[:6] == ["one row, ms", "---:", "15", "", "", ""]
    assert (table.count("Milliseconds: the median for one row by torch on one thread"), "ms |" in rte) == (1, False)


def test_the_depth_study_has_latency_beside_parameters_where_that_was_measured(tmp_path):
    points_of(tmp_path / "points", STUDIES["depth"])
    synthetic.write(tmp_path / "latency/movies.json", synthetic.latency("movies", 1, 2))
    table = (written(tmp_path, STUDIES["depth"], latencies=tmp_path / "latency") / "table.md").read_text()
    head, *lines = ([cell.strip() for cell in line.split("|")[1:4]] for line in table.splitlines() if "|" in line)
    assert head == ["layers", "encoder + pooler, M", "one row, ms"]
    assert lines[1:3] == [["1", "1.92", "2.5"], ["2", "3.70", "5"]]
    frame = pd.read_csv(tmp_path / "out/table.csv")
    assert sorted({*zip(frame["layers"], frame["latency_ms"], strict=True)}) == [(1, 2.5), (2, 5.0), (6, 15.0)]


def test_every_study_has_a_section_in_params():
    study = load(ROOT / "params.yaml").study
    assert {name: set(study[name]) for name in GRIDS} == {name: set(grid) for name, grid in GRIDS.items()}
    assert set(study) == set(GRIDS) == set(STUDIES)


def test_every_table_says_what_its_students_cost(tmp_path):
    points_of(tmp_path / "points", STUDIES["depth"])
    text = (written(tmp_path, STUDIES["depth"]) / "table.md").read_text()
    # Two methods, two depths, two seeds of 4,200 GFLOP each.
    assert text.endswith("\nStudents: 8; training them takes 33,600 GFLOP in all.\n")


@pytest.mark.parametrize(
    ("summary", "axis"),
    [
        ("curve", Axis("temperatures", "distill.temperature", "temperature", "T")),
        ("recipes", Axis("inits", "student.init", "initialisation")),
        ("recipes", Axis("temperatures", "distill.temperature", "temperature", "T")),
    ],
)
def test_a_study_of_another_knob_needs_nothing_but_its_entry(tmp_path, summary, axis):
    grid = {"methods": ["soft", "sid"], axis.values: [1.0, 4.0] if "temp" in axis.values else ["teacher", "random"]}
    study = Study("heat", "Heat", "How hot?", summary, axes=(axis,), usual={})
    points_of(tmp_path / "points", study, grid=grid)
    out = written(tmp_path, study, grid=grid)
    assert files(out) == ["figures/heat.png", "figures/heat.svg", "table.csv", "table.md"]
    table = pd.read_csv(out / "table.csv").dropna(subset=axis.field)
    assert set(table[axis.field]) == set(grid[axis.values])
    assert f"| {axis.title} |" in (out / "table.md").read_text()


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
    points_of(tmp_path / "points", STUDIES[study])
    for path in (tmp_path / "points/movies").glob(f"{lost}.json"):
        path.unlink()
    with pytest.raises(UserError) as refused:
        written(tmp_path, STUDIES[study])
    assert f"params.yaml: {key} is asked for" in str(refused.value)
    assert f"`{STUDIES[study].command}` makes" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_point_of_another_recipe_is_refused(tmp_path):
    points_of(tmp_path / "points", STUDIES["ablation"])
    folder = tmp_path / "points/movies"
    shutil.copy(folder / "sid-uniform-teacher-s0.json", folder / "sid-last-teacher-s0.json")
    with pytest.raises(UserError, match=r"sid-last-teacher-s0.json: layer_map: expected last, found uniform"):
        written(tmp_path, STUDIES["ablation"])


def test_convergence_needs_the_history_beside_each_point(tmp_path):
    points_of(tmp_path / "points", STUDIES["convergence"])
    (tmp_path / "points/movies/sid-head-s1.csv").unlink()
    with pytest.raises(UserError, match=r"sid-head-s1.csv: missing"):
        written(tmp_path, STUDIES["convergence"])
    assert not (tmp_path / "out").exists()


def test_convergence_compares_the_head_with_the_model_and_all_with_soft(tmp_path):
    points_of(tmp_path / "points", STUDIES["convergence"])
    out = written(tmp_path, STUDIES["convergence"])
    table = pd.read_csv(out / "table.csv").query("method != 'teacher'")
    assert table[["method", "trains"]].to_numpy().tolist() == [
        ["soft", "model"],
        ["all", "model"],
        ["sid", "model"],
        ["sid", "head"],
    ]
    assert table["accuracy_minus_soft"].isna().tolist() == [True, False, False, False]
    assert table["accuracy_minus_model"].isna().tolist() == [True, True, True, False]
    history = pd.read_csv(out / "convergence.csv")
    assert history.groupby(["method", "trains"]).size().to_dict() == {
        ("all", "model"): 20,
        ("sid", "head"): 20,
        ("sid", "model"): 20,
        ("soft", "model"): 20,
    }


def test_the_ablation_compares_each_recipe_with_the_first_of_each_list(tmp_path):
    points_of(tmp_path / "points", STUDIES["ablation"])
    folder = tmp_path / "points/movies"
    for name, scores in {"sid-uniform-teacher": (0.80, 0.82), "sid-cos-last-random": (0.83, 0.84)}.items():
        for seed, score in enumerate(scores):
            point = json.loads((folder / f"{name}-s{seed}.json").read_text())
            synthetic.write(
                folder / f"{name}-s{seed}.json", point | {"score": score, "scores": {"validation": {"accuracy": score}}}
            )
    out = written(tmp_path, STUDIES["ablation"])
    table = pd.read_csv(out / "table.csv").set_index(["method", "layer_map", "init"])
    # 0.03 and 0.02: mean 0.025, sd 0.00707, half width 12.7062 * 0.005 = 0.0635.
    best = table.loc[("sid-cos", "last", "random")]
    assert best["accuracy_minus_first"] == pytest.approx(0.025)
    assert best["accuracy_minus_first_high"] == pytest.approx(0.025 + 0.0635, abs=1e-4)
    assert pd.isna(table.loc[("sid", "uniform", "teacher"), "accuracy_minus_first"])
    text = (out / "table.md").read_text()
    assert "“minus first” compares with sid, uniform, teacher, the first of each list in params.yaml." in text
    assert "Comparisons tested: 7;" in text


def test_tables_of_two_tasks_keep_the_tasks_apart(tmp_path):
    points_of(tmp_path / "points", STUDIES["ablation"], ("rte", "movies"))
    table = pd.read_csv(written(tmp_path, STUDIES["ablation"], ("rte", "movies")) / "table.csv")
    table = table[table["method"] != "teacher"]
    assert table["task"].tolist() == ["rte"] * 8 + ["movies"] * 8
    for _, rows in table.groupby("task"):
        assert rows["accuracy"].is_monotonic_decreasing


def epochs_of(folder, seeds=(0, 1, 2)):
    """The histories of sid, whose files stand below <folder>/runs."""
    synthetic.headline(folder / "points", ["movies"], ["sid"], list(seeds))
    runs = points.read(points.headline(folder / "points", ["movies"], ["sid"], list(seeds), [0]))
    return histories(runs, [folder / f"runs/{run['method']}-s{run['seed']}.csv" for run in runs], ["trains"])


def test_histories_are_joined_and_keep_whole_numbers(tmp_path):
    for seed in range(3):
        synthetic.history(tmp_path / f"runs/sid-s{seed}.csv", "sid", seed)
    table = epochs_of(tmp_path)
    assert len(table) == 3 * 10
    assert csv(table).splitlines()[:3] == [
        "task,method,seed,trains,epoch,phase,layer_done,score,metric",
        "movies,sid,0,model,1,layer 1,,0.588,accuracy",
        "movies,sid,0,model,2,layer 1,1,0.6,accuracy",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "can't be read"),
        ("epoch,phase,score\n1,layer 1,0.5\n", "completed: column is missing"),
        ("epoch,phase,completed,score\n1,layer 1,,good\n", "can't be read"),
        ("epoch,phase,completed,score\n1,layer 1,,0.5,1,2\n1\n", "can't be read"),
        (b"\xff\xfe", "can't be read"),
    ],
)
def test_a_missing_or_broken_history_is_named(tmp_path, text, problem):
    with pytest.raises(UserError, match=r"sid-s0.csv: missing"):
        epochs_of(tmp_path, [0])
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/sid-s0.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=rf"sid-s0.csv: {problem}"):
        epochs_of(tmp_path, [0])


DRAW = """
import sys
from kdcore.report import attention
from kdcore.report.canvas import encode
from tests.unit.report.test_figures import maps

junk = [object() for _ in range(int(sys.argv[1]))]  # other places in memory
tokens, weights, kl = maps()
sys.stdout.buffer.write(encode(attention.maps(tokens, weights, kl, [0, 1], "an example"))["svg"])
"""


def test_two_processes_draw_the_same_bytes():
    drawn = [
        subprocess.run(
            [sys.executable, "-c", DRAW, junk],
            check=True,
            capture_output=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": junk},
        ).stdout
        for junk in ("1", "100000")
    ]
    assert b"clip-path" in drawn[0]
    assert drawn[0] == drawn[1]


def test_where_a_file_is_the_users_none_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("KDCORE_WORK", str(tmp_path / "work"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/table.md").write_text("my notes")
    with pytest.raises(UserError, match=r"table\.md: is there, and kdcore did not write it"):
        write_all(tmp_path / "out", {"scores.json": "{}", "table.md": "| a |", "table.csv": "a"}, {})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["table.md"]
    assert (tmp_path / "out/table.md").read_text() == "my notes"


def on_test(folder, tasks, **scores):
    """Put a labelled test split into every point of these tasks. scores: by method, the others have 0.7."""
    for path in (folder / "points").glob("*/*.json"):
        if path.parent.name in tasks:
            found, method = json.loads(path.read_text()), path.stem.partition("-")[0]
            value = scores.get(method, 0.7)
            test = {"score": value, "scores": {"test": {"accuracy": value}}, "examples": {"test": 50}}
            path.write_text(json.dumps(found | {"test": test | {"degenerate": False}}))


def test_a_labelled_test_split_has_a_table_of_its_own(tmp_path):
    headline(tmp_path)
    write_main(tmp_path / "points", tmp_path / "runs", tmp_path / "before", *MAIN)
    on_test(tmp_path, ["rte"], teacher=0.9, sid=0.75)
    write_main(tmp_path / "points", tmp_path / "runs", tmp_path / "out", *MAIN)
    text = (tmp_path / "out/test.md").read_text()
    assert text.startswith("## rte: accuracy on test data\n")
    assert "| teacher | 0.900 |" in text
    assert "| sid | 0.750 | +0.050 no difference found" not in text  # the seeds do not differ
    assert "| sid | 0.750 | +0.050 not tested: the seeds do not differ |" in text
    assert "A row whose scores are all equal has no interval." in text
    assert "Closeness" not in text
    table = pd.read_csv(tmp_path / "out/test.csv")
    assert table["task"].unique().tolist() == ["rte"]
    assert table.set_index("method")["accuracy"].to_dict() == {"teacher": 0.9, "none": 0.7, "soft": 0.7, "sid": 0.75}
    for name in ("table.md", "table.csv", "scores/rte.json"):  # nothing of it is in the tables of validation
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()


def test_without_a_labelled_test_split_the_table_says_so(tmp_path):
    headline(tmp_path)
    write_main(tmp_path / "points", tmp_path / "runs", tmp_path / "out", *MAIN)
    assert (tmp_path / "out/test.md").read_text() == "No task here has a labelled test split.\n"
    assert (tmp_path / "out/test.csv").read_text().strip() == ""
