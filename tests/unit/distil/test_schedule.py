"""Every method as its phases, and the learning rate's two straight lines."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcore.distil.losses import FUNCTIONS
from kdcore.distil.methods import INTERNAL, METHODS, Method, Schedule
from kdcore.distil.methods import SCHEDULES as EVERY
from kdcore.distil.schedule import Phase, learning_rate, phases
from tests.distilling import distill

counts = st.integers(1, 6)


def of(schedule: str, **knobs: Any) -> tuple[Phase, ...]:
    return phases(schedule, 3, distill(**({"epochs_per_layer": 2, "classification_epochs": 4} | knobs)))


def shown(stretch: tuple[Phase, ...]) -> list[tuple[str, int, tuple[int, ...], bool]]:
    return [(phase.name, phase.epochs, phase.internal, phase.classification) for phase in stretch]


@pytest.mark.parametrize("schedule", ["none", "soft"])
def test_none_and_soft_are_one_phase_of_classification(schedule: str):
    assert shown(of(schedule)) == [("classification", 10, (), True)]  # 3 · 2 + 4 epochs


def test_all_is_one_phase_of_everything():
    assert shown(of("all")) == [("all", 10, (1, 2, 3), True)]


def test_pid_has_each_layer_alone_lowest_first_then_classification():
    assert shown(of("pid")) == [
        ("layer 1", 2, (1,), False),
        ("layer 2", 2, (2,), False),
        ("layer 3", 2, (3,), False),
        ("classification", 4, (), True),
    ]


def test_sid_stacks_the_layers_then_has_classification_only():
    assert shown(of("sid")) == [
        ("layer 1", 2, (1,), False),
        ("layer 2", 2, (1, 2), False),
        ("layer 3", 2, (1, 2, 3), False),
        ("classification", 4, (), True),
    ]


def test_the_epochs_of_the_layers_are_shared_by_however_many_phases_there_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(EVERY, "odd", Schedule("odd", "", "", beside=True, before=lambda layers: ((3, 2), layers)))
    assert shown(of("odd", epochs_per_layer=1)) == [
        ("layer 2", 1, (3, 2), False),  # 3 · 1 epochs, for 2 phases
        ("layer 3", 2, (1, 2, 3), False),
        ("classification", 4, (1, 2, 3), True),
    ]


@pytest.mark.parametrize("schedule", ["pid", "sid"])
def test_classification_is_in_every_phase_where_it_is_always(schedule: str):
    assert [phase.classification for phase in of(schedule, classification="always")] == [True] * 4
    assert [phase.internal for phase in of(schedule, classification="always")] == [
        phase.internal for phase in of(schedule)
    ]


@pytest.mark.parametrize("schedule", ["pid", "sid"])
def test_what_is_frozen_below_a_layer_is_compared_no_more(schedule: str):
    stretch = of(schedule, below="freeze")
    assert [(phase.internal, phase.frozen) for phase in stretch] == [((1,), 0), ((2,), 1), ((3,), 2), ((), 0)]
    assert [phase.frozen for phase in of(schedule)] == [0] * 4


def test_only_layers_that_were_compared_before_are_frozen(monkeypatch: pytest.MonkeyPatch):
    groups = ((3,), (2, 3), (1, 2, 3), (1, 2, 3))
    monkeypatch.setitem(EVERY, "down", Schedule("down", "", "", before=lambda _: groups))
    stretch = of("down", below="freeze")
    assert [(phase.internal, phase.frozen) for phase in stretch[:-1]] == [(layers, 0) for layers in groups]
    pairs = ((1, 2), (1, 2, 3))
    monkeypatch.setitem(EVERY, "pairs", Schedule("pairs", "", "", before=lambda _: pairs))
    stretch = of("pairs", below="freeze")
    assert [(phase.internal, phase.frozen) for phase in stretch[:-1]] == [((1, 2), 0), ((3,), 2)]


@pytest.mark.parametrize("schedule", ["pid", "sid"])
def test_only_the_last_phase_trains_the_head_alone(schedule: str):
    assert [phase.trains for phase in of(schedule, trains="head")] == ["model", "model", "model", "head"]
    assert [phase.trains for phase in of(schedule)] == ["model"] * 4


@pytest.mark.parametrize("schedule", ["none", "soft", "all"])
def test_methods_without_a_last_phase_train_the_model(schedule: str):
    assert [phase.trains for phase in of(schedule, trains="head")] == ["model"]


@pytest.mark.parametrize("schedule", EVERY)
def test_a_threshold_ends_the_phase_of_a_layer_only(schedule: str):
    for phase in of(schedule, cosine_threshold=0.1):
        if phase.layer is None:
            assert phase.cosine_threshold == 0
        else:
            assert (phase.cosine_threshold, phase.layer) == (0.1, max(phase.internal))


@given(st.integers(1, 12), counts, counts, st.sampled_from(["last", "always"]), st.sampled_from(["model", "head"]))
def test_every_method_has_the_same_epochs(layers: int, epochs: int, last: int, classification: str, trains: str):
    knobs = distill(epochs_per_layer=epochs, classification_epochs=last, classification=classification, trains=trains)
    budgets = {schedule: sum(phase.epochs for phase in phases(schedule, layers, knobs)) for schedule in EVERY}
    assert set(budgets.values()) == {layers * epochs + last}


def test_a_phase_runs_the_layers_that_it_needs():
    assert [phase.depth for phase in of("sid")] == [1, 2, 3, None]
    assert [phase.depth for phase in of("pid")] == [1, 2, 3, None]
    assert [phase.depth for phase in of("pid", classification="always")] == [None] * 4
    assert [phase.depth for phase in of("soft")] == [None]


@pytest.mark.parametrize(
    ("name", "schedule", "losses"),
    [
        ("none", "none", ()),
        ("soft", "soft", ()),
        ("all", "all", ("kl", "cos")),
        ("pid", "pid", ("kl", "cos")),
        ("all-kl", "all", ("kl",)),
        ("pid-cos", "pid", ("cos",)),
    ],
)
def test_a_methods_name_says_its_schedule_and_its_losses(name: str, schedule: str, losses: tuple[str, ...]):
    assert Method.parse(name) == Method(schedule, losses)


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("sid", {"kl": 2.0, "cos": 0.5}, {"kl": 2.0, "cos": 0.5}),
        ("sid", {"kl": 2.0, "cos": 0.0}, {"kl": 2.0}),
        ("sid", {"cos": 0.5}, {"cos": 0.5}),
        ("sid-kl", {"kl": 2.0, "cos": 0.5}, {"kl": 2.0}),
        ("sid-kl", {"cos": 0.5}, {}),
        ("soft", {"kl": 2.0}, {}),
    ],
)
def test_a_method_minimises_those_of_its_losses_that_have_a_weight(
    name: str, weights: dict[str, float], expected: dict[str, float]
):
    assert Method.parse(name).minimised(weights) == expected


def test_every_internal_loss_has_a_function_and_is_the_suffix_of_methods():
    assert set(FUNCTIONS) == set(INTERNAL)
    assert {f"sid-{name}" for name in INTERNAL} < set(METHODS)


# The learning rate


def test_the_rate_by_hand():
    # 10 steps, 2 of warm-up: 1/2, 2/2, then from the peak down by eighths, never quite to 0.
    rates = [learning_rate(8.0, step, 10, 0.2) for step in range(10)]
    assert rates == [4.0, 8.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]


def test_without_warm_up_the_first_step_has_the_peak():
    assert [learning_rate(4.0, step, 4, 0.0) for step in range(4)] == [4.0, 3.0, 2.0, 1.0]


@given(st.integers(1, 500), st.floats(0, 1), st.floats(1e-6, 1.0))
def test_the_rate_rises_then_falls_between_0_and_the_peak(steps: int, warmup: float, peak: float):
    rates = [learning_rate(peak, step, steps, warmup) for step in range(steps)]
    top = rates.index(max(rates))
    assert rates[top] == pytest.approx(peak)
    assert all(0 < rate <= peak * (1 + 1e-9) for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert abs(top - warmup * steps) <= 1.5


def test_a_step_beyond_the_last_has_no_rate():
    assert learning_rate(1.0, 10, 10, 0.1) == 0
    assert learning_rate(1.0, 12, 10, 0.1) == 0
