"""Differences of the main table, in words and as places on one axis."""

from typing import Any

import pandas as pd
import pytest

from kdcore.report.page.answers import against_soft, answers


def row(method: str, **minus: tuple[Any, ...]) -> dict[str, object]:
    found: dict[str, object] = {"task": "movies", "method": method, "metric": "accuracy"}
    for baseline, (value, low, high, verdict, *p_holm) in minus.items():
        name = f"accuracy_minus_{baseline}"
        found |= {name: value, f"{name}_low": low, f"{name}_high": high, f"{name}_verdict": verdict}
        found[f"{name}_p_holm"] = p_holm[0] if p_holm else None
    return found


TABLE = pd.DataFrame(
    [
        row("teacher"),
        row("soft", none=(0.02, 0.01, 0.03, "higher", 0.04)),
        row("pid", none=(0.0, -0.01, 0.01, "no difference found"), soft=(-0.02, -0.03, -0.01, "lower", 0.06)),
        row("sid", none=(0.01, None, None, "not tested: one seed"), soft=(0.01, -0.01, 0.03, "no difference found")),
    ]
)


def test_internal_against_soft_comes_first():
    pairs = [(answer.method, answer.baseline) for answer in answers(TABLE, 0.95)]
    assert pairs == [("pid", "soft"), ("sid", "soft"), ("soft", "none"), ("pid", "none"), ("sid", "none")]


def test_every_verdict_has_its_own_sign():
    assert [answer.sign for answer in answers(TABLE, 0.95)] == ["▼", "=", "▲", "=", "–"]


def test_a_star_marks_what_stands_after_the_correction():
    assert [answer.star for answer in answers(TABLE, 0.95)] == ["", "", "*", "", ""]
    assert against_soft(answers(TABLE, 0.93)) == {"lower*": ["pid"], "no difference found": ["sid"]}


def test_all_share_an_axis_that_includes_zero():
    # From -0.03 to 0.03 are 92 of 100, so 0.01 are 15.33, and 0 is in the middle.
    pid, sid, soft, *_ = answers(TABLE, 0.95)
    assert {answer.zero_at for answer in (pid, sid, soft)} == {50.0}
    assert (pid.low_at, pid.at, pid.high_at) == (4.0, 19.33, 34.67)
    assert (soft.low_at, soft.high_at) == (65.33, 96.0)


def test_without_an_interval_the_bar_is_the_value():
    alone = answers(TABLE, 0.95)[-1]
    assert (alone.low, alone.high) == (None, None)
    assert alone.low_at == alone.at == alone.high_at


def test_verdicts_against_soft_are_gathered():
    assert against_soft(answers(TABLE, 0.95)) == {"lower": ["pid"], "no difference found": ["sid"]}


def test_one_difference_of_nothing_has_a_place():
    (only,) = answers(pd.DataFrame([row("soft", none=(0.0, None, None, "no difference found"))]), 0.95)
    assert only.at == only.zero_at == pytest.approx(4.0)
