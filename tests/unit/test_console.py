"""Progress is a bar in a terminal or a notebook, and a line every ten seconds elsewhere; warnings go to stderr."""

import io
import re
import sys
import time
from types import SimpleNamespace
from typing import Any

import IPython
import IPython.display
import pytest

from kdcore.console import in_words, millions, progress, say, short, size, speaking_of, warn, working_on


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_what_is_said_goes_to_stdout_and_warnings_to_stderr(capsys: pytest.CaptureFixture[str]):
    say("teacher: 3 epochs")
    warn("the disk is nearly full")
    assert capsys.readouterr() == ("teacher: 3 epochs\n", "warning: the disk is nearly full\n")


def test_without_a_terminal_there_is_a_plain_line_every_ten_seconds(capsys: pytest.CaptureFixture[str], clock: Clock):
    with progress("student", total=4000) as update:
        for _ in range(25):
            clock.now += 1
            update(100, "layer 1, loss 0.5")
    out, err = capsys.readouterr()
    # After 10 and 20 seconds of 100 rows each.
    assert out.splitlines() == [
        "student: 1,000/4,000 rows, 100 rows/s, layer 1, loss 0.5",
        "student: 2,000/4,000 rows, 100 rows/s, layer 1, loss 0.5",
    ]
    assert err == ""


def test_a_run_that_goes_on_counts_what_was_done_but_not_as_its_own_speed(
    capsys: pytest.CaptureFixture[str], clock: Clock
):
    with progress("student", total=4000, done=3000) as update:
        clock.now += 10
        update(100)
    assert capsys.readouterr().out == "student: 3,100/4,000 rows, 10 rows/s\n"


def test_lines_begin_with_what_was_asked_and_name_the_run_that_does_it_once(
    capsys: pytest.CaptureFixture[str], clock: Clock
):
    asked = "movies sid, 3 layers, seed 0"
    with speaking_of(asked):
        with working_on("student-0a1b"):
            with working_on("tokens-2c3d"):  # a part of its work
                say("tokens-2c3d: process 7 of node3 works on it")
            say("student-0a1b: goes on at epoch 2, step 7")
            with progress("student-0a1b", total=4000) as update:
                clock.now += 10
                update(100, "layer 1")
            warn("a checkpoint is damaged")
        say("it is scored")
    say("another")
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{asked}: run student-0a1b",
        f"{asked}: tokens-2c3d: process 7 of node3 works on it",
        f"{asked}: goes on at epoch 2, step 7",
        f"{asked}: 100/4,000 rows, 10 rows/s, layer 1",
        f"{asked}: it is scored",
        "another",
    ]
    assert err == f"warning: {asked}: a checkpoint is damaged\n"


def test_a_run_that_nobody_asked_for_by_name_goes_by_its_own(capsys: pytest.CaptureFixture[str]):
    with working_on("student-0a1b"):
        say("student-0a1b: goes on at epoch 2, step 7")
    assert capsys.readouterr().out == "student-0a1b: goes on at epoch 2, step 7\n"


def test_a_run_that_is_found_is_not_named(capsys: pytest.CaptureFixture[str]):
    with speaking_of("movies sid, 3 layers, seed 0"), working_on("student-0a1b"):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_short_run_without_a_terminal_is_silent(capsys: pytest.CaptureFixture[str]):
    with progress("student", total=10) as update:
        update(10)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_loss_rate_and_time_left(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    bar = progress("student-0a1b", total=4000, done=1000)
    with speaking_of("movies sid"), working_on("student-0a1b"), bar as update:
        update(500, "layer 1, loss 0.5000")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "movies sid" in shown
    assert "student-0a1b" not in shown
    assert "1,500/4,000 rows" in shown
    assert re.search(r"[\d,]+ rows/s", shown)
    assert re.search(r"\d:\d\d:\d\d|-:--:--", shown)
    assert "layer 1, loss 0.5000" in shown


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is drawn below the cell of a notebook, one after the other in one place."""
    drawn: list[str] = []

    def display(page: Any, display_id: bool) -> Any:
        return SimpleNamespace(update=lambda page: drawn.append(page.data))

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    return drawn


def test_a_notebook_gets_one_bar_below_its_cell_which_goes_at_the_end(
    drawn: list[str], capsys: pytest.CaptureFixture[str], clock: Clock
):
    with progress("<own>", total=400, done=100) as update:
        for _ in range(2):
            clock.now += 0.25
            update(50, "loss 0.5")
    # Half a second, 100 rows.
    bar = '<progress value="200" max="400"></progress> &lt;own&gt; 200/400 rows, 200 rows/s, loss 0.5'
    assert drawn == [bar, ""]
    assert capsys.readouterr() == ("", "")


def test_a_bar_below_a_cell_goes_where_the_work_fails(drawn: list[str]):
    with pytest.raises(ZeroDivisionError), progress("student", total=4) as update:
        update(1 // 0)
    assert drawn == [""]


def test_ipython_in_a_terminal_is_no_notebook(
    drawn: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(IPython, "get_ipython", SimpleNamespace)
    with progress("student", total=4) as update:
        update(4)
    assert drawn == []


def test_an_error_leaves_the_block_as_it_is(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ZeroDivisionError), progress("student", total=4) as update:
        update(1 // 0)


@pytest.mark.parametrize(("seconds", "words"), [(89, "89 s"), (90, "2 min"), (5340, "89 min"), (12000, "3 h 20 min")])
def test_times_are_said_as_one_would(seconds: float, words: str):
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(21_340_000, "21.3"), (1_000_000, "1.0"), (41_000, "0.041"), (40_000, "0.040")]
)
def test_millions_of_a_small_model_are_not_rounded_away(count: int, words: str):
    assert millions(count, 1) == words


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123456, "0.0123"), (3.14159, "3.14"), (99.94, "99.9"), (100.4, "100"), (12345.6, "12,346")]
)
def test_numbers_have_three_digits_or_all_before_the_point(value: float, text: str):
    assert short(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "none"), (96_400, "96.4 kB"), (2_500_000, "2.5 MB"), (117e9, "117 GB"), (3.5e9, "3.5 GB")]
)
def test_bytes_have_the_unit_that_suits(count: float, text: str):
    assert size(count) == text
