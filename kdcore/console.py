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


_asked, _run, _named = "", "", False  # what was asked for; the run that does it, by its name; whether that was said


@contextmanager
def speaking_of(asked: str) -> Iterator[None]:
    """Within the block every line begins with what was asked for: `movies sid, 3 layers, seed 0`."""
    global _asked
    before, _asked = _asked, asked
    try:
        yield
    finally:
        _asked = before


@contextmanager
def working_on(run: str) -> Iterator[None]:
    """Within the block that run, by its name, does what was asked for; one inside another is a part of its work.

    The name is said once, before the first line, as one finds its folder by it; a line that begins with it begins with
    what was asked for instead. Where nothing was, lines stay as they are.
    """
    global _run, _named
    if _run or not _asked:
        yield
        return
    _run, _named = run, False
    try:
        yield
    finally:
        _run = ""


def say(line: str) -> None:
    if processes.speaks():
        _name_run()
        print(_headed(line), flush=True)


def warn(line: str) -> None:
    if processes.speaks():
        _name_run()
        print(f"warning: {_headed(line)}", file=sys.stderr, flush=True)


def _name_run() -> None:
    global _named
    if _run and not _named:
        _named = True
        print(f"{_asked}: run {_run}", flush=True)


def _headed(line: str) -> str:
    own = line.removeprefix(_run).removeprefix(": ") if _run else line
    return ": ".join(filter(None, [_asked, own]))


def count_of(number: int, noun: str) -> str:
    """`1 layer`, `1,000 rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def millions(count: float, decimals: int) -> str:
    """`21.3`; of less than a million the two digits that say something: 41,000 weights are `0.041`, not `0.0`."""
    return f"{count / 1e6:.{decimals}f}" if count >= 1e6 else f"{count / 1e6:#.2g}"


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def size(count: float) -> str:
    """Bytes, in the unit that suits: `13.4 GB`, `44.1 MB`, `96 kB`, `none`."""
    scale, unit = (1e9, "GB") if count >= 1e9 else (1e6, "MB") if count >= 1e6 else (1e3, "kB")
    return f"{short(count / scale)} {unit}" if count else "none"


def in_words(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Update]:
    """Yield update(advance, note): a bar with the rate, which goes at the end, or a plain line every ten seconds."""
    if not processes.speaks() or not (_in_notebook() or sys.stderr.isatty()):
        drawn = _lines(title, total, done)
    else:
        drawn = (_below_the_cell if _in_notebook() else _bar)(_headed(title), total, done)
    with drawn as update:
        yield update


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process; IPython in a terminal has none."""
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")


@contextmanager
def _bar(title: str, total: int, done: int) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} rows"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, completed=done, note="", rate="")
        rate = _rate()

        def update(advance: int, note: str = "") -> None:
            bar.update(task, advance=advance, note=note, rate=rate(advance))

        yield update


@contextmanager
def _below_the_cell(title: str, total: int, done: int) -> Iterator[Update]:
    """By IPython alone: rich would need ipywidgets for a bar that moves."""
    from IPython.display import HTML, display

    cell = display(HTML(""), display_id=True)

    def draw(done: int, how: str) -> None:
        text = escape(f"{title} {done:,}/{total:,} rows, {how}")
        cell.update(HTML(f'<progress value="{done}" max="{total}"></progress> {text}'))

    try:
        yield _every(0.5, done, draw)
    finally:
        cell.update(HTML(""))


@contextmanager
def _lines(title: str, total: int, done: int) -> Iterator[Update]:
    yield _every(10, done, lambda done, how: say(f"{title}: {done:,}/{total:,} rows, {how}"))


def _every(seconds: float, done: int, show: Callable[[int, str], None]) -> Update:
    """An update that calls show(done, rate and note) at most once in so many seconds."""
    rate, shown = _rate(), time.monotonic()

    def update(advance: int, note: str = "") -> None:
        nonlocal done, shown
        done += advance
        how = ", ".join(filter(None, [rate(advance), note]))
        if time.monotonic() - shown >= seconds:
            shown = time.monotonic()
            show(done, how)

    return update


def _rate():  # type: ignore[no-untyped-def]
    start, total = time.monotonic(), 0

    def rate(advance: int) -> str:
        nonlocal total
        total += advance
        return f"{total / max(1e-9, time.monotonic() - start):,.0f} rows/s"

    return rate
