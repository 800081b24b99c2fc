"""Differences of the main table as places on one axis; files that are read, each checked."""

from dataclasses import replace

import pytest

from kdcore.errors import UserError
from kdcore.report.analysis import COUNTS, Seed
from kdcore.report.page.facts import Facts, Student, _parts, read
from kdcore.report.statistics import Degenerate, Difference, Estimate
from kdcore.report.summary import Row
from kdcore.report.summary import Seed as Run


def row(method, confidence=0.95, **minus):
    """A row of a task. minus: baseline -> value, low, high, p_holm."""
    made = {
        name: Difference(
            Estimate(value, low, high, 2 if low is not None or value == 0 else 1, confidence, "one seed"), p, p
        )
        for name, (value, low, high, p) in minus.items()
    }
    score = Estimate(0.8, None, None, 1, confidence)
    return Row("movies", {"method": method}, "accuracy", score, {}, {}, {}, Degenerate(0, 1), (), made)


def facts(confidence=0.95):
    rows = [
        row("teacher", confidence),
        row("soft", confidence, none=(0.02, 0.01, 0.03, 0.04)),
        row("pid", confidence, none=(0.0, -0.01, 0.01, 0.9), soft=(-0.02, -0.03, -0.01, 0.06)),
        row("sid", confidence, none=(0.01, None, None, None), soft=(0.01, -0.01, 0.03, 0.5)),
    ]
    return Facts(rows, {}, {}, Student(mapped=(2,), versions={}))


def test_internal_against_soft_comes_first():
    pairs = [(answer.method, answer.baseline) for answer in facts().differences]
    assert pairs == [("pid", "soft"), ("sid", "soft"), ("soft", "none"), ("pid", "none"), ("sid", "none")]


@pytest.mark.parametrize(("teachers", "over"), [((7, 7, 7), "3 seeds"), ((0, 1, 0), "2 teachers")])
def test_intervals_are_over_the_students_seeds_or_over_their_teachers(teachers, over):
    runs = tuple(Run(seed, 0.8, False, teacher) for seed, teacher in enumerate(teachers))
    assert Facts([replace(row("soft"), runs=runs)], {}, {}, Student(mapped=(2,), versions={})).over == over


def test_verdicts_against_soft_are_gathered_with_their_stars():
    assert facts().verdicts == {"lower": ["pid"], "no difference found": ["sid"]}
    assert facts(0.93).verdicts == {"lower*": ["pid"], "no difference found": ["sid"]}


def test_all_share_an_axis_that_includes_zero():
    # From -0.03 to 0.03 are 92 of 100, so 0.01 are 15.33, and 0 is in the middle.
    pid, sid, soft, *_ = facts().differences
    assert {answer.zero_at for answer in (pid, sid, soft)} == {50.0}
    assert (pid.low_at, pid.at, pid.high_at) == (4.0, 19.33, 34.67)
    assert (soft.low_at, soft.high_at) == (65.33, 96.0)


def test_without_an_interval_the_bar_is_the_value():
    alone = facts().differences[-1]
    assert (alone.difference.estimate.low, alone.difference.verdict) == (None, "not tested: one seed")
    assert alone.low_at == alone.at == alone.high_at


def test_one_difference_of_nothing_has_a_place():
    alone = Facts([row("soft", none=(0.0, None, None, None))], {}, {}, Student(mapped=(2,), versions={}))
    (only,) = alone.differences
    assert only.at == only.zero_at == pytest.approx(4.0)


def test_the_axis_has_round_numbers_and_0():
    assert facts().ticks == [(19.33, "-0.02"), (50.0, "0"), (80.67, "+0.02")]


def test_the_parts_of_a_bar_follow_each_other():
    first, second = (dict(zip(COUNTS, counts, strict=True)) for counts in ((72, 14, 4, 10), (68, 18, 4, 10)))
    score = Estimate(0.8, None, None, 100, 0.95)
    parts = list(_parts([Seed(0, first, {}, score, {}), Seed(1, second, {}, score, {})], 100))
    assert [(part.start, part.width) for part in parts] == [(0, 70), (70, 16), (86, 4), (90, 10)]


def test_choices_are_in_words_with_the_weight_of_each_loss():
    facts = {"init": "teacher", "weights": {"kl": 1, "cos": 0.5}, "train": {"learning_rate": 1e-4, "threads": 2}}
    run = Student.model_validate({"mapped": [2], "versions": {}} | facts)
    assert run.choices == {
        "initialisation": "teacher",
        "weight of attention KL": 1.0,
        "weight of [CLS] cosine loss": 0.5,
        "learning rate": 1e-4,
    }


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, ""),
        ({"source": "embedded", "dataset": "snippets"}, "snippets"),
        (
            {"source": "hub", "repository": "nyu-mll/glue", "configuration": "rte", "revision": "0123456789abc"},
            "nyu-mll/glue, rte, at 0123456789",
        ),
        (
            {"source": "local", "files": {"train": {"file": "own/train.csv", "sha256": "fedcba9876543"}}},
            "own/train.csv (sha256 fedcba9876)",
        ),
    ],
)
def test_the_origin_of_the_data_is_in_words(data, text):
    assert Student(mapped=(2,), versions={}, data=data).origin == text


@pytest.mark.parametrize("text", ["", "[]", "{", '{"versions": {}}', '{"mapped": "all", "versions": {}}', "\x00"])
def test_a_damaged_file_is_named_with_what_makes_it(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        read(path, Student, "student")
    assert str(refused.value).startswith(f"{path}: ")
    assert "run `dvc repro -f student`" in str(refused.value)
