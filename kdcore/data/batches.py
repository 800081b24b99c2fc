"""Token ids → padded batches of examples of about the same length."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import torch
from torch import Tensor

from kdcore.data.examples import Examples

BLOCK = 2**20  # rows that are shuffled together: fewer would mix less, more would take memory
POOL = 50  # batches that are sorted by length together: long enough to pad little, short enough to stay random


@dataclass(frozen=True)
class Batch:
    """rows: (B,) positions in Examples; inputs: what the encoder takes, (B, T) each; labels: (B,).

    padded: whether any of them is shorter than the longest, None where nobody knows yet.
    """

    rows: np.ndarray
    inputs: dict[str, Tensor]
    labels: Tensor
    padded: bool | None = None

    @property
    def mask(self) -> Tensor:
        return self.inputs["attention_mask"]

    def tensors(self) -> Iterator[Tensor]:
        return iter((*self.inputs.values(), self.labels))

    def to(self, device: torch.device) -> "Batch":
        inputs = {name: moved(value, device) for name, value in self.inputs.items()}
        return replace(self, inputs=inputs, labels=moved(self.labels, device))


def moved(values: Tensor, device: torch.device) -> Tensor:
    """The values on a device; a GPU copies them from pinned memory, while the processor goes on."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def collate(examples: Examples, rows: np.ndarray) -> Batch:
    """Pad the examples at `rows` to the longest of them."""
    start = examples.start[rows]
    lengths = examples.start[rows + 1] - start
    real = np.arange(lengths.max()) < lengths[:, None]  # (B, T)
    flat = (start[:, None] + np.arange(real.shape[1]))[real]
    inputs = {"input_ids": _padded(examples.tokens[flat], real, examples.pad)}
    inputs["attention_mask"] = torch.from_numpy(real.astype(np.int64))
    if examples.types is not None:
        inputs["token_type_ids"] = _padded(examples.types[flat], real, 0)
    return Batch(rows, inputs, torch.from_numpy(examples.labels[rows]), padded=not real.all())


def _padded(values: np.ndarray, real: np.ndarray, fill: int) -> Tensor:
    padded = np.full(real.shape, fill, dtype=np.int64)
    padded[real] = values
    return torch.from_numpy(padded)


def shuffled(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> Sequence[np.ndarray]:
    """The batches of one epoch: shuffled, sorted by length within pools, and in random order.

    The order depends on the lengths, the seed and the epoch only, so every method with one seed sees the same. More
    rows than BLOCK are shuffled block by block, when their turn comes: the blocks are in random order, and begin
    elsewhere in each epoch.
    """
    return _Epoch(lengths, batch_size, seed, epoch)


class _Epoch(Sequence[np.ndarray]):
    """An epoch's batches, of which those of one block are in memory."""

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> None:
        self._lengths, self._batch_size, self._seed = lengths, batch_size, [seed, epoch]
        block = max(1, BLOCK // batch_size) * batch_size  # only the last batch of all may be a small one
        starts = np.arange(0, len(lengths), block)
        random = np.random.default_rng(self._seed)
        self._shift = int(random.integers(len(lengths))) if len(starts) > 1 else 0
        self._starts = random.permutation(starts) if len(starts) > 1 else starts
        self._rows = np.minimum(self._starts + block, len(lengths)) - self._starts
        self._ends = np.cumsum(-(-self._rows // batch_size))
        self._batches = range(int(self._ends[-1]) if len(starts) else 0)
        self._made: tuple[int, list[np.ndarray]] = (-1, [])

    def __len__(self) -> int:
        return len(self._batches)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "_Epoch": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | _Epoch":
        if isinstance(index, slice):
            part = copy.copy(self)
            part._batches = self._batches[index]
            return part
        batch = self._batches[index]
        block = int(np.searchsorted(self._ends, batch, side="right"))
        if self._made[0] != block:
            self._made = (block, self._block(block))
        return self._made[1][batch - int(self._ends[block])]

    def _block(self, block: int) -> list[np.ndarray]:
        alone = len(self._starts) == 1
        random = np.random.default_rng(self._seed if alone else [*self._seed, int(self._starts[block])])
        first = int(self._starts[block]) + self._shift
        order = (first + random.permutation(int(self._rows[block]))) % len(self._lengths)
        pool = self._batch_size * POOL
        batches = [
            batch
            for start in range(0, len(order), pool)
            for batch in _cut(_by_length(order[start : start + pool], self._lengths), self._batch_size)
        ]
        return [batches[index] for index in random.permutation(len(batches))]


def in_order(lengths: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Every example once, longest first: least padding, and memory runs out at once or never."""
    return _cut(_by_length(np.arange(len(lengths)), lengths)[::-1], batch_size)


def _by_length(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return rows[np.argsort(lengths[rows], kind="stable")]


def _cut(rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    return (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
