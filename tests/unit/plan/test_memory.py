"""Bytes in memory: what autograd keeps, and what follows from the number of parameters."""

import numpy as np
import pytest

from kdcore.distil.schedule import Phase
from kdcore.plan import memory
from kdcore.plan.shapes import encoder_of
from tests import tiny

CONFIG = tiny.config("bert")


def test_layers_that_are_not_measured_keep_what_the_second_one_keeps():
    kept = memory.kept(CONFIG, 16, compares=True)
    whole, internal = Phase("classification", 1), Phase("all", 1, (1, 2, 3, 4))
    assert kept.of(whole, 4) == memory.saved_bytes(CONFIG, 16, 4, compares=False)
    assert kept.of(internal, 4, compares=True) == memory.saved_bytes(CONFIG, 16, 4, compares=True)
    assert kept.matched > kept.layer > kept.rest > 0


def test_a_phase_keeps_only_the_layers_that_run_and_the_maps_that_it_compares():
    kept = memory.Kept(layer=100, matched=130, rest=7)
    assert kept.of(Phase("layer 1", 1, (1,), classification=False), 3, compares=True) == 137
    assert kept.of(Phase("layer 3", 1, (3,), classification=False), 3, compares=True) == 337
    assert kept.of(Phase("layer 3", 1, (1, 2, 3), classification=False), 3, compares=True) == 397
    assert kept.of(Phase("layer 3", 1, (1, 2, 3), classification=False), 3, compares=False) == 307


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


def test_extraction_holds_the_maps_of_the_longest_batch():
    encoder = encoder_of(CONFIG, 4)
    with_maps, without = (memory.of_extraction(encoder, 16, 20, maps).total for maps in (True, False))
    # Three copies of 4 layers' maps: 4 heads, 16 rows, 20 · 20 float32 numbers each.
    assert with_maps - without == 3 * 4 * 4 * 16 * 400 * 4
    assert without == 4 * sum(np.prod(parameter.shape) for parameter in encoder.parameters())
