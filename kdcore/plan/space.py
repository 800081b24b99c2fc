"""Bytes on disk: the teacher's signals, checkpoints, weights."""

from dataclasses import dataclass

import numpy as np

from kdcore.distil.targets import shard_bounds
from kdcore.model.cost import attention_bytes
from kdcore.model.encoder import Encoder

HEADER = 128  # of a .npy file
WEIGHT, MOMENTS = 4, 8  # float32; AdamW's two
CHECKPOINTS = 3  # the newest two are kept while a third is written


@dataclass(frozen=True)
class SignalBytes:
    """What targets write for one split."""

    maps: int
    rest: int  # [CLS] vectors, logits, lengths


def signal_bytes(teacher: Encoder, lengths: np.ndarray, dtype: str, stored: bool) -> SignalBytes:
    """The files of one split, to the byte, but for its manifest."""
    layers, heads, size = len(teacher.layers), teacher.config.num_attention_heads, np.dtype(dtype).itemsize
    shards = len(shard_bounds(lengths, layers * heads * size)) - 1
    maps = attention_bytes(lengths, layers, heads, size) + shards * HEADER if stored else 0
    row = layers * teacher.config.hidden_size * size + teacher.output.out_features * 4 + 4
    return SignalBytes(maps, len(lengths) * row + 3 * HEADER)


def parameters(encoder: Encoder) -> int:
    return encoder.parameter_counts()["total"]
