"""What a run costs in useful arithmetic: floating-point operations of real tokens, padding not counted."""

from collections.abc import Callable, Collection

import numpy as np
from torch import nn

from kdcore.model.encoder import Encoder


def forward_flops(
    encoder: Encoder, lengths: np.ndarray, depth: int | None = None, hidden: Collection[int] = ()
) -> float:
    """Operations of one forward pass over examples of these lengths through layers 1…depth (None: all and head)."""
    return forward_cost(encoder, depth, hidden)(lengths)


def forward_cost(
    encoder: Encoder, depth: int | None = None, hidden: Collection[int] = ()
) -> Callable[[np.ndarray], float]:
    """`forward_flops` as a function of the lengths, for many batches: it looks at the encoder's modules once.

    A linear layer costs 2 per weight and token. Attention costs 4·n²·H per example and layer: 2·n²·H for the products
    of queries with keys, 2·n²·H for the mean of the values. The last layer computes [CLS] alone (last_layer.py): its
    queries' one row costs 2·n·H and so does the mean of the values, or 2·n·H for each of the A heads where the heads
    mix the layer's input instead. The other rows, which only an attention loss asks for, are not counted.
    DeBERTa's products with vectors of distances are; that it makes these vectors, once for a batch, is not.
    hidden: the layers of which every token is read, the last one too.
    """
    per_token = per_example = mixes = squares = 0  # weights, and vectors as wide as H
    for number, layer in enumerate(encoder.layers[:depth], start=1):
        if number == encoder.last_layer(depth) and number not in hidden:
            every, mixed = _weights_of_every_token(encoder, layer)
            per_token, per_example = per_token + every, per_example + linear_weights(layer) - every
            mixes += 1 + mixed
        else:
            met, twice_a_token = _distances(layer.get_submodule(encoder.family.attention))
            per_token += linear_weights(layer) + met
            squares += 1 + twice_a_token
    if depth is None:
        per_example += sum(p.numel() for p in encoder.head_parameters() if p.ndim == 2)
    width = encoder.config.hidden_size

    def cost(lengths: np.ndarray) -> float:
        tokens, pairs = float(lengths.sum()), float(np.square(lengths.astype(np.float64)).sum())
        products = squares * pairs + mixes * tokens / 2
        return 2.0 * (per_token * tokens + per_example * len(lengths)) + 4.0 * products * width

    return cost


def _weights_of_every_token(encoder: Encoder, layer: nn.Module) -> tuple[int, int]:
    """A last layer's linear weights that every token meets, and how many times [CLS] mixes vectors as wide as H."""
    attention = layer.get_submodule(encoder.family.attention)
    if encoder.family.values is None:
        return linear_weights(attention), 1
    values = linear_weights(attention.get_submodule(encoder.family.values))
    return linear_weights(attention) - values, encoder.config.num_attention_heads


def _distances(attention: nn.Module) -> tuple[int, int]:
    """Of DeBERTa, what its content meets the vectors of distances with (He et al., 2021, eq. 4); else (0, 0).

    The weights that this adds for every token, in the place of those that make the vectors, and how many of its
    products have two vectors for every token of the text.
    """
    if not getattr(attention, "relative_attention", False):
        return 0, 0
    of_vectors = sum(linear_weights(part) for name, part in attention.named_children() if name.startswith("pos_"))
    kinds, span = len(attention.pos_att_type), getattr(attention, "pos_ebd_size", None)
    if span is None:
        return -of_vectors, kinds
    return kinds * 2 * span * attention.all_head_size - of_vectors, 0


def training_flops(
    encoder: Encoder, lengths: np.ndarray, depth: int | None = None, trains: str = "model", hidden: Collection[int] = ()
) -> float:
    """Operations of one training step: the backward pass costs twice the forward pass where weights train."""
    return training_cost(encoder, depth, trains, hidden)(lengths)


def training_cost(
    encoder: Encoder, depth: int | None = None, trains: str = "model", hidden: Collection[int] = ()
) -> Callable[[np.ndarray], float]:
    """`training_flops` as a function of the lengths, for many batches."""
    forward, passes = forward_cost(encoder, depth, hidden), 1.0 if trains == "head" else 3.0
    return lambda lengths: passes * forward(lengths)


def linear_weights(module: nn.Module) -> int:
    """Weights of the linear layers in a module."""
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def attention_bytes(lengths: Collection[int] | np.ndarray, layers: int, heads: int, itemsize: int) -> int:
    """Bytes of ragged attention maps: Σ n² · layers · heads · itemsize."""
    return int(np.square(np.asarray(lengths, dtype=np.int64)).sum()) * layers * heads * itemsize
