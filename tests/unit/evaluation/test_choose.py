"""Which examples are chosen, and which students are compared."""

import numpy as np
import pytest

from kdcore.evaluation.attention import DIFFER, FAR, LONGEST, USUAL, Choice, choose, compared

LENGTHS = np.array([5, 9, 9, 40, 12, 9])
TEACHER = np.array([[0.0, 2.0]] * 6)
SAME = TEACHER.copy()


def classes(*predicted: int) -> np.ndarray:
    """Logits (N, 2) that predict these classes."""
    return np.array([[2.0, 0.0] if each == 0 else [0.0, 2.0] for each in predicted])


def test_examples_on_which_students_disagree_come_first():
    found = choose(LENGTHS, TEACHER, [SAME, classes(1, 1, 0, 0, 1, 1)], 2)
    assert found[0] == Choice(2, DIFFER)


def test_then_come_those_on_which_a_student_is_farthest_from_the_teacher():
    far = SAME.copy()
    far[4], far[5] = [0.0, 0.5], [0.0, 1.0]
    assert choose(LENGTHS, TEACHER, [SAME, far], 4)[:2] == [Choice(4, FAR), Choice(5, FAR)]


def test_the_rest_are_of_about_median_length():
    # The median of 5, 9, 9, 9, 12, 40 is 9: positions 1, 2 and 5 have it, 4 is nearer than 0.
    assert [c.position for c in choose(LENGTHS, TEACHER, [], 5)] == [1, 2, 5, 4, 0]
    assert {c.reason for c in choose(LENGTHS, TEACHER, [], 5)} == {USUAL}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_half_are_telling_and_none_is_chosen_twice(count):
    found = choose(LENGTHS, TEACHER, [SAME, classes(0, 0, 0, 0, 0, 0)], count)
    assert [c.reason for c in found] == [DIFFER] * ((count + 1) // 2) + [USUAL] * (count // 2)
    assert len({c.position for c in found}) == count


def test_no_example_is_too_long_to_draw():
    assert 3 not in {c.position for c in choose(LENGTHS, TEACHER, [SAME], 5)}
    assert LENGTHS[3] > LONGEST


def test_where_all_are_long_the_shortest_are_shown():
    lengths = np.array([90, 60, 70, 80])
    assert {c.position for c in choose(lengths, TEACHER[:4], [], 2)} == {1, 2}


def test_fewer_examples_than_asked_for_are_all_shown():
    assert sorted(c.position for c in choose(LENGTHS, TEACHER, [SAME], 50)) == [0, 1, 2, 3, 4, 5]


def test_scores_never_disagree_but_may_be_far():
    teacher = np.array([[1.0], [2.0], [3.0]])
    student = np.array([[1.1], [4.0], [3.0]])
    assert choose(np.array([4, 4, 4]), teacher, [teacher, student], 2)[0] == Choice(1, FAR)


def test_the_same_input_gives_the_same_choice():
    rng = np.random.default_rng(0)
    lengths, logits = rng.integers(4, 40, 200), rng.normal(size=(3, 200, 3))
    assert choose(lengths, logits[0], list(logits[1:]), 6) == choose(lengths, logits[0], list(logits[1:]), 6)


def test_students_that_were_not_run_are_left_out_with_a_line():
    methods, notes = compared({"standard": "soft", "internal": "sid"}, ["none", "soft", "pid"])
    assert methods == ["soft"]
    assert notes == ["attention.internal: sid is not in `methods` (none, soft, pid), so it is left out"]


def test_a_student_that_is_asked_for_twice_is_compared_once():
    assert compared({"standard": "sid", "internal": "sid"}, ["sid"]) == (["sid"], [])
