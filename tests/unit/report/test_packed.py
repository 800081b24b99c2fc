"""Attention weights as text, and back."""

import numpy as np
import pytest

from kdcore.report.packed import pack, unpack


def test_a_byte_is_the_root_of_a_weight():
    # 255 · √0.25 = 127.5, which rounds to the even 128; AIAA… is base64 of 0, 128, 255.
    assert pack(np.array([0.0, 0.25, 1.0])) == "AID/"


def test_what_was_packed_comes_back_to_two_digits():
    weights = np.random.default_rng(0).dirichlet(np.full(9, 0.2), (2, 9))
    found = unpack(pack(weights), weights.shape)
    assert (abs(found - weights) <= 0.004 * np.sqrt(weights) + 4e-6).all()


def test_rounding_beyond_the_range_is_cut():
    assert unpack(pack(np.array([1.0002, -1e-9])), (2,)).tolist() == [1.0, 0.0]


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="reshape"):
        unpack(pack(np.zeros(4)), (3, 3))
