"""What a run costs in useful arithmetic: floating-point operations of real tokens, padding not counted. No torch here.

A model at hand knows its own shape (`Encoder.shape`); `shape_in` reads it from a config.json.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdcore.model.families import family

# What a config.json calls its layers, their width and the width inside: DistilBERT has names of its own.
SIZES = (("num_hidden_layers", "n_layers"), ("hidden_size", "dim"), ("intermediate_size", "hidden_dim"))
HEADS = ("num_attention_heads", "n_heads")


@dataclass(frozen=True)
class Shape:
    """The linear weights of a classifier, all of whose layers are alike.

    every: those of a layer that each token meets even where the layer computes [CLS] alone (last_layer.py); alone: its
    others; mixes: how many times such a layer mixes vectors as wide as H for [CLS], the scores of its row included;
    head: the weights above the layers; width: H; cls_only: whether a whole pass has a last layer that computes
    [CLS] alone; squares: how many maps' products a layer computes. Where `alone` is 0 every layer computes every token.
    """

    layers: int
    every: int
    alone: int
    mixes: int
    head: int
    width: int
    cls_only: bool = True
    squares: int = 1


def distances(config: Mapping[str, Any]) -> tuple[int, int]:
    """What DeBERTa's products with vectors of distances add to `every` and make of `squares` (He et al., 2021, eq. 4).

    config: a config.json's. v2 and v3 have as many such vectors as the config says, v1 two for every token of the text.
    That a batch computes these vectors once is not counted.
    """
    kinds = config.get("pos_att_type") or ()
    count = len(kinds.split("|") if isinstance(kinds, str) else kinds)
    if not config.get("relative_attention") or not count:
        return 0, 1
    if config["model_type"] == "deberta":
        return 0, 1 + count
    spans = (config.get(key, 0) for key in ("position_buckets", "max_relative_positions", "max_position_embeddings"))
    return count * 2 * next(span for span in spans if span > 0) * config["hidden_size"], 1


def shape_in(config: Mapping[str, Any], outputs: int, name: str) -> Shape | None:
    """The shape of a classifier with so many outputs, as the config.json of the model `name` has it.

    None where a size is left out there. Raises UserError for an architecture that can't be captured.
    """
    own = family(str(config.get("model_type")), name)
    layers, width, inner, heads = (
        next((config[key] for key in keys if type(config.get(key)) is int), 0) for keys in (*SIZES, HEADS)
    )
    if not layers * width * inner * heads:
        return None
    square = width * width
    if own.own_map:
        met, squares = distances(config)
        every = 4 * square + own.inner * width * inner + met
        return Shape(layers, every, 0, 0, square + width * outputs, width, False, squares)
    return Shape(
        layers,
        every=own.every * square,
        alone=(4 - own.every) * square + own.inner * width * inner,
        mixes=1 + (heads if own.values else 1),
        head=square + width * outputs,
        width=width,
        cls_only=config.get("classifier_pooling", "cls") == "cls",
    )


def forward_flops(shape: Shape, lengths: np.ndarray, depth: int | None = None, hidden: Collection[int] = ()) -> float:
    """Operations of one forward pass over examples of these lengths through layers 1…depth (None: all and head).

    A linear layer costs 2 per weight and token. Attention costs 4·n²·H per example and layer: 2·n²·H for the products
    of queries with keys, 2·n²·H for the mean of the values. The last layer computes [CLS] alone (last_layer.py): its
    queries' one row costs 2·n·H and so does the mean of the values, or 2·n·H for each of the A heads where the heads
    mix the layer's input instead. The other rows, which only an attention loss asks for, are not counted.
    hidden: the layers of which every token is read, the last one too.
    """
    last = shape.layers if depth is None else depth
    shortened = int((shape.cls_only or depth is not None) and last not in hidden and shape.alone > 0)
    whole = last - shortened
    per_token = whole * (shape.every + shape.alone) + shortened * shape.every  # weights that every token meets
    per_example = shortened * shape.alone + (shape.head if depth is None else 0)
    tokens, pairs = float(lengths.sum()), float(np.square(lengths.astype(np.float64)).sum())
    products = whole * shape.squares * pairs + shortened * shape.mixes * tokens / 2
    return 2.0 * (per_token * tokens + per_example * len(lengths)) + 4.0 * products * shape.width


def training_flops(
    shape: Shape,
    lengths: np.ndarray,
    depth: int | None = None,
    trains: str = "model",
    hidden: Collection[int] = (),
    frozen: int = 0,
) -> float:
    """Operations of one training step: the backward pass costs twice the forward pass where weights train.

    frozen: layers 1…frozen are passed forwards alone.
    """
    forward = forward_flops(shape, lengths, depth, hidden)
    if trains == "head":
        return forward
    alone = forward_flops(shape, lengths, frozen, (frozen,)) if frozen else 0.0  # of every token in each of its layers
    return 3.0 * forward - 2.0 * alone


def attention_bytes(lengths: Collection[int] | np.ndarray, layers: int, heads: int, itemsize: int) -> int:
    """Bytes of ragged attention maps: Σ n² · layers · heads · itemsize."""
    return int(np.square(np.asarray(lengths, dtype=np.int64)).sum()) * layers * heads * itemsize
