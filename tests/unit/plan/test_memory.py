"""Bytes in memory: what autograd keeps, and what follows from the number of parameters."""

import numpy as np
import pytest
import torch

from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase
from kdcore.plan import memory
from kdcore.plan.shapes import encoder_of
from tests import tiny

CONFIG = tiny.config("bert")
KEPT = memory.Kept(layer=100, matched=130, top=40, top_matched=55)


def test_layers_that_are_not_measured_keep_what_the_first_of_two_keeps():
    kept = memory.kept(CONFIG, 16, compares=True)
    whole, internal = Phase("classification", 1), Phase("all", 1, (1, 2, 3, 4))
    assert kept.of(whole, 4) == memory.saved_bytes(CONFIG, 16, 4, compares=False)
    assert kept.of(internal, 4, compares=True) == memory.saved_bytes(CONFIG, 16, 4, compares=True)
    assert kept.matched > kept.layer > kept.top > 0
    assert kept.top_matched > kept.top


def test_a_phase_keeps_only_the_layers_that_run_and_the_maps_that_it_compares():
    assert KEPT.of(Phase("layer 1", 1, (1,), classification=False), 3, compares=True) == 55
    assert KEPT.of(Phase("layer 3", 1, (3,), classification=False), 3, compares=True) == 100 + 100 + 55
    assert KEPT.of(Phase("layer 3", 1, (1, 2, 3), classification=False), 3, compares=True) == 130 + 130 + 55
    assert KEPT.of(Phase("layer 3", 1, (1, 2, 3), classification=False), 3, compares=False) == 100 + 100 + 40
    assert KEPT.of(Phase("layer 1", 1, (1,)), 3, compares=True) == 130 + 100 + 40  # with the classification loss


def test_one_layer_keeps_at_least_what_its_products_need():
    # float32 inputs of query, key and value, of the output, and of both feed-forward products: (16, 32) and (16, 64).
    assert memory.kept(CONFIG, 16, compares=False).layer > 4 * 16 * (32 + 32 + 32 + 64)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_is_measured(family: str):
    kept = memory.kept(tiny.config(family), 8, compares=True)
    assert kept.matched > kept.layer > 0


def test_training_holds_weights_gradients_and_two_moments():
    encoder = encoder_of(CONFIG, 2)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert memory.of_training("student", encoder, 10, 3).total == 16 * count + 13


def test_extraction_holds_a_layer_and_the_maps_of_the_longest_batch():
    encoder = encoder_of(CONFIG, 4)
    some, none = (memory.of_extraction(encoder, 16, KEPT, 20, stored) for stored in (True, False))
    # Three copies of 4 layers' maps: 4 heads, 16 rows, 20 · 20 float32 numbers each.
    assert some.signals == 3 * 4 * 4 * 16 * 400 * 4
    assert (none.signals, none.activations) == (0, 16 * 100)
    assert none.weights == 4 * sum(np.prod(parameter.shape) for parameter in encoder.parameters())


def test_the_backward_pass_needs_room_for_a_layer_beside_all_that_is_kept():
    phases = [Phase("layer 1", 1, (1,), classification=False), Phase("layer 3", 1, (1, 2, 3), classification=False)]
    assert KEPT.at_most(phases, 3, compares=True) == 130 + 130 + 55 + (130 - 55)
    assert KEPT.at_most(phases, 3) == 100 + 100 + 40 + (100 - 40)


def training_peak(layers: int, tokens: int) -> int:
    """The most bytes of tensors at any moment of a training step, less the parameters, as torch's profiler counts."""
    batch, encoder = memory._one(tokens), encoder_of(CONFIG, layers, "cpu").train()
    phase, objective = Phase("classification", 1), Objective()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        loss, _ = objective(encoder, batch, phase)
        loss.sum().backward()
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most - 4 * sum(parameter.numel() for parameter in encoder.parameters())


def test_what_is_planned_is_the_most_that_a_step_holds():
    """Of the activations, whose gradients come and go; parameters' gradients are counted apart. To a quarter."""
    planned = memory.kept(CONFIG, 64, compares=False).at_most([Phase("classification", 1)], 6)
    assert training_peak(6, 64) == pytest.approx(planned, rel=0.25)
