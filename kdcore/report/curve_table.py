"""The frame of series.curve in; its table as GitHub Markdown out."""

from typing import Any

import pandas as pd

from kdcore.report.markdown import comparison_notes, grid, spread, starred
from kdcore.report.methods import ordered

_SAID = {"agreement": "agreement", "attention_kl": "attention KL"}  # column -> how the table calls it


def curve_markdown(curve: pd.DataFrame, field: str, confidence: float) -> str:
    """Two tables per task, a line per depth or size: scores and comparisons with soft, and closeness to the teacher.

    curve: of series.curve.
    """
    tasks = curve.groupby("task", sort=False)
    return "\n".join(_section(lines, field, confidence) for _, lines in tasks)


def _section(lines: pd.DataFrame, field: str, confidence: float) -> str:
    students = lines[lines["method"] != "teacher"]
    methods = ordered(students["method"])
    compared = ordered(students.dropna(subset="verdict")["method"])
    minus = [f"{method} minus soft" for method in compared]
    header = [field, "encoder + pooler, M", *methods, *minus, "degenerate runs"]
    body = [_line(cells, field, methods, compared, confidence) for _, cells in students.groupby(field)]
    title = f"## {lines['task'].iloc[0]}: {lines['metric'].iloc[0]} on validation data by {field}"
    closeness = ["### Closeness to the teacher, means over seeds", _closeness(students, field, methods)]
    return "\n\n".join([title, grid(header, body), _notes(lines, confidence), *closeness]) + "\n"


def _line(cells: pd.DataFrame, field: str, methods: list[str], compared: list[str], confidence: float) -> list[str]:
    """cells: every method at one depth or size."""
    by_method = cells.set_index("method").to_dict("index")
    first = cells.iloc[0]
    means = [_mean(by_method[method]) for method in methods]
    minus = [_minus(by_method[method], confidence) for method in compared]
    degenerate = f"{cells['degenerate'].sum()}/{cells['runs'].sum()}"
    return [f"{first[field]:,}", f"{first['params_m']:.2f}", *means, *minus, degenerate]


def _mean(cell: dict[Any, Any]) -> str:
    half = "" if pd.isna(cell["high"]) else f" ± {cell['high'] - cell['score']:.3f}"
    return f"{cell['score']:.3f}{half}"


def _minus(cell: dict[Any, Any], confidence: float) -> str:
    low, high = cell["minus_soft_low"], cell["minus_soft_high"]
    interval = "" if pd.isna(low) else f" [{low:+.3f}, {high:+.3f}]"
    return f"{cell['minus_soft']:+.3f}{interval} {starred(cell['verdict'], cell['p_holm'], confidence)}"


def _closeness(students: pd.DataFrame, field: str, methods: list[str]) -> str:
    names = [name for name in _SAID if students[name].notna().any()]
    header = [field, *(f"{_SAID[name]}, {method}" for name in names for method in methods)]
    cells = students.pivot(index=field, columns="method", values=names)[[(n, m) for n in names for m in methods]]
    return grid(header, [[f"{value:,}", *(f"{cell:.3f}" for cell in row)] for value, *row in cells.itertuples()])


def _notes(lines: pd.DataFrame, confidence: float) -> str:
    notes = [f"Students: {spread(int(lines['runs'].max()), confidence)}."]
    notes += [f"The teacher scores {score:.3f}." for score in lines.loc[lines["method"] == "teacher", "score"]]
    p_holm = [None if pd.isna(p) else p for p in lines.dropna(subset="verdict")["p_holm"]]
    return " ".join([*notes, *comparison_notes(p_holm, confidence)])
