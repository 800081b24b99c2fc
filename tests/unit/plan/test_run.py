"""The plan as text: tables that align, units that suit, and what would not do."""

import pytest

from kdcore.console import short
from kdcore.plan import run
from kdcore.plan.run import duration, grid, problems, written
from kdcore.plan.work import TaskPlan
from tests.unit.plan.test_work import PLENTY, lines, plan

RATES = {"training": 1e12, "internal": 1e12, "forward": 1e12, "maps": 1e12}


def test_a_grid_is_markdown_and_aligned():
    assert grid(["what", "size"], [["maps", "1"], ["all", "1,000"]]) == (
        "| what |  size |\n|------|-------|\n| maps |     1 |\n| all  | 1,000 |"
    )


@pytest.mark.parametrize(("seconds", "text"), [(4.2, "4.2 s"), (600, "10 min"), (7200, "2.0 h"), (36e6, "10,000.0 h")])
def test_times_have_the_unit_that_suits(seconds: float, text: str):
    assert duration(seconds) == text


def test_a_plan_shows_every_line_and_its_total():
    made = plan()
    text = written("# Plan", [made], RATES, free=10**12)
    assert text.startswith("# Plan\n\n## movies\n\n4,000 training rows of 16.0 tokens")
    for line in made.works:
        assert f"| {line.what} " in text
    total = next(line for line in text.splitlines() if line.startswith("| total"))
    flops = sum(line.total for line in made.works)
    assert [cell.strip() for cell in total.split("|")[-3:-1]] == [short(flops / 1e12), duration(flops / 1e12)]


def test_without_rates_there_are_no_hours():
    text = written("# Plan", [plan()], {}, free=10**12)
    assert "| here" not in text
    assert "GFLOP/s" not in text


def test_several_tasks_have_a_total_of_all():
    text = written("# Plan", [plan(), plan()], RATES, free=10**12)
    assert text.count("## movies") == 2
    assert text.count("## All tasks") == 1


def test_the_machine_is_measured_at_what_any_of_the_tasks_has(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "rates", lambda bench, lengths, kinds, seconds: dict.fromkeys(kinds, 1e12))
    plans = [plan(distill={"weights": {"cos": 1.0}}), plan()]  # the first compares no maps
    assert "training on attention maps 1,000" in written("# Plan", plans, run._rates(plans, 1.0), PLENTY)


# What would not do


def complaints(made: TaskPlan, free: int = PLENTY) -> list[str]:
    return list(problems([made], free))


def test_what_fits_warns_of_nothing():
    assert complaints(plan()) == []
    assert plan().stored == {"train": True, "validation": True}


def test_maps_beyond_disk_gb_mean_a_live_teacher_and_its_price():
    # 400 and 100 rows of 16 tokens, five layers of four heads, two bytes: 4.1 and 1.0 MB.
    made = plan(targets={"disk_gb": 0.0015})
    assert made.stored == {"train": False, "validation": True}
    assert ("student", "live teacher", 6, 400) in lines(made)
    (said,) = complaints(made)
    assert said.startswith("movies: targets.store: auto falls back to a live teacher for train: its maps need 1.64 MB")
    assert "TFLOP beside the students" in said


def test_maps_of_all_layers_beyond_disk_gb_leave_those_that_are_mapped():
    made = plan(targets={"disk_gb": 0.002})
    assert (made.kept, complaints(made)) == ({"train": 2, "validation": 5}, [])
    assert "1.64 MB, 2 of 5 layers" in written("", [made], {}, PLENTY)


def test_a_live_teacher_that_was_asked_for_is_no_surprise():
    made = plan(targets={"store": "live"})
    assert not any(made.stored.values())
    assert complaints(made) == []


def test_a_disk_that_is_too_full_for_the_maps_is_said_before_targets_refuses():
    made = plan(free=1_500_000, targets={"store": "disk"})
    said = complaints(made, free=1_500_000)
    assert said[0] == (
        "movies: targets.store: disk needs 1.64 MB for the train maps, and 1.5 MB are free: targets will refuse"
    )
    assert said[-1].startswith("disk: ")
