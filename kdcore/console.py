"""What a run says while it works: a bar in a terminal or a notebook, plain lines elsewhere; warnings on stderr.

Of several processes that work together only the first speaks.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Protocol

from kdcore import processes


class Update(Protocol):
    def __call__(self, advance: int, note: str = "") -> None: ...


def say(line: str) -> None:
    if processes.speaks():
        print(line, flush=True)


def warn(line: str) -> None:
    if processes.speaks():
        print(f"warning: {line}", file=sys.stderr, flush=True)


def count_of(number: int, noun: str) -> str:
    """`1 layer`, `1,000 rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def millions(count: float, decimals: int) -> str:
    """`21.3`; of less than a million the two digits that say something: 41,000 weights are `0.041`, not `0.0`."""
    return f"{count / 1e6:.{decimals}f}" if count >= 1e6 else f"{count / 1e6:#.2g}"


def in_words(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def progress(title: str, total: int, done: int = 0, unit: str = "rows") -> Iterator[Update]:
    """Yield update(advance, note): a bar with the rate, which goes at the end, or a plain line every ten seconds."""
    drawn = _below_the_cell if _in_notebook() else _bar if sys.stderr.isatty() else _lines
    with (drawn if processes.speaks() else _lines)(title, total, done, unit) as update:
        yield update


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process; IPython in a terminal has none."""
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")


@contextmanager
def _bar(title: str, total: int, done: int, unit: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} " + unit),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, completed=done, note="", rate="")
        rate = _rate(unit)

        def update(advance: int, note: str = "") -> None:
            bar.update(task, advance=advance, note=note, rate=rate(advance))

        yield update


@contextmanager
def _below_the_cell(title: str, total: int, done: int, unit: str) -> Iterator[Update]:
    """By IPython alone: rich would need ipywidgets for a bar that moves."""
    from IPython.display import HTML, display

    cell = display(HTML(""), display_id=True)

    def draw(done: int, how: str) -> None:
        text = escape(f"{title} {done:,}/{total:,} {unit}, {how}")
        cell.update(HTML(f'<progress value="{done}" max="{total}"></progress> {text}'))

    try:
        yield _every(0.5, done, unit, draw)
    finally:
        cell.update(HTML(""))


@contextmanager
def _lines(title: str, total: int, done: int, unit: str) -> Iterator[Update]:
    yield _every(10, done, unit, lambda done, how: say(f"{title}: {done:,}/{total:,} {unit}, {how}"))


def _every(seconds: float, done: int, unit: str, show: Callable[[int, str], None]) -> Update:
    """An update that calls show(done, rate and note) at most once in so many seconds."""
    rate, shown = _rate(unit), time.monotonic()

    def update(advance: int, note: str = "") -> None:
        nonlocal done, shown
        done += advance
        how = ", ".join(filter(None, [rate(advance), note]))
        if time.monotonic() - shown >= seconds:
            shown = time.monotonic()
            show(done, how)

    return update


def _rate(unit: str):  # type: ignore[no-untyped-def]
    start, total = time.monotonic(), 0

    def rate(advance: int) -> str:
        nonlocal total
        total += advance
        return f"{total / max(1e-9, time.monotonic() - start):,.0f} {unit}/s"

    return rate
