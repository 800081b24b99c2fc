"""The plan as text: tables that align, units that suit."""

import pytest

from kdcore.plan.gpus import find
from kdcore.plan.table import duration, grid, short, size, written
from tests.unit.plan.test_task import plan

RATES = {"training": 1e12, "internal": 1e12, "forward": 1e12, "maps": 1e12}


def test_a_grid_is_markdown_and_aligned():
    assert grid(["what", "size"], [["maps", "1"], ["all", "1,000"]]) == (
        "| what |  size |\n|------|-------|\n| maps |     1 |\n| all  | 1,000 |"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123456, "0.0123"), (3.14159, "3.14"), (99.94, "99.9"), (100.4, "100"), (12345.6, "12,346")]
)
def test_numbers_have_three_digits_or_all_before_the_point(value: float, text: str):
    assert short(value) == text


@pytest.mark.parametrize(("count", "text"), [(0, "none"), (2_500_000, "2.5 MB"), (117e9, "117 GB"), (3.5e9, "3.5 GB")])
def test_bytes_have_the_unit_that_suits(count: float, text: str):
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(4.2, "4.2 s"), (600, "10 min"), (7200, "2.0 h"), (36e6, "10,000.0 h")])
def test_times_have_the_unit_that_suits(seconds: float, text: str):
    assert duration(seconds) == text


def test_a_plan_shows_every_line_and_its_total():
    made = plan()
    text = written("# Plan", [made], RATES, find(None, 2.0), free=10**12, available=10**12)
    assert text.startswith("# Plan\n\n## movies\n\n4,000 training rows of 16.0 tokens")
    for line in made.works:
        assert f"| {line.what} " in text
    total = next(line for line in text.splitlines() if line.startswith("| total"))
    here, there = (cell.strip() for cell in total.split("|")[-3:-1])
    flops = sum(line.flops for line in made.works)
    assert (here, there) == (duration(flops / 1e12), duration(flops / 2e12))


def test_without_rates_there_are_no_hours():
    text = written("# Plan", [plan()], {}, None, free=10**12, available=10**12)
    assert "| here" not in text
    assert "GFLOP/s" not in text


def test_several_tasks_have_a_total_of_all():
    text = written("# Plan", [plan(), plan()], RATES, None, free=10**12, available=10**12)
    assert text.count("## movies") == 2
    assert text.count("## All tasks") == 1
