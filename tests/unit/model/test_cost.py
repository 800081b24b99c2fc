"""Floating-point operations and bytes, against counts by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from kdcore.model.cost import attention_bytes, forward_flops, shape_in, training_flops
from kdcore.model.encoder import Encoder, linear_weights
from tests import tiny
from tests.distilling import encoder

LENGTHS = np.asarray([5, 3])
# The tiny BERT: width 32, 64 inside. A layer's linear weights are 4 of 32² and 2 of 32 · 64.
MAP = 2 * 32 * 32  # queries and keys, for every token
ALONE = 2 * 32 * 32 + 2 * 32 * 64  # in the last layer for the first token of an example only, its values too
LAYER = MAP + ALONE
ROW = 2 * 32 + 2 * 4 * 32  # its row of the map, and the layer's input mixed by each of 4 heads, per token


def test_a_layers_linear_weights_by_hand():
    assert linear_weights(encoder().layers[0]) == LAYER == 8192


def test_a_forward_pass_by_hand():
    # 2 examples of 8 tokens; attention's two products are 2 · 2 · n² · 32, n² summing to 25 + 9.
    layer = 2 * LAYER * 8 + 4 * (25 + 9) * 32
    last = 2 * (MAP * 8 + ALONE * 2) + ROW * 8
    assert forward_flops(encoder().shape, LENGTHS, depth=2) == layer + last
    # The whole model has four layers, and pooler (32²) and classifier (2 · 32) on each example's first token.
    assert forward_flops(encoder().shape, LENGTHS) == 3 * layer + last + 2 * (32 * 32 + 2 * 32) * 2


def test_a_last_layer_whose_hidden_states_are_read_computes_every_token():
    layer = 2 * LAYER * 8 + 4 * (25 + 9) * 32
    assert forward_flops(encoder().shape, LENGTHS, depth=2, hidden=(1, 2)) == 2 * layer
    assert training_flops(encoder().shape, LENGTHS, depth=2, hidden=(2,)) == 3 * 2 * layer
    shape = encoder().shape
    assert forward_flops(shape, LENGTHS, depth=2, hidden=(1,)) == forward_flops(shape, LENGTHS, depth=2)


def test_values_in_one_with_queries_and_keys_are_of_every_token():
    # The tiny ModernBERT's attention: queries, keys and values, 3 · 32² in one, and 32² for what they give. Then, for
    # the first token, 32 · 2 · 64 for both halves of a gate, and 64 · 32 back.
    last = 2 * (4 * 32 * 32 * 8 + 3 * 32 * 64 * 2) + 4 * 8 * 32
    assert forward_flops(encoder("modernbert").shape, LENGTHS, depth=1) == last


def test_distances_that_content_meets_by_hand():
    # A DeBERTa's token meets vectors of distances by its query and by its key. In v2 they are 2 · 8, twice the buckets;
    # in v1 as many as 2 n.
    layer = 2 * LAYER * 8 + 4 * (25 + 9) * 32
    assert forward_flops(encoder("deberta-v2").shape, LENGTHS, depth=1) == layer + 2 * (2 * 8 * (2 * 8) * 32)
    assert forward_flops(encoder("deberta").shape, LENGTHS, depth=1) == layer + 2 * (2 * 2 * (25 + 9) * 32)
    assert forward_flops(encoder("mpnet").shape, LENGTHS, depth=1) == layer


def test_the_backward_pass_costs_twice_the_forward_pass_where_the_model_trains():
    forward = forward_flops(encoder().shape, LENGTHS, depth=2)
    assert training_flops(encoder().shape, LENGTHS, depth=2) == 3 * forward
    assert training_flops(encoder().shape, LENGTHS, trains="head") == forward_flops(encoder().shape, LENGTHS)


def test_frozen_layers_have_no_backward_pass():
    layer = 2 * LAYER * 8 + 4 * (25 + 9) * 32
    last = 2 * (MAP * 8 + ALONE * 2) + ROW * 8
    assert training_flops(encoder().shape, LENGTHS, depth=3, frozen=2) == 2 * layer + 3 * last


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_each_layer_more_costs_the_same_and_examples_add_up(family: str):
    model = encoder(family).shape
    one, two, three = (forward_flops(model, LENGTHS, depth) for depth in (1, 2, 3))
    assert three - two == two - one >= one > 0
    assert (one == two - one) == (family in tiny.OWN_ATTENTION)  # which has no shortcut in its last layer
    apart = [forward_flops(model, LENGTHS[[row]]) for row in range(2)]
    assert forward_flops(model, LENGTHS) == sum(apart)
    assert forward_flops(model, LENGTHS) > forward_flops(model, LENGTHS, depth=4)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_config_says_what_the_modules_have(family: str, outputs: int, tmp_path: Path):
    """It is the one of an encoder without a classifier, as before fine-tuning."""
    config = json.loads((tiny.save_pretrained(tmp_path, family) / "config.json").read_text())
    assert shape_in(config, outputs, family) == Encoder(tiny.model(family, labels=outputs)).shape


def test_a_classifier_that_takes_the_mean_reads_every_token():
    config = tiny.config("modernbert")
    config.classifier_pooling = "mean"
    shape = shape_in(config.to_dict(), 2, "modernbert")
    assert shape is not None
    # Every layer computes every token: 2 per weight and token; then the head's on each of two examples.
    layer = 2 * (4 * 32 * 32 + 3 * 32 * 64) * 8 + 4 * (25 + 9) * 32
    assert forward_flops(shape, LENGTHS) == 4 * layer + 2 * (32 * 32 + 2 * 32) * 2


def test_a_config_that_leaves_a_size_out_says_nothing():
    config = tiny.config("bert").to_dict()
    del config["intermediate_size"]
    assert shape_in(config, 2, "bert") is None


def test_long_texts_do_not_overflow():
    lengths = np.full(3_000_000, 512, dtype=np.int32)
    assert attention_bytes(lengths, 12, 12, 2) == 3_000_000 * 512 * 512 * 12 * 12 * 2
    assert forward_flops(encoder().shape, lengths, depth=1) == 3_000_000 * (2 * (MAP * 512 + ALONE) + ROW * 512)


def test_bytes_of_maps_by_hand():
    # (25 + 9) pairs, 4 layers, 3 heads, 2 bytes
    assert attention_bytes(LENGTHS, 4, 3, 2) == 816
