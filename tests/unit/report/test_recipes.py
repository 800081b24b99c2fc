"""Recipes are summarised and compared with the ones that a study names; their table and their picture."""

import pandas as pd
import pytest

from kdcore.report import dots
from kdcore.report.recipe_table import recipe_markdown
from kdcore.report.recipes import frame_of, per_recipe, recipes

BY = ["method", "init"]
FIRST = ("sid", "teacher")
AGAINST = {"first": lambda _: FIRST}


def runs(scores):
    """A frame of points: (method, init) -> scores by seed, and the teacher's point."""
    rows = [
        {"task": "movies", "metric": "accuracy", "method": method, "init": init, "seed": seed, "score": score}
        | {"degenerate": score == 0.5, "gflop": 100.0 + seed}
        for (method, init), by_seed in scores.items()
        for seed, score in enumerate(by_seed)
    ]
    teacher = {"task": "movies", "metric": "accuracy", "method": "teacher", "init": None, "seed": None, "score": 0.9}
    return pd.DataFrame([teacher | {"degenerate": False, "gflop": 1.0}, *rows])


SCORES = {("sid", "teacher"): [0.80, 0.82, 0.78], ("sid", "random"): [0.82, 0.83, 0.81], ("soft", "random"): [0.5] * 3}


def test_recipes_are_compared_with_the_first_by_seed():
    # random - teacher: 0.02, 0.01, 0.03: mean 0.02, sd 0.01, half width 4.30265 * 0.01 / sqrt(3) = 0.02484.
    first, second, third = recipes(runs(SCORES), BY, AGAINST, 0.95)
    assert (first.choices, first.differences) == (FIRST, {})
    difference = second.differences["first"].estimate
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.02, -0.00484, 0.04484), abs=1e-5)
    assert (str(third.degenerate), third.gflop) == ("3/3", 101.0)


def test_a_comparison_with_a_recipe_that_was_not_run_is_left_out():
    alone = recipes(runs({("sid", "random"): [0.8, 0.9]}), BY, AGAINST, 0.95)
    assert [recipe.differences for recipe in alone] == [{}]


def test_the_frame_has_a_column_per_number():
    frame = frame_of(recipes(runs(SCORES), BY, AGAINST, 0.95), BY)
    assert list(frame)[:4] == ["task", "metric", "method", "init"]
    assert frame["minus_first"].tolist() == pytest.approx([float("nan"), 0.02, -0.3], nan_ok=True)
    p = frame["minus_first_p"].tolist()
    assert frame["minus_first_p_holm"].tolist() == pytest.approx([float("nan"), p[1], 2 * p[2]], nan_ok=True)
    assert frame["minus_first_verdict"].tolist()[1:] == ["no difference found", "lower"]


def test_the_table_says_what_it_compares_and_counts():
    table = recipes(runs(SCORES), BY, AGAINST, 0.95)
    headers = {"method": "method", "init": "initialisation"}
    text = recipe_markdown(table, {"movies": 0.9}, headers, "recipe", "Against the first.")
    assert text.startswith("## movies: accuracy on validation data by recipe\n")
    assert "| method | initialisation | accuracy | minus first | GFLOP | degenerate runs |" in text
    assert "| sid | random | 0.820 ± 0.025 | +0.020 [-0.005, +0.045] no difference found | 101 | 0/3 |" in text
    assert "| soft | random | 0.500 | -0.300 [-0.350, -0.250] lower* | 101 | 3/3 |" in text
    assert "The teacher scores 0.900. Against the first." in text
    assert "Comparisons tested: 2; * marks what is still found" in text


def test_one_seed_has_neither_interval_nor_test():
    table = recipes(runs({key: scores[:1] for key, scores in SCORES.items()}), BY, AGAINST, 0.95)
    text = recipe_markdown(table, {"movies": 0.9}, {"method": "method", "init": "init"}, "recipe", "")
    assert "| sid | random | 0.820 | +0.020 not tested: one seed | 100 | 0/1 |" in text


def test_the_picture_has_the_best_at_the_top_and_marks_the_first():
    table = per_recipe(runs(SCORES), BY, 0.95)
    assert len(table) == 9
    figure = dots.recipes(table, BY, "sid teacher", 0.95)
    axis = figure.axes[0]
    by_height = sorted(axis.texts, key=lambda text: -text.xy[1])
    assert [text.get_text() for text in by_height] == ["random", "sid", "teacher", "sid", "random", "soft"]
    assert [text.get_fontweight() for text in by_height[2:4]] == ["bold", "bold"]
    lines = [line for line in axis.lines if line.get_zorder() == 1]
    assert [line.get_xdata()[0] for line in lines] == pytest.approx([0.8])
    assert "×: predicts one class only" in figure.texts[-1].get_text()
