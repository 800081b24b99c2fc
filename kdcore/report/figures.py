"""Rows and histories in; the pictures of the results out, a panel per task.

`dots` has a line per row (the main table, the ablation), `curve` a line per method over an axis (the paper's figures 2
and 3), `convergence` a line per method over epochs (figure 4).
"""

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from kdcore.console import millions
from kdcore.report.canvas import INK, QUIET, SIZE, heading, legend, line_style, panels, style, subtitle, within
from kdcore.report.markdown import LATENCY, word
from kdcore.report.methods import look, meaning, ordered, words
from kdcore.report.summary import Row, by_task, students_of
from kdcore.studies import Axis

COLUMN = 62  # points between the columns of a recipe's choices
WORD = 14  # letters that a line of such a column's heading has room for
LOGARITHMIC = 8  # from this ratio of its largest to its smallest value on, an axis is logarithmic
RING: dict[str, Any] = {"color": INK, "fillstyle": "none", "markersize": 11, "markeredgewidth": 0.8, "linestyle": ""}
ROOM = 0.65  # the last epochs are drawn once more where this share of the panel below them is free


def dots(rows: Sequence[Row], title: str, by: Mapping[str, str], baseline: Sequence[str] = ("teacher",)) -> Figure:
    """A line per row, in their order: its seeds as faint dots (a degenerate run as a cross), its mean on the interval.

    by: the keys that name a row -> the headings of their columns; a method that stands alone has none, and its meaning
    below. baseline: the keys of the row with a line across the panel, if any; it is bold where rows have several keys.
    """
    tasks = by_task(rows)
    most = max(map(len, tasks.values()))
    alone = len(by) == 1
    with style():
        figure, axes = panels(list(tasks), *((6.4, 1.2 + 0.42 * most) if alone else (7.2, 1.3 + 0.3 * most)))
        for axis, (task, table) in zip(axes, tasks.items(), strict=True):
            for height, row in enumerate(reversed(table)):  # the first row is drawn at the top
                first = [row.keys[key] for key in by] == list(baseline)
                _dots(axis, row, height)
                if alone:
                    _name(axis, row.method, height, explained=len(tasks) == 1)
                else:
                    _choices(axis, [word(row.keys[key]) for key in by], height, bold=first)
                if first:
                    dash = look("teacher").dash
                    axis.axvline(row.score.value, color=QUIET, linewidth=1, linestyle=(0, dash), zorder=1)
                    name = row.method if row.teacher else "baseline"
                    place: dict[str, Any] = {"xycoords": axis.get_xaxis_transform(), "textcoords": "offset points"}
                    text = f"{name} {row.score.value:.3f}"
                    axis.annotate(
                        text, (row.score.value, 1), xytext=(0, 2), ha="center", fontsize=8, color=QUIET, **place
                    )
            axis.set(ylim=(-0.6, len(table) - 0.4), yticks=[], xlabel=table[0].metric)
            if not alone:
                _headings(axis, list(by.values()))
            axis.set_title(task if len(tasks) > 1 else "", pad=15)  # above the name of the line
            axis.margins(x=0.08)
            within(axis, table[0].metric, "x")
            axis.spines["left"].set_visible(False)
        bold = " · bold and dotted: the baseline" if baseline and not alone else ""
        crosses = " · ×: one answer for all" if any(row.degenerate.runs for row in rows) else ""
        heading(figure, title, subtitle(rows) + bold + crosses)
    return figure


def _dots(axis: Axes, row: Row, height: float) -> None:
    drawn = look(row.method)
    axis.axhline(height, color="#F0F0F0", linewidth=0.7, zorder=0)
    seeds = row.runs if len(row.runs) > 1 or row.degenerate.runs else ()  # a lone seed is the mean itself
    for one_class, marker in ((False, "o"), (True, "x")):
        scores = [run.score for run in seeds if run.degenerate == one_class]
        axis.plot(scores, [height - 0.3] * len(scores), marker, color=drawn.colour, alpha=0.55, markersize=3.6)
    if row.score.low is not None and row.score.high is not None:
        ends = [row.score.low, row.score.high]
        axis.plot(ends, [height] * 2, color=drawn.colour, linewidth=2.2, solid_capstyle="butt")
    axis.plot(row.score.value, height, drawn.marker, color=drawn.colour, markerfacecolor=drawn.face, markersize=8)


def _name(axis: Axes, method: str, height: float, explained: bool) -> None:
    """The method's name, with its meaning below if there is room, to the left of its row."""
    place: dict[str, Any] = {"transform": axis.get_yaxis_transform(), "ha": "right"}
    side = "bottom" if explained else "center_baseline"
    axis.text(-0.02, height + 0.02, method, va=side, fontweight="bold", fontsize=9, **place)
    if explained:
        axis.text(-0.02, height - 0.02, meaning(method), va="top", fontsize=7.5, color=QUIET, **place)


def _choices(axis: Axes, choices: Sequence[str], height: float, bold: bool) -> None:
    place: dict[str, Any] = {"xycoords": axis.get_yaxis_transform(), "textcoords": "offset points"}
    place |= {"ha": "right", "va": "center", "fontsize": 8.5, "fontweight": "bold" if bold else "normal"}
    for column, choice in enumerate(reversed(choices)):
        axis.annotate(choice, (0, height), xytext=(-6 - COLUMN * column, 0), **place)


def _headings(axis: Axes, titles: Sequence[str]) -> None:
    """The names of the columns of choices, above the first row."""
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right", "va": "bottom"}
    for column, title in enumerate(reversed(titles)):
        lines = fill(title, WORD, break_long_words=False)
        axis.annotate(lines, (0, 1), xytext=(-6 - COLUMN * column, 2), fontsize=8, color=QUIET, **place)


def curve(rows: Sequence[Row], axis: Axis, title: str) -> Figure:
    """Mean and interval of each method over the axis, the teacher as a line across.

    Depths stand at the parameters of encoder and pooler, as in the paper, and where it was measured also at the
    milliseconds of a row, in panels of their own; words at equal distances.
    """
    tasks = by_task(rows)
    drawn = [(task, table, _axis) for task, table in tasks.items()]
    timed = {task: [row for row in table if LATENCY in row.cost] for task, table in tasks.items()}
    drawn += [(task, table, _milliseconds) for task, table in timed.items() if table]
    with style():
        figure, panes = panels([task for task, *_ in drawn], *SIZE)
        for pane, (task, table, placed) in zip(panes, drawn, strict=True):
            place = placed(pane, table, axis)
            students = students_of(table)
            methods = ordered(row.method for row in students)
            hit: list[tuple[float, float]] = []
            for step, method in enumerate(methods):
                line = sorted((row for row in students if row.method == method), key=place)
                x = _aside([place(row) for row in line], step - (len(methods) - 1) / 2, pane.get_xscale())
                _line(pane, line, x)
                hit += [(at, row.score.value) for at, row in zip(x, line, strict=True) if row.degenerate.runs]
            if hit:
                pane.plot(*zip(*hit, strict=True), "o", label="some run gives one answer for all", **RING)
            _teacher(pane, [row for row in table if row.teacher])
            pane.set(title=task if len(tasks) > 1 else "", ylabel=table[0].metric)
            within(pane, table[0].metric, "y")
        legend(figure, panes)
        heading(figure, title, subtitle(rows))
    return figure


def _axis(pane: Axes, table: Sequence[Row], axis: Axis) -> Callable[[Row], float]:
    """Ticks and label of the axis; the place of a row on it."""
    students = students_of(table)
    values = sorted({row.keys[axis.field] for row in students}, key=lambda value: (isinstance(value, str), value))
    if axis.key == "student.layers":
        sizes = {row.keys["layers"]: row.cost["encoder_and_pooler"] for row in table}
        sizes = dict(sorted(sizes.items()))
        pane.set_xticks(list(sizes.values()), [f"{millions(size, 1)}\n({layers})" for layers, size in sizes.items()])
        pane.set_xlabel("parameters of encoder and pooler, millions (layers)")
        return _with_teacher(pane, table, lambda row: sizes[row.keys["layers"]])
    numeric = all(isinstance(value, int | float) for value in values)
    at = {value: float(value) if numeric else float(place) for place, value in enumerate(values)}
    logarithmic = numeric and values[0] > 0 and values[-1] / values[0] >= LOGARITHMIC
    if logarithmic:
        pane.set_xscale("log")
    pane.set_xticks(list(at.values()), [f"{value:,}" if numeric else str(value) for value in values])
    pane.xaxis.set_minor_locator(NullLocator())
    pane.set_xlabel(axis.title + (" (logarithmic)" if logarithmic else ""))
    return lambda row: at[row.keys[axis.field]]


def _milliseconds(pane: Axes, table: Sequence[Row], axis: Axis) -> Callable[[Row], float]:
    """As _axis, of depths at what one row takes."""
    pane.set_xscale("log")
    pane.set_xlabel("milliseconds for one row by torch on one thread (logarithmic)")
    return _with_teacher(pane, table, lambda row: row.cost[LATENCY])


def _with_teacher(pane: Axes, table: Sequence[Row], place: Callable[[Row], float]) -> Callable[[Row], float]:
    """Draws the teacher at its place, and returns `place` as it is."""
    drawn = look("teacher")
    for row in table:
        if row.teacher:
            pane.plot(place(row), row.score.value, drawn.marker, color=drawn.colour, markersize=10)
    return place


def _line(pane: Axes, line: Sequence[Row], x: NDArray[np.float64]) -> None:
    """The means and intervals of one method."""
    score = np.array([row.score.value for row in line])
    low, high = (np.array([getattr(row.score, end) for row in line], float) for end in ("low", "high"))
    drawn = line_style(line[0].method)
    label = drawn.pop("label")
    bars = pane.errorbar(x, score, yerr=[score - low, high - score], capsize=2, elinewidth=1, **drawn)
    bars.lines[0].set_label(label)  # on the line alone, the legend shows no bar


def _aside(places: Sequence[float], step: float, scale: str) -> NDArray[np.float64]:
    """Places moved by `step` times 0.7 % of their range: intervals at the same value stand beside each other."""
    if scale == "log":
        return np.exp(_aside(np.log(places).tolist(), step, "linear"))
    return np.array(places) + step * 0.007 * (np.ptp(places) or 1.0)


def _teacher(pane: Axes, rows: Sequence[Row]) -> None:
    """The teacher's score as a line across the panel, named on the line."""
    for row in rows:
        score, drawn = row.score.value, look("teacher")
        pane.axhline(score, color=drawn.colour, linewidth=1, linestyle=(0, drawn.dash))
        place: dict[str, Any] = {"xycoords": pane.get_yaxis_transform(), "textcoords": "offset points"}
        pane.annotate(f"teacher {score:.3f}", (0, score), xytext=(4, 3), fontsize=8, color=QUIET, **place)
    pane.margins(y=0.12)


def convergence(histories: pd.DataFrame, arms: Sequence[Mapping[str, Any]] = ({},)) -> Figure:
    """Score after each epoch, the mean over seeds; a numbered mark where that layer was completed.

    histories: of write.histories; arms: the columns and values that tell a study's arms apart, the first one drawn
    whole and every other hollow beside it.
    """
    tasks = list(histories["task"].unique())
    with style():
        figure, axes = panels(tasks, *SIZE)
        for axis, task in zip(axes, tasks, strict=True):
            runs = histories[histories["task"] == task]
            _schedules(axis, runs, arms)
            _closer(axis, runs, arms)
            axis.set(title=task if len(tasks) > 1 else "", ylabel=runs["metric"].iloc[0], xlabel="epoch")
            within(axis, runs["metric"].iloc[0], "y")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend(figure, axes)
        seeds = histories["seed"].nunique()
        spread = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
        names = ", ".join(tasks)
        heading(figure, "Convergence", f"{names}, validation subset · {spread} · numbers: layers completed")
    return figure


def _schedules(axis: Axes, runs: pd.DataFrame, arms: Sequence[Mapping[str, Any]]) -> None:
    level = runs.loc[runs["layer_done"].notna(), "score"].mean()
    for method in ordered(runs["method"]):
        same = runs[runs["method"] == method]
        for arm in arms:
            line = same[(same[list(arm)] == list(arm.values())).all(axis=1)]
            if len(line) and arm == arms[0]:
                above = line.loc[line["layer_done"].notna(), "score"].mean() >= level
                _mean_line(axis, line, line_style(method) | {"markersize": 3.5})
                _numbers(axis, line, method, above)
            elif len(line):
                _beside(axis, line, method, arm)


def _mean_line(axis: Axes, runs: pd.DataFrame, drawn: dict[str, Any]) -> None:
    """One thick line, the mean over epochs that every seed has, and a thin one per seed."""
    by_seed = runs.pivot(index="epoch", columns="seed", values="score")
    if by_seed.shape[1] > 1:
        axis.plot(by_seed.index, by_seed, color=drawn["color"], linewidth=0.7, alpha=0.25)
    middle = by_seed.mean(axis=1, skipna=False)
    axis.plot(middle.index, middle, **drawn)


def _beside(axis: Axes, runs: pd.DataFrame, method: str, arm: Mapping[str, Any]) -> None:
    """A further arm, hollow; where only its last phase differs, from the last layer on, where the two part."""
    completed = runs.dropna(subset="layer_done").groupby("seed")["epoch"].max()
    if "trains" in arm and len(completed):
        runs = runs[runs["epoch"] >= completed.min()]
    differs = ", ".join(f"{word} {arm[name]}" for name, word in words(list(arm)).items())
    hollow = {"label": f"{method}, {differs}", "markerfacecolor": "white", "linewidth": 1, "markersize": 3.5}
    _mean_line(axis, runs, line_style(method) | hollow)


def _numbers(axis: Axes, runs: pd.DataFrame, method: str, above: bool) -> None:
    """The number of each completed layer: on the mean, or on each seed where the seeds differ."""
    marks, drawn = runs.dropna(subset="layer_done"), look(method)
    if not (marks.groupby("layer_done")["epoch"].nunique() > 1).any():
        marks = marks.drop_duplicates("layer_done")
        marks = marks.assign(score=marks["epoch"].map(runs.groupby("epoch")["score"].mean()))
    offset, side = ((0, 7), "bottom") if above else ((0, -7), "top")
    place: dict[str, Any] = {"xytext": offset, "textcoords": "offset points", "ha": "center", "va": side}
    for epoch, score, layer in zip(marks["epoch"], marks["score"], marks["layer_done"], strict=True):
        axis.plot(epoch, score, drawn.marker, color=drawn.colour, markerfacecolor="white", markersize=8)
        axis.annotate(str(layer), (epoch, score), color=drawn.colour, fontsize=8.5, fontweight="bold", **place)


def _closer(axis: Axes, runs: pd.DataFrame, arms: Sequence[Mapping[str, Any]]) -> None:
    """The epochs after the last layer once more, larger, in the corner below them, if that is empty."""
    late = runs[runs["epoch"] > runs.dropna(subset="layer_done")["epoch"].max()]
    low, high = axis.get_ylim()
    if late["epoch"].nunique() < 2 or late["score"].min() < low + ROOM * (high - low):
        return
    inset = axis.inset_axes((0.7, 0.1, 0.29, 0.52))
    _schedules(inset, late, arms)
    inset.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    inset.yaxis.set_major_locator(MaxNLocator(nbins=4))
    inset.tick_params(labelsize=7)
    inset.spines[:].set_visible(True)
    inset.set_title("enlarged", fontsize=7.5, fontweight="normal", color=QUIET, pad=2)
