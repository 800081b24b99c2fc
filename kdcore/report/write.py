"""Points and histories in; every file of the stage `plots` and of a study's table and picture out.

Everything is computed before the first file is written, so bad input leaves the folder as it was. Each file is the old
one or the whole new one, never half of it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from kdcore.artefacts import publish_all
from kdcore.errors import UserError
from kdcore.report import figures, points
from kdcore.report.canvas import encode
from kdcore.report.choices import choices, chosen_blocks, options
from kdcore.report.latency import read_latencies, timed
from kdcore.report.latex import to_latex
from kdcore.report.markdown import TEST, Block, curves, in_gflop, over_tasks, overview, tables, to_markdown
from kdcore.report.methods import ordered, words
from kdcore.report.points import Run
from kdcore.report.summary import (
    Keys,
    Overall,
    Row,
    baselines,
    by_task,
    overall,
    overall_frame,
    students_of,
    summarise,
    to_frame,
)
from kdcore.studies import Grid, Study

HISTORY = ("epoch", "phase", "completed", "score")


def write_main(
    points_folder: Path,
    runs: Path,
    out: Path,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    teachers: Sequence[int],
    confidence: float,
    latencies: Path | None = None,
) -> None:
    """Write the headline results into `out`.

    points_folder: <task>/<method>-s<seed>.json and <task>/teacher-s<seed>.json.
    runs: <task>/<method>-s<seed>/history.csv.
    latencies: <task>.json of `kdcore latency`, where it was measured.
    out: scores/<task>.json, table.{md,csv}, overview.{csv,tex}, test.{md,csv}, convergence.csv and
    figures/{main,convergence}.{png,svg}.
    Raises UserError for a point or history that is missing or broken, or a latency that is broken.
    """
    scored = _read(points.headline(points_folder, tasks, methods, seeds, teachers), latencies)
    rows, lines, blocks = by_method(scored, confidence)
    paths = [runs / run["task"] / f"{run['method']}-s{run['seed']}" / "history.csv" for run in scored]
    epochs = histories(scored, paths, ["trains"])
    files = {
        "table.md": to_markdown(blocks),
        "table.csv": csv(to_frame(rows)),
        **overview_files(lines),
        "convergence.csv": csv(epochs),
    }
    held = summarise(points.on_test(scored), ["method"], baselines, confidence)
    files |= {"test.md": to_markdown(test_tables(held)), "test.csv": csv(to_frame(held))}
    for task, table in by_task(rows).items():
        scores = {row.method: round(row.score.value, 6) for row in table}
        files[f"scores/{task}.json"] = json.dumps(scores, indent=2) + "\n"
    drawn = {"main": figures.dots(rows, "Validation score by method", words(["method"]))}
    write_all(out, files, drawn | {"convergence": figures.convergence(epochs)})


def test_tables(rows: Sequence[Row]) -> list[Block]:
    """The headline run on the labelled test splits, a section per task that has one."""
    told = "These rows were scored once, at the end: nothing was trained on them, and nothing is chosen by them."
    return tables(rows, words(["method"]), told, TEST) or ["No task here has a labelled test split."]


def write_study(
    study: Study,
    points_folder: Path,
    out: Path,
    teachers: Mapping[str, Mapping[int, Path]],
    grid: Grid,
    seeds: Sequence[int],
    confidence: float,
    latencies: Path | None = None,
) -> None:
    """Write table.{md,csv} and figures/<study>.{png,svg} into `out`; of `methods` also overview.{csv,tex}, of
    `schedules` convergence.csv, of `choices` choice.txt.
    points_folder: <task>/<cell>-s<seed>.json, the cells as studies.cells names them; teachers: task -> seed -> the
    teacher's point; latencies: <task>.json of `kdcore latency`, where it was measured. Raises UserError for a point or
    history that is missing or broken, or a latency that is broken.
    """
    wanted = points.of_study(study, points_folder, teachers, grid, seeds)
    runs = _read(wanted, latencies)
    rows, blocks = summary(study, runs, grid, confidence)
    files = {"table.md": to_markdown(blocks), "table.csv": csv(to_frame(rows))}
    match study.summary:
        case "methods":
            files |= overview_files(overall(runs, rows, confidence))
            figure = figures.dots(rows, "Validation score by method", words(["method"]))
        case "curve":
            figure = figures.curve(rows, study.axes[0], f"Score against {study.title.lower()}")
        case "recipes":
            students = students_of(rows)
            first = list(_first(study, grid).values())
            figure = figures.dots(students, "Validation score by recipe", _titles(study, grid), first)
        case "choices":
            files["choice.txt"] = options(choices(rows), study.asked(grid).axes)
            students = students_of(rows)
            figure = figures.dots(students, "Score on rows held out", _titles(study, grid), ())
        case "schedules":
            arms = [arm.fields for arm in study.arms]
            paths = [point.path.with_suffix(".csv") for point in wanted]
            epochs = histories(runs, paths, list(dict.fromkeys(name for arm in arms for name in arm)))
            files["convergence.csv"] = csv(epochs)
            figure = figures.convergence(epochs, arms)
    write_all(out, files, {study.name: figure})


def _read(wanted: Sequence[points.Wanted], latencies: Path | None) -> list[Run]:
    runs = points.read(wanted)
    return timed(runs, read_latencies(latencies, runs)) if latencies else runs


def by_method(runs: Sequence[Run], confidence: float) -> tuple[list[Row], list[Overall], list[Block]]:
    """A row per task and method, a line per method over all tasks, and the tables of both, that of all tasks first."""
    rows = summarise(runs, ["method"], baselines, confidence)
    lines = overall(runs, rows, confidence)
    return rows, lines, [*over_tasks(lines), *tables(rows, words(["method"]))]


def overview_files(lines: Sequence[Overall]) -> dict[str, str]:
    """The table over all tasks as CSV and as LaTeX."""
    return {"overview.csv": csv(overall_frame(lines)), "overview.tex": to_latex(overview(lines))}


def summary(study: Study, runs: Sequence[Run], grid: Grid, confidence: float) -> tuple[list[Row], list[Block]]:
    """The study's rows and its table."""
    titles = _titles(study, grid)
    by = list(titles)
    match study.summary:
        case "methods":
            rows, _, blocks = by_method(runs, confidence)
        case "curve":
            rows = summarise(runs, by, lambda keys: {"soft": {**keys, "method": "soft"}}, confidence)
            blocks = curves(rows, study.axes[0])
        case "schedules":
            arm = study.arms[0].fields
            name = " ".join(map(str, arm.values()))

            def schedules(keys: Keys) -> dict[str, Keys]:
                return {"soft": {"method": "soft", **arm}, name: {**keys, **arm}}

            rows = summarise(runs, by, schedules, confidence)
            same = ", ".join(f"{word} {arm[key]}" for key, word in words(list(arm)).items())
            told = f"“minus {name}” compares with the same method whose {same}."
            blocks = tables(rows, titles, told)
        case "recipes":
            first = _first(study, grid)
            rows = summarise(runs, by, lambda _: {"first": first}, confidence)
            tasks = list(dict.fromkeys(row.task for row in rows))
            rows = sorted(rows, key=lambda row: (tasks.index(row.task), not row.teacher, -row.score.value))
            names = ", ".join(map(str, first.values()))
            blocks = tables(
                rows, titles, f"“minus first” compares with {names}, the first of each list in params.yaml."
            )
        case "choices":
            rows = summarise(runs, by, lambda _: {}, confidence)
            blocks = [*chosen_blocks(rows, titles), *tables(rows, titles, data="training rows held out")]
    costs = [run["cost"].get("gflop", 0.0) for run in runs if run["method"] != "teacher"]  # shared ones count here too
    return rows, [*blocks, f"Students: {len(costs):,}; training them takes {in_gflop(math.fsum(costs))} GFLOP in all."]


def _titles(study: Study, grid: Grid) -> dict[str, str]:
    """The fields of a point that tell the study's rows apart -> their headers."""
    fields = ["method", *["settings"] * study.tunes, *(name for arm in study.arms for name in arm.fields)]
    return words(fields) | {axis.field: axis.title for axis in study.asked(grid).axes}


def _first(study: Study, grid: Grid) -> dict[str, Any]:
    """The keys of the row of the first method and the first value of each axis."""
    arm = study.arms[0]
    return {"method": grid[arm.methods][0], **arm.fields, **{axis.field: grid[axis.values][0] for axis in study.axes}}


def histories(runs: Sequence[Run], paths: Sequence[Path], fields: Sequence[str]) -> pd.DataFrame:
    """One row per student and epoch: its score, the layer that was completed, and the student's `fields`.

    runs: of points.read; paths: the history.csv of each (the teacher's is not read).
    """
    order = ordered(run["method"] for run in runs)
    tasks = list(dict.fromkeys(run["task"] for run in runs))
    columns = ["task", "method", "seed", *fields, "epoch", "phase", "layer_done", "score", "metric"]
    students = [(run, path) for run, path in zip(runs, paths, strict=True) if run["method"] != "teacher"]
    students.sort(key=lambda pair: (tasks.index(pair[0]["task"]), order.index(pair[0]["method"])))
    parts = [
        _history(path).assign(**{name: run[name] for name in ("task", "method", "seed", "metric", *fields)})[columns]
        for run, path in students
    ]
    return pd.concat(parts, ignore_index=True)


def _history(path: Path) -> pd.DataFrame:
    """Raises UserError for a history that is missing, or that can't be read."""
    if not path.is_file():
        raise UserError(str(path), "missing, but its result is there; `dvc repro` makes it")
    try:
        history = pd.read_csv(path)
        if absent := [name for name in HISTORY if name not in history]:
            raise UserError(str(path), [f"{name}: column is missing" for name in absent])
        kinds = {"epoch": "int64", "completed": "Int64", "score": "float64"}
        history = history[list(HISTORY)].astype(kinds)
    except (
        ValueError,
        TypeError,
    ) as error:  # of pandas, for an empty file, a broken line, or a word in place of a number
        raise UserError(str(path), f"can't be read ({error}); `dvc repro` makes it again") from error
    return history.rename(columns={"completed": "layer_done"})


def csv(frame: pd.DataFrame) -> str:
    """A frame as CSV with six significant digits: enough for any score, and stable in git diffs."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def write_all(out: Path, files: Mapping[str, str], drawn: Mapping[str, Figure]) -> None:
    """Write `files` (name -> text) into `out`, and each figure as figures/<name>.{png,svg}: all of them, or none.

    Raises UserError where a file is there that is the user's.
    """
    pictures = {
        f"figures/{name}.{kind}": data for name, figure in drawn.items() for kind, data in encode(figure).items()
    }
    contents = {name: text.encode() for name, text in files.items()} | pictures
    publish_all({out / name: content for name, content in contents.items()})
