"""A student says how many of its task are finished and how long the others take, by what those took."""

from kdcore.distil.standing import called, standing

WANTED = [("none", 0), ("none", 1), ("sid", 0), ("sid", 1)]


def test_a_student_is_called_by_what_was_asked_for():
    assert [called("sid", 3, 0), called("soft", 1, 7)] == ["sid, 3 layers, seed 0", "soft, 1 layer, seed 7"]


def test_the_first_says_nothing_of_time():
    assert standing(("sid", 0), WANTED, {}) == "student 1 of 4"


def test_what_is_left_takes_as_long_as_the_others_of_its_method():
    """Left are none-s1, which takes 10 s as none-s0 did, and sid-s1, which takes 40 s as sid-s0 did."""
    assert standing(("sid", 1), WANTED, {("none", 0): 10.0, ("sid", 0): 40.0}) == "student 3 of 4, about 50 s left"


def test_a_method_that_none_is_finished_of_takes_as_long_as_the_others():
    """Left are two of sid at the mean of 10 s and 20 s."""
    done = {("none", 0): 10.0, ("none", 1): 20.0}
    assert standing(("sid", 0), WANTED, done) == "student 3 of 4, about 30 s left"


def test_students_that_are_not_asked_for_do_not_count():
    assert standing(("sid", 0), WANTED, {("pid", 0): 10.0}) == "student 1 of 4"
