"""What all pictures share: type and lines, a panel per task, titles, legends, and the bytes of a file.

Figures are made without pyplot, so nothing is global and no display is needed.
"""

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from kdcore.report.methods import look, meaning
from kdcore.report.statistics import limits, over, percent
from kdcore.report.summary import Row, students_of

INK, QUIET = "#222222", "#6B6B6B"
SIZE = (6.4, 4.6)  # inches of one panel, titles and legend included

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": QUIET,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "font.size": 9,
    "grid.color": "#EAEAEA",
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "lines.scale_dashes": True,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "kdcore",
    "text.parse_math": False,  # a text's own $ is a dollar
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of every picture, for the block only; a user's own matplotlibrc has no part in it."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def panels(tasks: Sequence[str], width: float, height: float) -> tuple[Figure, list[Axes]]:
    """One panel per task, at most three beside each other; width and height of a lone panel in inches."""
    columns = 2 if len(tasks) == 4 else min(len(tasks), 3)
    width = width if columns == 1 else 0.75 * width
    lines = math.ceil(len(tasks) / columns)
    figure = Figure(figsize=(width * columns, height * lines))
    axes = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for spare in axes[len(tasks) :]:
        spare.remove()
    return figure, axes[: len(tasks)]


def line_style(method: str) -> dict[str, Any]:
    """matplotlib's words for the line of a method, its label included."""
    drawn = look(method)
    return {
        "color": drawn.colour,
        "marker": drawn.marker,
        "markerfacecolor": drawn.face,
        "linestyle": (0, drawn.dash) if drawn.dash else "-",
        "label": f"{method}: {meaning(method)}",
    }


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend below all panels, each entry once."""
    entries = {label: mark for axis in axes for mark, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    columns = 2 if len(axes) == 1 else 4
    figure.legend(entries.values(), entries.keys(), loc="outside lower left", ncols=columns, handlelength=3.4)


def subtitle(rows: Sequence[Row]) -> str:
    """The tasks, and what the marks mean."""
    students = students_of(rows)
    seeds, teachers = max(row.degenerate.of for row in students), max(row.teachers for row in students)
    level = percent(rows[0].score.confidence)
    spread = f"mean and {level} t interval over {over(seeds, teachers)}" if seeds > 1 else "one seed, no interval"
    return f"{', '.join(dict.fromkeys(row.task for row in rows))} · {spread}"


def within(axis: Axes, metric: str, direction: Literal["x", "y"]) -> None:
    """End an axis of scores where the metric ends, with room for a whole mark there."""
    least, most = limits(metric)
    low, high = axis.get_xlim() if direction == "x" else axis.get_ylim()
    room = 0.03 * (high - low)
    axis.set(**{f"{direction}lim": (max(low, least - room), min(high, most + room))})


def heading(figure: Figure, title: str, subtitle: str, square: bool = False) -> None:
    """A bold title and a quiet line below it, both from the left edge. square: the panels keep their shape."""
    inch = 1 / figure.get_figheight()
    room = (0.01, 0.01, 0.98, 0.99 - 0.56 * inch)
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=room, w_pad=0.06, h_pad=0.06, compress=square))
    figure.text(0.015, 1 - 0.08 * inch, title, va="top", fontsize=11.5, fontweight="bold", color=INK)
    figure.text(0.015, 1 - 0.33 * inch, subtitle, va="top", fontsize=8.5, color=QUIET)


def encode(figure: Figure) -> dict[str, bytes]:
    """The picture as png and svg. Neither carries a date or a version: the same data gives the same bytes."""

    def encoded(kind: str, metadata: dict[str, None]) -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        return buffer.getvalue()

    with style():
        png, svg = encoded("png", {"Software": None}), encoded("svg", {"Date": None, "Creator": None})
    return {"png": png, "svg": _renamed(svg)}


def _renamed(svg: bytes) -> bytes:
    """matplotlib makes the name of a clip path of its object's place in memory, which each process has elsewhere."""
    names = dict.fromkeys(re.findall(rb'<clipPath id="(\w+)"', svg))
    for number, name in enumerate(names, start=1):
        svg = svg.replace(b'<clipPath id="%s"' % name, b'<clipPath id="clip%d"' % number)
        svg = svg.replace(b"url(#%s)" % name, b"url(#clip%d)" % number)
    return svg
