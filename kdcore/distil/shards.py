"""Where the signals of many rows are cut: into shards, whose rows are computed together and which a kill leaves whole,
and into parts of several shards, each a run of its own, so that machines make them side by side. No torch here.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdcore.artefacts import link

SHARD_BYTES = 256 * 2**20  # of attention maps; the unit of resuming and of checksums
PART = 16  # shards: minutes of a processor's work, beside the seconds that a command takes to start


def shard_bounds(lengths: np.ndarray, bytes_per_square: int) -> list[int]:
    """Row numbers 0 = b_0 < b_1 < … = N such that each stretch holds about SHARD_BYTES of maps."""
    size = np.cumsum(np.square(lengths.astype(np.int64)) * bytes_per_square)
    shards = size // SHARD_BYTES
    cuts = np.flatnonzero(np.diff(shards)) + 1
    return [0, *map(int, cuts), len(lengths)]


def parts_of(bounds: Sequence[int]) -> list[list[int]]:
    """The bounds of the shards of each part; a part begins where the one before it ends."""
    return [list(bounds[first : first + PART + 1]) for first in range(0, len(bounds) - 1, PART)]


def array(path: Path, mode: str, dtype: str, shape: tuple[int, ...]) -> np.memmap:
    """A .npy file as an array: a new one of that type and shape (w+), or the one that is there (r+).

    Raises OSError where a new one has no room: a full disk would end the process without a word later on.
    """
    made = np.lib.format.open_memmap(path, mode, dtype, shape)
    if mode == "w+" and hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return made


def join(parts: Sequence[Path], folder: Path) -> None:
    """Write into `folder` what an extraction of all rows writes, given the results of their parts, in order.

    Maps are hard links (copies across file systems); the rest, which is small beside them, is written again.
    """
    for name in ("lengths", "logits", "cls"):
        read = [np.load(part / f"{name}.npy", mmap_mode="r") for part in parts]
        shape = (sum(map(len, read)), *read[0].shape[1:])
        whole, start = array(folder / f"{name}.npy", "w+", read[0].dtype.name, shape), 0
        for values in read:
            whole[start : start + len(values)] = values
            start += len(values)
        whole.flush()
    maps = [file for part in parts for file in sorted(part.glob("attention-*.npy"))]
    for shard, file in enumerate(maps):
        link(file, folder / f"attention-{shard:05d}.npy")
