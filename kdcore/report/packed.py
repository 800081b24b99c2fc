"""Attention maps as text: one byte per weight, and back.

A byte is round(255 · √weight), so small weights keep their order. A weight w is off by at most 0.004·√w, that
is, two significant digits are right; the KL values beside the maps come from the exact weights.
"""

import base64

import numpy as np
from numpy.typing import NDArray

ENCODING = (
    "base64 of one byte per weight, heads × from × to, row by row: byte = round(255·√weight), weight = (byte/255)²"
)


def pack(weights: NDArray[np.floating]) -> str:
    """Weights of any shape, each in 0…1 (rounding beyond it is cut)."""
    levels = np.rint(255 * np.sqrt(np.clip(weights, 0, 1)))
    return base64.b64encode(levels.astype(np.uint8).tobytes()).decode("ascii")


def unpack(text: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The inverse of `pack`. Raises ValueError for another number of weights than `shape` has."""
    levels = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    return np.square(levels.reshape(shape) / 255.0)
