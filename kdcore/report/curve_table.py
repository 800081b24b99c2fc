"""The frame of series.curve in; its table as GitHub Markdown out."""

from typing import Any

import pandas as pd

from kdcore.report.markdown import grid, spread
from kdcore.report.methods import ordered


def curve_markdown(curve: pd.DataFrame, field: str, confidence: float) -> str:
    """A table per task: a line per depth or size, a column per method and one per comparison with soft.

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
    body = [_line(cells, field, methods, compared) for _, cells in students.groupby(field)]
    title = f"## {lines['task'].iloc[0]}: {lines['metric'].iloc[0]} on validation data by {field}"
    return "\n\n".join([title, grid(header, body), _notes(lines, confidence)]) + "\n"


def _line(cells: pd.DataFrame, field: str, methods: list[str], compared: list[str]) -> list[str]:
    """cells: every method at one depth or size."""
    by_method = cells.set_index("method").to_dict("index")
    first = cells.iloc[0]
    means = [_mean(by_method[method]) for method in methods]
    minus = [_minus(by_method[method]) for method in compared]
    degenerate = f"{cells['degenerate'].sum()}/{cells['runs'].sum()}"
    return [f"{first[field]:,}", f"{first['params_m']:.2f}", *means, *minus, degenerate]


def _mean(cell: dict[Any, Any]) -> str:
    half = "" if pd.isna(cell["high"]) else f" ± {cell['high'] - cell['score']:.3f}"
    return f"{cell['score']:.3f}{half}"


def _minus(cell: dict[Any, Any]) -> str:
    low, high = cell["minus_soft_low"], cell["minus_soft_high"]
    interval = "" if pd.isna(low) else f" [{low:+.3f}, {high:+.3f}]"
    return f"{cell['minus_soft']:+.3f}{interval} {cell['verdict']}"


def _notes(lines: pd.DataFrame, confidence: float) -> str:
    notes = [f"Students: {spread(int(lines['runs'].max()), confidence)}."]
    notes += [f"The teacher scores {score:.3f}." for score in lines.loc[lines["method"] == "teacher", "score"]]
    if lines["verdict"].notna().any():
        notes.append("Comparisons are paired by seed and not corrected for their number.")
    return " ".join([*notes, "A degenerate run predicts one class only."])
