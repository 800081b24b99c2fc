"""The layer map: uniform, last or a list, always strictly increasing and ending at the teacher's top."""

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdcore.errors import UserError
from kdcore.model.layers import check_windows, layer_map


@pytest.mark.parametrize(
    ("layers", "teacher_layers", "expected"),
    [
        (6, 12, (2, 4, 6, 8, 10, 12)),  # paper, Figure 1
        (5, 12, (2, 5, 7, 10, 12)),  # 2.4, 4.8, 7.2, 9.6, 12
        (3, 6, (2, 4, 6)),
        (4, 6, (2, 3, 5, 6)),  # 1.5, 3, 4.5, 6: halves go up
        (1, 12, (12,)),
        (12, 12, tuple(range(1, 13))),
    ],
)
def test_uniform_by_hand(layers: int, teacher_layers: int, expected: tuple[int, ...]):
    assert layer_map("uniform", layers, teacher_layers) == expected


@pytest.mark.parametrize(("layers", "teacher_layers", "expected"), [(3, 12, (10, 11, 12)), (2, 2, (1, 2))])
def test_last_by_hand(layers: int, teacher_layers: int, expected: tuple[int, ...]):
    assert layer_map("last", layers, teacher_layers) == expected


@given(st.sampled_from(["uniform", "last"]), st.integers(1, 60), st.integers(1, 60))
def test_a_map_is_strictly_increasing_and_ends_at_the_top(spec: str, layers: int, teacher_layers: int):
    assume(layers <= teacher_layers)
    mapped = layer_map(spec, layers, teacher_layers)
    assert len(mapped) == layers
    assert mapped[0] >= 1
    assert all(lower < upper for lower, upper in itertools.pairwise(mapped))
    assert mapped[-1] == teacher_layers


@given(st.integers(1, 60), st.integers(1, 60))
def test_uniform_is_the_nearest_to_even_steps(layers: int, teacher_layers: int):
    assume(layers <= teacher_layers)
    for i, mapped in enumerate(layer_map("uniform", layers, teacher_layers), start=1):
        assert -0.5 < mapped - i * teacher_layers / layers <= 0.5


@given(st.integers(1, 30).flatmap(lambda top: st.tuples(st.just(top), st.sets(st.integers(1, top)))))
def test_an_increasing_list_that_ends_at_the_top_is_taken_as_it_is(drawn: tuple[int, set[int]]):
    top, layers = drawn
    spec = sorted(layers | {top})
    assert layer_map(spec, len(spec), top) == tuple(spec)


BAD = {
    "too short": [2, 12],
    "too long": [2, 4, 8, 12],
    "not increasing": [4, 2, 12],
    "repeated": [2, 2, 12],
    "below the first": [0, 4, 12],
    "negative": [-3, 4, 12],
    "beyond the top": [2, 4, 13],
    "short of the top": [2, 4, 11],
    "empty": [],
}


@pytest.mark.parametrize("spec", BAD.values(), ids=BAD.keys())
def test_a_bad_list_is_refused_with_the_map_and_both_depths(spec: list[int]):
    with pytest.raises(UserError) as raised:
        layer_map(spec, 3, 12)
    assert str(raised.value) == (
        f"student.layer_map: {spec} does not map 3 student layers to 12 teacher layers; "
        "it needs 3 strictly increasing numbers from 1 to 12, the last 12"
    )


@pytest.mark.parametrize("layers", [0, -1, 7])
@pytest.mark.parametrize("spec", ["uniform", "last", [1, 2, 3, 4, 5, 6, 7]])
def test_a_student_deeper_than_its_teacher_is_refused(spec: str | list[int], layers: int):
    problem = rf"student\.layers: must be 1 to 6 \(the teacher's depth\), found {layers}"
    with pytest.raises(UserError, match=problem):
        layer_map(spec, layers, 6)


def test_an_unknown_map_is_refused_by_name():
    with pytest.raises(UserError, match=r"student\.layer_map: must be uniform, last or a list, found 'even'"):
        layer_map("even", 3, 6)


def sees(*kinds: str) -> SimpleNamespace:
    """A config whose layers see "full" text or a "sliding" window of it."""
    return SimpleNamespace(layer_types=[f"{kind}_attention" for kind in kinds])


TEACHER = sees("full", "sliding", "full", "sliding")


@pytest.mark.parametrize(
    ("student", "mapped"),
    [
        (sees("sliding", "sliding"), (2, 4)),
        (sees("full", "sliding"), (1, 4)),
        (sees("full", "full"), (2, 4)),  # it can learn to look at a window only
        (SimpleNamespace(), (2, 4)),  # BERT knows no windows
        (SimpleNamespace(layer_types=None), (2, 4)),
    ],
)
def test_a_student_layer_sees_at_least_what_its_teacher_layer_sees(student: SimpleNamespace, mapped: tuple[int, ...]):
    check_windows(student, TEACHER, mapped)


def test_a_window_that_is_to_learn_the_maps_of_whole_texts_is_refused():
    with pytest.raises(UserError, match="student layer 2 sees a window and teacher layer 3 the whole text"):
        check_windows(sees("full", "sliding", "full"), TEACHER, (1, 3, 4))
