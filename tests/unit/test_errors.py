"""The message of a UserError is an interface: one line for one problem, a list for more, never endless."""

import copy

import pytest

from kdcore.errors import LISTED, UserError, collected, near, shown


def test_one_problem_is_one_line():
    assert str(UserError("params.yaml", "student.layer: unknown key")) == "params.yaml: student.layer: unknown key"
    assert str(UserError("params.yaml", ["a: is missing"])) == "params.yaml: a: is missing"


def test_more_problems_are_a_list():
    assert str(UserError("f", ["a", "b"])) == "f: 2 problems\n  a\n  b"


def test_the_list_is_capped_and_the_rest_counted():
    lines = str(UserError("f", [str(i) for i in range(LISTED + 7)])).splitlines()
    assert lines[0] == f"f: {LISTED + 7} problems"
    assert lines[-1] == "  ... and 7 more"
    assert len(lines) == LISTED + 2


def test_it_survives_the_way_between_processes():
    error = copy.deepcopy(UserError("f", ["a", "b"]))  # by the same protocol
    assert (error.source, error.problems, str(error)) == ("f", ["a", "b"], "f: 2 problems\n  a\n  b")


def test_parts_are_collected_and_raised_once():
    done = []
    with pytest.raises(UserError) as error, collected("folder") as part:  # noqa: PT012
        for name in ("a", "b", "c"):
            with part():
                if name != "b":
                    raise UserError(name, "is wrong")
                done.append(name)
    assert error.value.problems == ["a: is wrong", "c: is wrong"]
    assert done == ["b"]


def test_other_errors_are_not_collected():
    with pytest.raises(ZeroDivisionError), collected("folder") as part, part():
        1 / 0  # noqa: B018


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        ("a\x1b[0m\n", r"'a\x1b[0m\n'"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_values_are_shown_without_control_characters(value: object, text: str):
    assert shown(value) == text


def test_long_and_deep_values_are_shortened():
    loop: list = []
    loop.append(loop)
    for value in ("x" * 10**6, ["y" * 100] * 10**4, {i: i for i in range(10**4)}, loop, 10**5000):
        assert len(shown(value)) < 1000


def test_near_names_one_or_nothing():
    assert near("layer", ["layers", "rows"]) == ", did you mean 'layers'?"
    assert near("zzz", ["layers", "rows"]) == ""
    assert near(3, ["layers"]) == ""
    assert near(" NEG", ["neg", "pos"]) == ", did you mean 'neg'?"
