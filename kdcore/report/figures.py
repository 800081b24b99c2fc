"""The frame of series.curve in; the paper's figures 2 (depth) and 3 (training size) out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from kdcore.report.canvas import INK, QUIET, SIZE, heading, legend, line_style, panels, style, subtitle
from kdcore.report.methods import look, ordered


def depth(table: pd.DataFrame, confidence: float) -> Figure:
    """Figure 2 (series.curve over layers): score against the parameters of encoder and pooler."""
    return _curves(table, "params_m", _depth_axis, "Score against student size", confidence)


def data_size(table: pd.DataFrame, confidence: float) -> Figure:
    """Figure 3 (series.curve over rows): score against training rows, on a logarithmic axis."""
    return _curves(table, "rows", _rows_axis, "Score against training size", confidence)


def _curves(
    table: pd.DataFrame,
    x: str,
    finish: Callable[[Axes, pd.DataFrame], None],
    title: str,
    confidence: float,
) -> Figure:
    tasks = list(table["task"].unique())
    with style():
        figure, axes = panels(tasks, *SIZE)
        for axis, task in zip(axes, tasks, strict=True):
            lines = table[table["task"] == task]
            methods = [method for method in ordered(lines["method"]) if method != "teacher"]
            finish(axis, lines)
            drawn = [
                _line(axis, lines[lines["method"] == method], x, place - (len(methods) - 1) / 2)
                for place, method in enumerate(methods)
            ]
            _rings(axis, pd.concat(drawn))
            _teacher(axis, lines)
            axis.set(title=task if len(tasks) > 1 else "", ylabel=lines["metric"].iloc[0])
        legend(figure, axes)
        heading(figure, title, subtitle(table, confidence))
    return figure


def _line(axis: Axes, line: pd.DataFrame, x: str, place: float) -> pd.DataFrame:
    """Draw one method, `place` steps to the side: intervals at the same value stand beside each other.

    Returns the line with the place of each of its marks as `x`.
    """
    line = line.sort_values(x).assign(x=lambda table: _aside(table[x].to_numpy(float), place, axis.get_xscale()))
    score = line["score"].to_numpy(float)
    span = np.stack([score - line["low"].to_numpy(float), line["high"].to_numpy(float) - score])
    drawn = line_style(line["method"].iloc[0])
    label = drawn.pop("label")
    bars = axis.errorbar(line["x"], score, yerr=span, capsize=2, elinewidth=1, **drawn)
    bars.lines[0].set_label(label)  # on the line alone, the legend shows no bar
    return line


def _aside(values: np.ndarray, place: float, scale: str) -> np.ndarray:
    """Values moved by `place` times 0.7 % of their range, as the axis shows it."""
    if scale == "log":
        return np.exp(_aside(np.log(values), place, "linear"))
    return values + place * 0.007 * (np.ptp(values) or 1.0)


def _rings(axis: Axes, marks: pd.DataFrame) -> None:
    """Ring the values where some run predicts one class only."""
    hit = marks[marks["degenerate"] > 0]
    ring: dict[str, Any] = {
        "color": INK,
        "fillstyle": "none",
        "markersize": 11,
        "markeredgewidth": 0.8,
        "linestyle": "",
    }
    if len(hit):
        axis.plot(hit["x"], hit["score"], "o", label="some run predicts one class only", **ring)


def _teacher(axis: Axes, lines: pd.DataFrame) -> None:
    """The teacher's score as a line across the panel, named on the line."""
    for score in lines.loc[lines["method"] == "teacher", "score"]:
        axis.axhline(score, color=look("teacher").colour, linewidth=1, linestyle=(0, look("teacher").dash))
        axis.annotate(
            f"teacher {score:.3f}",
            (0, score),
            xycoords=axis.get_yaxis_transform(),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=8,
            color=QUIET,
        )
    axis.margins(y=0.12)


def _depth_axis(axis: Axes, lines: pd.DataFrame) -> None:
    depths = lines.drop_duplicates("layers").sort_values("layers")
    axis.set_xticks(depths["params_m"], [f"{point.params_m:.1f}\n({point.layers})" for point in depths.itertuples()])
    axis.set_xlabel("parameters of encoder and pooler, millions (layers)")
    teacher = lines[lines["method"] == "teacher"]
    drawn = look("teacher")
    axis.plot(teacher["params_m"], teacher["score"], drawn.marker, color=drawn.colour, markersize=10)


def _rows_axis(axis: Axes, lines: pd.DataFrame) -> None:
    sizes = sorted(lines.loc[lines["method"] != "teacher", "rows"].unique())
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{rows:,}" for rows in sizes])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("training rows of the student (logarithmic)")
