"""Token ids → padded batches of examples of about the same length."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kdcore.data.examples import Examples

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


def shuffled(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The batches of one epoch: shuffled, sorted by length within pools, and in random order.

    The order depends on the lengths, the seed and the epoch only, so every method with one seed sees the same.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    pool = batch_size * POOL
    batches = [
        batch
        for start in range(0, len(order), pool)
        for batch in _cut(_by_length(order[start : start + pool], lengths), batch_size)
    ]
    return [batches[index] for index in random.permutation(len(batches))]


def in_order(lengths: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Every example once, longest first: least padding, and memory runs out at once or never."""
    return _cut(_by_length(np.arange(len(lengths)), lengths)[::-1], batch_size)


def _by_length(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return rows[np.argsort(lengths[rows], kind="stable")]


def _cut(rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    return (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
