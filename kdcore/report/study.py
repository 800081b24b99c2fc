"""A study's points in; every file of its `curve` stage out.

Everything is computed before the first file is written, so bad input leaves the folder as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from kdcore.report import convergence, dots, figures, points, series
from kdcore.report.curve_table import curve_markdown
from kdcore.report.files import csv, write_all
from kdcore.report.methods import ordered
from kdcore.report.plots import summary
from kdcore.report.recipe_table import recipe_markdown
from kdcore.report.recipes import Against, Recipe, frame_of, per_recipe, recipes

Results = tuple[dict[str, str], dict[str, Figure]]  # name -> text of a file, name -> picture
Grid = Mapping[str, Sequence[Any]]

SCHEDULE = {"method": "method", "trains": "last phase trains"}
ABLATION = {"method": "method", "layer_map": "layer map", "init": "initialisation"}


def write_study(
    study: str,
    points_folder: Path,
    out: Path,
    teachers: Mapping[str, Path],
    grid: Grid,
    seeds: Sequence[int],
    confidence: float,
) -> None:
    """Write a study's table, plot data and pictures into `out`.

    points_folder: <task>/<cell>-s<seed>.json, the cells as studies.cells names them; teachers: task -> the headline
    run's teacher.json; grid: the study's section of params.yaml, list name -> values.
    Raises UserError for a point that is missing or broken.
    """
    frame = points.read(points.study(study, points_folder, teachers, grid, seeds))
    if study == "methods":
        files, drawn = summary(frame, confidence, "methods")
    elif study == "convergence":
        files, drawn = _convergence(frame, points_folder, confidence)
    elif study == "ablation":
        files, drawn = _ablation(frame, grid, confidence)
    else:
        files, drawn = _curve(study, frame, confidence)
    files["table.md"] += f"\n{_cost(frame)}\n"
    write_all(out, files, drawn)


def _cost(frame: pd.DataFrame) -> str:
    """What the study costs, for the reader who plans one; a student that another study has too is counted in both."""
    students = frame[frame["method"] != "teacher"]
    return f"Students: {len(students):,}; training them takes {students['seconds'].sum():,.0f} s in all."


def _curve(study: str, frame: pd.DataFrame, confidence: float) -> Results:
    """Depth and training size: a line per method over the values."""
    field, draw = {"depth": ("layers", figures.depth), "data_size": ("rows", figures.data_size)}[study]
    curve = series.curve(frame, field, confidence)
    files = {"curve.csv": csv(curve), "table.md": curve_markdown(curve, field, confidence)}
    return files, {study: draw(curve, confidence)}


def _convergence(frame: pd.DataFrame, folder: Path, confidence: float) -> Results:
    """Scores by epoch, and what each schedule ends with: beside soft, and the head alone beside the model."""
    histories = series.convergence(frame, lambda run: folder / run.task / f"{run.method}-{run.trains}-s{run.seed}.csv")
    against: Against = {"soft": lambda _: ("soft", "model"), "model": lambda choices: (choices[0], "model")}
    found = recipes(frame, list(SCHEDULE), against, confidence)
    order = ordered(recipe.choices[0] for recipe in found)
    found = _within_tasks(found, lambda recipe: (order.index(recipe.choices[0]), recipe.choices[1] == "head"))
    notes = "“minus model” compares with the same method whose last phase trains the whole model."
    files = {
        "convergence.csv": csv(histories),
        "table.csv": csv(frame_of(found, list(SCHEDULE))),
        "table.md": recipe_markdown(found, _teachers(frame), SCHEDULE, "schedule", notes),
    }
    return files, {"convergence": convergence.figure(histories)}


def _ablation(frame: pd.DataFrame, grid: Grid, confidence: float) -> Results:
    """Every recipe, the best first, beside the one that is first in each list of the grid."""
    first = tuple(str(grid[name][0]) for name in ("methods", "layer_maps", "inits"))
    found = recipes(frame, list(ABLATION), {"first": lambda _: first}, confidence)
    found = _within_tasks(found, lambda recipe: -recipe.score.value)
    per_run = per_recipe(frame, list(ABLATION), confidence)
    notes = f"“minus first” compares with {', '.join(first)}, the first of each list in params.yaml."
    files = {
        "ablation.csv": csv(per_run),
        "table.csv": csv(frame_of(found, list(ABLATION))),
        "table.md": recipe_markdown(found, _teachers(frame), ABLATION, "recipe", notes),
    }
    return files, {"ablation": dots.recipes(per_run, list(ABLATION), " ".join(first), confidence)}


def _within_tasks(found: list[Recipe], rank: Callable[[Recipe], Any]) -> list[Recipe]:
    tasks = list(dict.fromkeys(recipe.task for recipe in found))
    return sorted(found, key=lambda recipe: (tasks.index(recipe.task), rank(recipe)))


def _teachers(frame: pd.DataFrame) -> dict[str, float]:
    teachers = frame[frame["method"] == "teacher"]
    return dict(zip(teachers["task"], teachers["score"], strict=True))
