"""The frame of series.convergence in; the paper's figure 4 out: how each schedule reaches its score."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdcore.report.canvas import QUIET, SIZE, heading, legend, line_style, panels, style
from kdcore.report.methods import look, ordered

ROOM = 0.65  # share of a panel's height that is free below the last epochs where they are drawn once more


def figure(table: pd.DataFrame) -> Figure:
    """Score after each epoch, the mean over seeds; a numbered mark where that layer was completed."""
    tasks = list(table["task"].unique())
    with style():
        drawn, axes = panels(tasks, *SIZE)
        for axis, task in zip(axes, tasks, strict=True):
            runs = table[table["task"] == task]
            _lines(axis, runs)
            _closer(axis, runs)
            axis.set(title=task if len(tasks) > 1 else "", ylabel=runs["metric"].iloc[0], xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend(drawn, axes)
        seeds = table["seed"].nunique()
        spread = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
        names = ", ".join(tasks)
        heading(drawn, "Convergence", f"{names}, validation subset · {spread} · numbers: layers completed")
    return drawn


def _lines(axis: Axes, runs: pd.DataFrame) -> None:
    level = runs.loc[runs["layer_done"].notna(), "score"].mean()
    for method, beside, line in _schedules(runs):
        above = line.loc[line["layer_done"].notna(), "score"].mean() >= level
        _schedule(axis, method, beside, line, above)


def _closer(axis: Axes, runs: pd.DataFrame) -> None:
    """The epochs after the last layer once more, larger, in the corner below them, if that is empty."""
    late = runs[runs["epoch"] > runs.dropna(subset="layer_done")["epoch"].max()]
    low, high = axis.get_ylim()
    if late["epoch"].nunique() < 2 or late["score"].min() < low + ROOM * (high - low):
        return
    inset = axis.inset_axes((0.7, 0.1, 0.29, 0.52))
    _lines(inset, late)
    inset.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    inset.yaxis.set_major_locator(MaxNLocator(nbins=4))
    inset.tick_params(labelsize=7)
    inset.spines[:].set_visible(True)
    inset.set_title("enlarged", fontsize=7.5, fontweight="normal", color=QUIET, pad=2)


def _schedules(runs: pd.DataFrame) -> Iterator[tuple[str, bool, pd.DataFrame]]:
    """Method, whether these are the runs that train the head alone, beside others that do not, and the runs."""
    for method in ordered(runs["method"]):
        same = runs[runs["method"] == method]
        both = same["trains"].nunique() > 1
        for trains, line in sorted(same.groupby("trains", dropna=False), key=lambda group: group[0] == "head"):
            yield method, both and trains == "head", line


def _schedule(axis: Axes, method: str, beside: bool, runs: pd.DataFrame, above: bool) -> None:
    """One thick line, the mean, and a thin one per seed; above: where the numbers of its marks stand.

    The head alone, `beside` the whole model, is hollow and begins where the two part: after the last layer.
    """
    drawn = line_style(method) | {"markersize": 3.5}
    if beside:
        completed = runs.dropna(subset="layer_done").groupby("seed")["epoch"].max()
        runs = runs[runs["epoch"] >= completed.min()] if len(completed) else runs
        drawn |= {"label": f"{method}, then the head alone", "markerfacecolor": "white", "linewidth": 1}
    by_seed = runs.pivot(index="epoch", columns="seed", values="score")
    if by_seed.shape[1] > 1:
        axis.plot(by_seed.index, by_seed, color=drawn["color"], linewidth=0.7, alpha=0.25)
    middle = by_seed.mean(axis=1, skipna=False)  # only epochs that every seed has
    axis.plot(middle.index, middle, **drawn)
    spots = _completed(runs, middle).iloc[: 0 if beside else None]
    for epoch, score, layer in zip(spots["epoch"], spots["score"], spots["layer_done"], strict=True):
        _number(axis, epoch, score, str(layer), method, above)


def _completed(runs: pd.DataFrame, middle: pd.Series) -> pd.DataFrame:
    """Epoch, score and layer of each completed layer: on the mean, or on each seed where the seeds differ."""
    marks = runs.dropna(subset="layer_done")
    if (marks.groupby("layer_done")["epoch"].nunique() > 1).any():
        return marks
    marks = marks.drop_duplicates("layer_done")
    return marks.assign(score=marks["epoch"].map(middle))


def _number(axis: Axes, epoch: int, score: float, layer: str, method: str, above: bool) -> None:
    drawn = look(method)
    axis.plot(epoch, score, drawn.marker, color=drawn.colour, markerfacecolor="white", markersize=8)
    offset, side = ((0, 7), "bottom") if above else ((0, -7), "top")
    place: dict[str, Any] = {"xytext": offset, "textcoords": "offset points", "ha": "center", "va": side}
    axis.annotate(layer, (epoch, score), color=drawn.colour, fontsize=8.5, fontweight="bold", **place)
