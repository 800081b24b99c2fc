"""Runs with their means in; a dot and an interval per method (the main table) or per recipe (the ablation) out."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdcore.report.canvas import QUIET, heading, panels, style, subtitle
from kdcore.report.methods import look, meaning, ordered

COLUMN = 62  # points between the columns of a recipe's choices


def headline(table: pd.DataFrame, confidence: float) -> Figure:
    """A row per method: its seeds as faint dots (a degenerate run as a cross), its mean on the interval.

    table: of series.per_run.
    """
    tasks = list(table["task"].unique())
    with style():
        figure, axes = panels(tasks, 6.4, 1.2 + 0.42 * table["method"].nunique())
        for axis, task in zip(axes, tasks, strict=True):
            _panel(axis, table[table["task"] == task], explained=len(tasks) == 1)
            axis.set_title(task if len(tasks) > 1 else "")
        heading(figure, "Validation score by method", subtitle(table, confidence) + _crosses(table))
    return figure


def recipes(table: pd.DataFrame, by: Sequence[str], first: str, confidence: float) -> Figure:
    """A row per recipe, the best at the top; a line marks the recipe `first`, the baseline.

    table: of recipes.per_recipe; by: its columns that make a recipe.
    """
    tasks = list(table["task"].unique())
    with style():
        figure, axes = panels(tasks, 7.2, 1.3 + 0.3 * table["recipe"].nunique())
        for axis, task in zip(axes, tasks, strict=True):
            _recipe_panel(axis, table[table["task"] == task], by, first)
            axis.set_title(task if len(tasks) > 1 else "")
        bold = f" · bold: the baseline{_crosses(table)}"
        heading(figure, "Validation score by recipe", subtitle(table, confidence) + bold)
    return figure


def _crosses(table: pd.DataFrame) -> str:
    return " · ×: predicts one class only" if table["degenerate"].any() else ""


def _recipe_panel(axis: Axes, runs: pd.DataFrame, by: Sequence[str], first: str) -> None:
    worst_first = runs.drop_duplicates("recipe").sort_values("mean", kind="stable")["recipe"].tolist()
    place: dict[str, Any] = {"xycoords": axis.get_yaxis_transform(), "textcoords": "offset points"}
    place |= {"ha": "right", "va": "center", "fontsize": 8.5}
    for height, recipe in enumerate(worst_first):
        same = runs[runs["recipe"] == recipe]
        _row(axis, same, height)
        weight = "bold" if recipe == first else "normal"
        for column, name in enumerate(reversed(by)):
            spot = (-6 - COLUMN * column, 0)
            axis.annotate(same[name].iloc[0], (0, height), xytext=spot, fontweight=weight, **place)
    for score in runs.loc[runs["recipe"] == first, "mean"].iloc[:1]:
        axis.axvline(score, color=QUIET, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    _finish(axis, len(worst_first), runs["metric"].iloc[0])


def _panel(axis: Axes, runs: pd.DataFrame, explained: bool) -> None:
    methods = ordered(runs["method"])[::-1]  # the first row is drawn at the top
    for height, method in enumerate(methods):
        _row(axis, runs[runs["method"] == method], height)
        _name(axis, method, height, explained)
    for score in runs.loc[runs["method"] == "teacher", "mean"]:
        axis.axvline(score, color=QUIET, linewidth=1, linestyle=(0, look("teacher").dash), zorder=1)
    _finish(axis, len(methods), runs["metric"].iloc[0])


def _finish(axis: Axes, rows: int, metric: str) -> None:
    axis.set(ylim=(-0.6, rows - 0.4), yticks=[], xlabel=metric)
    axis.margins(x=0.08)
    axis.spines["left"].set_visible(False)


def _row(axis: Axes, runs: pd.DataFrame, height: float) -> None:
    drawn, first = look(runs["method"].iloc[0]), runs.iloc[0]
    axis.axhline(height, color="#F0F0F0", linewidth=0.7, zorder=0)
    seeds = runs if len(runs) > 1 or first["degenerate"] else runs.iloc[:0]  # a lone seed is the mean itself
    for one_class, marker in ((False, "o"), (True, "x")):
        scores = seeds.loc[seeds["degenerate"].astype(bool) == one_class, "score"]
        axis.plot(scores, [height - 0.3] * len(scores), marker, color=drawn.colour, alpha=0.55, markersize=3.6)
    axis.plot([first["low"], first["high"]], [height] * 2, color=drawn.colour, linewidth=2.2, solid_capstyle="butt")
    axis.plot(first["mean"], height, drawn.marker, color=drawn.colour, markerfacecolor=drawn.face, markersize=8)


def _name(axis: Axes, method: str, height: float, explained: bool) -> None:
    """The method's name, with its meaning below if there is room, to the left of its row."""
    place: dict[str, Any] = {"transform": axis.get_yaxis_transform(), "ha": "right"}
    side = "bottom" if explained else "center_baseline"
    axis.text(-0.02, height + 0.02, method, va=side, fontweight="bold", fontsize=9, **place)
    if explained:
        axis.text(-0.02, height - 0.02, meaning(method), va="top", fontsize=7.5, color=QUIET, **place)
