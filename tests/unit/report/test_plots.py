"""The files of the `plots` stage and of two studies; the DVC templates that draw them, held against their columns."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from dvc_render.html import render_html
from dvc_render.vega import VegaRenderer

from kdcore.errors import UserError
from kdcore.report import attention, plots
from kdcore.report.files import csv, write
from kdcore.report.methods import ORDER, look
from kdcore.report.study import write_study as write_study_files
from tests.unit.report import synthetic_points as synthetic
from tests.unit.report.test_figures import maps

DVC = Path(__file__).parents[3] / ".dvc"
SEEDS = [0, 1]
MAIN = ["movies", "rte"], ["none", "soft", "sid"], SEEDS, 0.95
SOURCES = {  # template -> the file that it draws, x, y
    "main": ("main/main.csv", "score", "method"),
    "convergence": ("main/convergence.csv", "epoch", "score"),
    "by_method": ("depth/curve.csv", "params_m", "score"),
    "by_method_log": ("data_size/curve.csv", "rows", "score"),
    "recipes": ("ablation/ablation.csv", "score", "recipe"),
    "attention": ("attention.csv", "key", "query"),
}


def inputs(folder):
    """Points and histories of a headline run and of both studies, for two tasks."""
    tasks, methods, seeds, _ = MAIN
    synthetic.headline(folder / "points", tasks, methods, seeds)
    for task in tasks:
        for method in methods:
            for seed in seeds:
                synthetic.history(folder / f"runs/{task}/{method}-s{seed}/history.csv", method, seed)
                for value in (1, 2):
                    study_points(folder, task, method, seed, value)


def study_points(folder, task, method, seed, value):
    depth = synthetic.point(task, method, seed, layers=value)
    synthetic.write(folder / f"depth/{task}/{method}-L{value}-s{seed}.json", depth)
    size = synthetic.point(task, method, seed, rows=100 * value)
    synthetic.write(folder / f"data_size/{task}/{method}-n{100 * value}-s{seed}.json", size)


def write_study(folder, study, values):
    tasks, methods, seeds, confidence = MAIN
    teachers = {task: folder / f"points/{task}/teacher.json" for task in tasks}
    grid = {"methods": methods, {"depth": "layers", "data_size": "rows"}[study]: values}
    write_study_files(study, folder / study, folder / "out" / study, teachers, grid, seeds, confidence)


def ablation(folder):
    """Two recipes for two tasks and two seeds."""
    tasks, _, seeds, confidence = MAIN
    grid = {"methods": ["sid", "sid-kl"], "layer_maps": ["uniform"], "inits": ["teacher"]}
    for task, method, seed in itertools.product(tasks, grid["methods"], seeds):
        path = folder / f"ablation/{task}/{method}-uniform-teacher-s{seed}.json"
        synthetic.write(path, synthetic.point(task, method, seed))
    teachers = {task: folder / f"points/{task}/teacher.json" for task in tasks}
    write_study_files("ablation", folder / "ablation", folder / "out/ablation", teachers, grid, seeds, confidence)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder that holds everything written: main/, depth/, data_size/, ablation/ and an attention.csv."""
    folder = tmp_path_factory.mktemp("plots")
    inputs(folder)
    plots.write_main(folder / "points", folder / "runs", folder / "out/main", *MAIN)
    write_study(folder, "depth", [1, 2])
    write_study(folder, "data_size", [100, 200])
    ablation(folder)
    tokens, weights, kl = maps()
    write(folder / "out/attention.csv", csv(attention.frame(tokens, weights, kl, [0, 1])))
    return folder / "out"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_write_main_writes_these_files(written):
    assert files(written / "main") == [
        "convergence.csv",
        "figures/convergence.png",
        "figures/convergence.svg",
        "figures/main.png",
        "figures/main.svg",
        "main.csv",
        "scores/movies.json",
        "scores/rte.json",
        "table.csv",
        "table.md",
    ]
    scores = json.loads((written / "main/scores/rte.json").read_text())
    assert list(scores) == ["teacher", "none", "soft", "sid"]
    assert scores["teacher"] == 0.868


@pytest.mark.parametrize("study", ["depth", "data_size"])
def test_write_study_writes_these_files(written, study):
    assert files(written / study) == ["curve.csv", f"figures/{study}.png", f"figures/{study}.svg", "table.md"]
    table = pd.read_csv(written / study / "curve.csv")
    assert len(table) == 2 * (1 + 3 * 2)
    assert list(table)[:9] == [
        "task", "metric", "method", "layers", "rows", "params_m", "score", "low", "high",
    ]  # fmt: skip


def test_write_main_repeats_its_bytes_and_removes_nothing(written, tmp_path):
    inputs(tmp_path)
    out = tmp_path / "out/main"
    write(out / "notes.txt", "mine")
    plots.write_main(tmp_path / "points", tmp_path / "runs", out, *MAIN)
    assert files(out) == sorted([*files(written / "main"), "notes.txt"])
    for name in files(written / "main"):
        assert (out / name).read_bytes() == (written / "main" / name).read_bytes(), name


def test_write_main_writes_nothing_when_a_point_is_missing(tmp_path):
    inputs(tmp_path)
    (tmp_path / "points/rte/sid-s1.json").unlink()
    with pytest.raises(UserError, match="seeds: 1 is asked for"):
        plots.write_main(tmp_path / "points", tmp_path / "runs", tmp_path / "new", *MAIN)
    assert not (tmp_path / "new").exists()


def test_write_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "table.md"
    write(path, "old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write(path, "new")
    assert path.read_text() == "old"
    assert files(tmp_path) == ["table.md"]


def renderer(written, name, revisions=("workspace",)):
    """The template filled by DVC's own code with rows as DVC reads them: every cell a string."""
    source, x, y = SOURCES[name]
    rows = pd.read_csv(written / source, dtype=str, keep_default_na=False).to_dict("records")
    data = [row | {"rev": revision} for revision in revisions for row in rows]
    return VegaRenderer(data, name, template=name, template_dir=str(DVC / "plots"), x=x, y=y, title=name)


@pytest.mark.parametrize("name", SOURCES)
def test_templates_are_filled_completely(written, name):
    spec = renderer(written, name).get_filled_template()
    text = json.dumps(spec)
    assert "<DVC_METRIC" not in text
    assert spec["title"]["text"] == name
    assert all(row["rev"] == "workspace" for row in spec["data"]["values"])


@pytest.mark.parametrize("name", SOURCES)
def test_templates_read_only_columns_that_are_there(written, name):
    text = json.dumps(renderer(written, name).get_filled_template() | {"data": {}})
    columns = set(pd.read_csv(written / SOURCES[name][0])) | {"rev"}
    made = set(re.findall(r'"as": "(\w+)"', text))
    read = set(re.findall(r'"field": "(\w+)"', text)) | set(re.findall(r"datum\.(\w+)", text))
    assert read - {"label"} <= columns | made


@pytest.mark.parametrize("name", ["by_method", "by_method_log", "convergence"])
def test_templates_use_the_colours_of_the_figures(name):
    text = (DVC / "plots" / f"{name}.json").read_text()
    scale = _first(json.loads(text), "color")["scale"]
    colours = dict(zip(scale["domain"], scale["range"], strict=True))
    assert {family: colours[family] for family in ORDER} == {family: look(family).colour for family in ORDER}
    assert len(set(colours.values())) == 12


def _first(node, key):
    """The first value of a key, depth first."""
    if isinstance(node, dict) and isinstance(node.get(key), dict) and "scale" in node[key]:
        return node[key]
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((found for child in children if (found := _first(child, key))), None)


def test_by_method_log_is_by_method_on_a_logarithmic_axis():
    linear, log = (json.loads((DVC / f"plots/{name}.json").read_text()) for name in ("by_method", "by_method_log"))
    axis = log["spec"]["encoding"].pop("x")
    assert axis["scale"]["type"] == "log"
    assert linear["spec"]["encoding"].pop("x")["scale"]["zero"] is False
    assert linear == log


def test_the_plots_page_brings_its_own_scripts_and_forbids_requests():
    page = (DVC / "plots_offline.html").read_text(encoding="utf-8")
    assert page.count("{plot_divs}") == page.count("{refresh_tag}") == 1
    assert "{scripts}" not in page
    assert not re.search(r"\b(src|href)=", re.sub(r"(?s)<script>.*?</script>", "", page))
    assert "default-src 'none'" in page
    assert "window.vegaEmbed = " in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_every_template_draws_in_a_browser_without_a_network(written, tmp_path):
    page = tmp_path / "index.html"
    renderers = [renderer(written, name, ("main", "depth6")) for name in SOURCES]
    render_html(renderers, page, DVC / "plots_offline.html")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--proxy-server=127.0.0.1:9", "--dump-dom"]
    shown = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.count('<svg xmlns="http://www.w3.org/2000/svg"') == len(SOURCES)
    for label in ("movies, accuracy", "rte, accuracy", "depth6", "KL 0.250"):
        assert label in shown.stdout
