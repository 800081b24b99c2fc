"""What a run says while it works: a bar in a terminal, plain lines elsewhere; warnings on stderr.

Of several processes that work together only the first speaks.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from kdcore import processes


class Update(Protocol):
    def __call__(self, advance: int, note: str = "") -> None: ...


def say(line: str) -> None:
    if processes.first():
        print(line, flush=True)


def warn(line: str) -> None:
    if processes.first():
        print(f"warning: {line}", file=sys.stderr, flush=True)


def in_words(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def progress(title: str, total: int, done: int = 0, unit: str = "rows") -> Iterator[Update]:
    """Yield update(advance, note): a rich bar with rate and time left, or a plain line every ten seconds."""
    show = _bar if sys.stderr.isatty() and processes.first() else _lines
    with show(title, total, done, unit) as update:
        yield update


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
def _lines(title: str, total: int, done: int, unit: str) -> Iterator[Update]:
    state = {"done": done, "shown": time.monotonic()}
    rate = _rate(unit)

    def update(advance: int, note: str = "") -> None:
        state["done"] += advance
        speed = rate(advance)
        if time.monotonic() - state["shown"] >= 10:
            state["shown"] = time.monotonic()
            say(f"{title}: {state['done']:,}/{total:,} {unit}, {speed} {note}".rstrip())

    yield update


def _rate(unit: str):  # type: ignore[no-untyped-def]
    start, total = time.monotonic(), 0

    def rate(advance: int) -> str:
        nonlocal total
        total += advance
        return f"{total / max(1e-9, time.monotonic() - start):,.0f} {unit}/s"

    return rate
