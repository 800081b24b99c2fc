"""What speaks against a model is said with its numbers, and nothing is said of a model that learned."""

from typing import Any

import numpy as np
import pytest

from kdcore.data.prepared import Data
from kdcore.errors import UserError
from kdcore.evaluation import sanity
from tests import on_disk


def point(score: float, losses: list[float] | None = None, **changes: Any) -> dict[str, Any]:
    """A student's, where one answer for all has 0.5 and the standard error is 0.02."""
    facts = {"task": "movies", "method": "sid", "metric": "accuracy", "score": score, "degenerate": False}
    facts |= {"chance": 0.5, "standard_error": 0.02, "last_losses": losses}
    facts |= changes
    return facts | {"warnings": sanity.warnings(facts)}


# Its facts


def test_chance_is_the_share_of_the_commonest_label(tiny_ingredients: on_disk.Ingredients):
    data = Data.open(tiny_ingredients.data)
    labels = data.frame("validation")["label"].to_numpy(np.float64)
    assert sanity.chance(data.task, labels) == max(sum(labels == 0), sum(labels == 1)) / len(labels)


def test_the_standard_error_of_accuracy_is_the_binomial_one():
    """80 of 100 right: sqrt(0.8 * 0.2 / 100) = 0.04, to within the 100 resamples' 7 % (twice that is allowed)."""
    labels = np.zeros(102)
    labels[100:] = np.nan  # rows that have no label do not count
    logits = np.tile([1.0, 0.0], (102, 1))
    logits[:20] = [0.0, 1.0]
    error = sanity.standard_error("accuracy", logits, labels)
    assert error == pytest.approx(0.04, rel=0.14)
    assert sanity.standard_error("accuracy", logits, labels) == error


def test_the_standard_error_of_a_correlation_shrinks_with_the_rows():
    """Pearson's of r = 0 over n rows is about 1 / sqrt(n)."""
    random = np.random.default_rng(1)
    for rows in (100, 2500):
        scores, labels = random.normal(size=(2, rows))
        assert sanity.standard_error("pearson", scores[:, None], labels) == pytest.approx(rows**-0.5, rel=0.25)


# What is said


@pytest.mark.parametrize(("score", "said"), [(0.52, True), (0.5201, False), (0.43, True)])
def test_a_score_within_its_standard_error_of_one_answer_for_all_is_chance(score: float, said: bool):
    found = point(score)["warnings"]
    assert list(found) == ["chance"] * said
    if said:
        numbers = f"accuracy {score:.4f} on validation, with a standard error of 0.0200, where that has 0.5000"
        assert found["chance"] == f"is no better than one answer for all: {numbers}"


def test_one_answer_for_every_example_is_said_in_place_of_chance():
    assert point(0.5, degenerate=True)["warnings"] == {
        "constant": "gives every example the same prediction (accuracy 0.5000 on validation)"
    }


@pytest.mark.parametrize(("own", "said"), [(0.24, True), (0.26, False)])
def test_nearly_one_number_for_every_example_is_said(own: float, said: bool):
    """The truth, 0 and 10 in turn, has a standard deviation of 5, of which 5 % is 0.25."""
    labels = np.array([0.0, 10.0] * 8 + [np.nan])
    answers = np.array([0.0, 2 * own] * 8 + [99.0])[:, None]
    found = point(0.9, chance=0.0, metric="spearman", spread=sanity.spread(answers, labels))["warnings"]
    numbers = "a standard deviation of 0.24 where the truth has 5 (spearman 0.9000 on validation)"
    assert found == ({"flat": f"gives every example nearly the same number: {numbers}"} if said else {})


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([0.7, 0.6, 0.5, 0.4], True),  # 0.1 of 0.5 is 20 %; the mean epoch takes 0.1 as well
        ([0.616, 0.336, 0.261, 0.214], False),  # 18 %, but 0.047 is a third of the mean epoch's 0.134
        ([0.7, 0.69, 0.68, 0.67], False),  # at the same pace, but by 1.5 % only: whoever learns nothing is at chance
        ([0.3, 0.2, 0.21], False),  # it rose
        ([0.5], False),  # one epoch has nothing before it
        ([], False),
        (None, False),
    ],
)
def test_a_loss_that_was_still_falling_fast_is_said_with_both_paces(losses: list[float] | None, said: bool):
    assert list(point(0.8, losses)["warnings"]) == ["falling"] * said


def test_the_numbers_of_the_fall_are_said():
    told = "from 0.5000 to 0.4000 (20%), 4 epochs took it from 0.7000"
    assert point(0.8, [0.7, 0.6, 0.5, 0.4])["warnings"]["falling"].endswith(told)


def test_each_warning_comes_with_what_may_help(capsys: pytest.CaptureFixture[str]):
    sanity.check("movies: sid, seed 0", point(0.51, [0.7, 0.6, 0.5, 0.4]))
    chance, falling = capsys.readouterr().err.splitlines()
    assert chance.startswith("warning: movies: sid, seed 0 is no better than one answer for all: accuracy 0.5100 on")
    assert "student.rows" in chance
    assert "stages/dvc.yaml:tune" in chance
    assert "distill.classification_epochs" in falling
    sanity.check("the teacher", point(0.51, method="teacher"))
    assert capsys.readouterr().err.endswith("; there is little to distil from it\n")


def test_methods_far_below_none_are_named_with_both_means():
    """Two standard errors of the difference are 2 * sqrt(0.02**2 + 0.02**2) = 0.0566; pid is 0.05 below."""
    none = [point(0.80, method="none"), point(0.84, method="none")]
    pid = [point(0.77, method="pid"), point(0.77, method="pid")]
    sid = [point(0.76), point(0.76)]
    (line,) = sanity.below_none([*none, *pid, *sid])
    assert line == (
        "movies: sid is far below none, which learns without the teacher: accuracy 0.7600 against 0.8200, the mean of "
        f"2 against that of 2; {sanity.MORE}"
    )
    (line,) = sanity.below_none([*none, point(0.70, method="teacher")])
    assert line.endswith("0.7000 against 0.8200, the mean of 1 against that of 2; there is little to distil from it")
    assert sanity.below_none(sid) == []  # there is no none


# The floor


def test_a_model_below_its_floor_is_refused_with_both_numbers():
    with pytest.raises(UserError) as caught:
        sanity.check("the teacher", point(0.5125, method="teacher"), 0.7)
    assert str(caught.value) == (
        "teacher.floor: the teacher must reach 0.7, found accuracy 0.5125 on validation. "
        "It stays in the store, for a lower floor"
    )


@pytest.mark.parametrize("floor", [None, 0.75])
def test_a_model_at_its_floor_passes_in_silence(floor: float | None, capsys: pytest.CaptureFixture[str]):
    sanity.check("movies: sid, seed 0", point(0.75, [0.5, 0.3, 0.29]), floor)
    assert capsys.readouterr() == ("", "")
