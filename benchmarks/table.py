"""Numbers → a Markdown table whose columns also line up in a terminal."""

from collections.abc import Sequence
from statistics import median

from benchmarks.machine import Sgemm


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: the first column to the left, the numbers of the others to the right.

    Raises ValueError where a row has another number of cells than the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"{len(header)} columns, but a row has {len(row)} cells: {row}")
    widths = [max(3, *(len(line[column]) for line in (header, *rows))) for column in range(len(header))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(cells, widths) for cells in (header, rule, *rows))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
    return f"| {' | '.join(padded)} |"


def number(value: float) -> str:
    """Three significant digits, and thousands with a comma: 1,234 · 56.7 · 8.90 · 0.0123."""
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:#.3g}"


def spread(values: Sequence[float]) -> str:
    """The median of repeats, and the range that they span."""
    return f"{number(median(values))} ({number(min(values))} to {number(max(values))})"


def best(rates: Sequence[Sgemm]) -> str:
    """What the machine gives at best, by both libraries."""
    own, onednn = zip(*rates, strict=True)
    return f"sgemm, GFLOP/s: {spread(own)} by torch's own product, {spread(onednn)} by oneDNN"


def share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}"


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over repeats of one rate over another, each pair measured side by side."""
    return median(a / b for a, b in zip(above, below, strict=True))
