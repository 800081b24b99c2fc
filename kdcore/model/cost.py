"""What a run costs in useful arithmetic: floating-point operations of real tokens, padding not counted."""

from collections.abc import Collection

import numpy as np
from torch import nn

from kdcore.model.encoder import Encoder


def forward_flops(encoder: Encoder, lengths: np.ndarray, depth: int | None = None) -> float:
    """Operations of one forward pass over examples of these lengths through layers 1…depth (None: all and head).

    A linear layer costs 2 per weight and token. Attention costs 4·n²·H per example and layer: 2·n²·H for the products
    of queries with keys, 2·n²·H for the mean of the values. The last layer computes [CLS] alone (last_layer.py): its
    queries' one row costs 2·n·H and so does the mean of the values, or 2·n·H for each of the A heads where the heads
    mix the layer's input instead. The other rows, which only an attention loss asks for, are not counted.
    """
    layers, last = encoder.layers[:depth], encoder.last_layer(depth)
    tokens, examples = float(lengths.sum()), len(lengths)
    pairs = float(np.square(lengths.astype(np.float64)).sum())
    linear = products = 0.0
    for number, layer in enumerate(layers, start=1):
        if number == last:
            every, mixed = _weights_of_every_token(encoder, layer)
            linear += every * tokens + (linear_weights(layer) - every) * examples
            products += tokens * (1 + mixed) / 2
        else:
            linear += linear_weights(layer) * tokens
            products += pairs
    head = 0 if depth is not None else sum(p.numel() for p in encoder.head_parameters() if p.ndim == 2)
    return 2.0 * (linear + head * examples) + 4.0 * products * encoder.config.hidden_size


def _weights_of_every_token(encoder: Encoder, layer: nn.Module) -> tuple[int, int]:
    """A last layer's linear weights that every token meets, and how many times [CLS] mixes vectors as wide as H."""
    attention = layer.get_submodule(encoder.family.attention)
    if encoder.family.values is None:
        return linear_weights(attention), 1
    values = linear_weights(attention.get_submodule(encoder.family.values))
    return linear_weights(attention) - values, encoder.config.num_attention_heads


def training_flops(encoder: Encoder, lengths: np.ndarray, depth: int | None = None, trains: str = "model") -> float:
    """Operations of one training step: the backward pass costs twice the forward pass where weights train."""
    forward = forward_flops(encoder, lengths, depth)
    return forward if trains == "head" else 3.0 * forward


def linear_weights(module: nn.Module) -> int:
    """Weights of the linear layers in a module."""
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def attention_bytes(lengths: Collection[int] | np.ndarray, layers: int, heads: int, itemsize: int) -> int:
    """Bytes of ragged attention maps: Σ n² · layers · heads · itemsize."""
    return int(np.square(np.asarray(lengths, dtype=np.int64)).sum()) * layers * heads * itemsize
