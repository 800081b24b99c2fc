"""The teacher's signals, stored or live behind one call: logits, and [CLS] vectors, maps and hidden states by layer.

Stored signals are ragged: an example of n tokens keeps n×n numbers per layer and head, and no padding. Hidden states
are never stored: of short texts they are larger than the maps, and every teacher would pay for what few students read.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from kdcore.artefacts import open_sealed
from kdcore.data.batches import Batch, moved
from kdcore.distil.written import RERUN
from kdcore.model.encoder import Encoder

Layers: TypeAlias = Collection[int]  # the teacher's, from 1


@dataclass(frozen=True)
class Teaching:
    """The teacher's signals for one batch, by 1-based teacher layer, in the precision that they are stored in.

    attention: (B, A, T, T) probabilities, 0 at padding; cls: (B, H); logits: (B, K); hidden: (B, T, H).
    """

    attention: Mapping[int, Tensor]
    cls: Mapping[int, Tensor]
    given_logits: Tensor | None
    hidden: Mapping[int, Tensor] = field(default_factory=dict)

    def tensors(self) -> Iterator[Tensor]:
        layers = (self.attention, self.cls, self.hidden)
        yield from (tensor for signals in layers for tensor in signals.values())
        if self.given_logits is not None:
            yield self.given_logits

    @property
    def logits(self) -> Tensor:
        """Raises ValueError where they were not asked for."""
        if self.given_logits is None:
            raise ValueError("the teacher was not asked for logits")
        return self.given_logits


class Signals(Protocol):
    """A source of the teacher's signals."""

    def at(self, batch: Batch, attention: Layers, cls: Layers, logits: bool = True, hidden: Layers = ()) -> Teaching:
        """The signals of a batch; attention, cls and hidden name the layers that are wanted."""

    def are_stored(self, attention: Layers, hidden: Layers = ()) -> bool:
        """Whether `at` runs no model for these layers' signals, so that a thread may call it before its turn."""


class Live:
    """Signals from the teacher itself, in eval mode and without gradient."""

    def __init__(self, teacher: Encoder) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.layers = len(teacher.layers)

    @torch.no_grad()
    def at(self, batch: Batch, attention: Layers, cls: Layers, logits: bool = True, hidden: Layers = ()) -> Teaching:
        depth = None if logits else max((*attention, *cls, *hidden))  # nothing of the layers above is wanted
        internals = self.teacher.to(batch.mask.device)(batch.inputs, depth, attention, batch.padded, hidden)
        mask = batch.mask[:, None, :, None]
        return Teaching(
            # The softmax of log-probabilities is the probabilities; torch's exp is slow where they are 0.
            {layer: internals.attention[layer].softmax(-1).mul_(mask) for layer in attention},
            {layer: internals.cls[layer] for layer in cls},
            internals.logits,
            internals.hidden,
        )

    def are_stored(self, attention: Layers, hidden: Layers = ()) -> bool:
        return False


class Stored:
    """Signals that were written, memory-mapped. Hidden states, and maps that were not stored, come from the teacher."""

    def __init__(self, folder: Path, teacher: Path) -> None:
        """Raises UserError where the folder is incomplete or was changed since it was written."""
        manifest = open_sealed(folder, RERUN)
        self.layers: tuple[int, ...] = tuple(manifest["layers"])
        self._place = {layer: place for place, layer in enumerate(self.layers)}
        self._heads: int = manifest["heads"]
        self._logits = _map(folder / "logits.npy")  # (N, K)
        self._cls = _map(folder / "cls.npy")  # (N, L, H)
        self._lengths = _map(folder / "lengths.npy")  # (N,)
        self._shards = [_map(folder / f"attention-{k:05d}.npy") for k in range(len(manifest["shards"]))]
        self._bounds = np.asarray([0, *manifest["shards"]])
        self._offsets = offsets(self._lengths, self._bounds, len(self.layers) * self._heads)
        self._teacher = teacher

    @cached_property
    def _live(self) -> Live:
        return Live(Encoder.load(self._teacher))

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def logits(self) -> np.ndarray:
        """(N, K) of all rows."""
        return self._logits

    def at(self, batch: Batch, attention: Layers, cls: Layers, logits: bool = True, hidden: Layers = ()) -> Teaching:
        rows, device = batch.rows, batch.mask.device
        places = np.asarray([self._place[layer] for layer in cls], np.int64)
        vectors = moved(torch.from_numpy(self._cls[rows, places[:, None]]), device)  # (layers, B, H)
        beside = Teaching({}, {}, None)
        if not self.are_stored(attention, hidden):
            beside = self._live.at(batch, () if self._shards else attention, (), logits=False, hidden=hidden)
        return Teaching(
            self._attention(batch, attention) if attention and self._shards else beside.attention,
            dict(zip(cls, vectors, strict=True)),
            moved(torch.from_numpy(self._logits[rows]), device) if logits else None,
            beside.hidden,
        )

    def are_stored(self, attention: Layers, hidden: Layers = ()) -> bool:
        return not hidden and (bool(self._shards) or not attention)

    def _attention(self, batch: Batch, layers: Layers) -> Mapping[int, Tensor]:
        device = batch.mask.device
        maps = self._gathered(batch.rows, layers, batch.mask.shape[1], pinned=device.type == "cuda")
        return dict(zip(layers, moved(maps, device), strict=True))

    def _gathered(self, rows: np.ndarray, layers: Layers, longest: int, pinned: bool) -> Tensor:
        """(layers, B, A, T, T) maps of these rows, padded to the longest, in one piece of memory."""
        dtype = getattr(torch, self._shards[0].dtype.name)
        maps = torch.empty((len(layers), len(rows), self._heads, longest, longest), dtype=dtype, pin_memory=pinned)
        for index, row in enumerate(rows.tolist()):
            n = int(self._lengths[row])
            stored, target = self._example(row, n), maps[:, index].numpy()
            target[..., n:, :], target[..., :n, n:] = 0, 0
            for place, layer in enumerate(layers):
                target[place, :, :n, :n] = stored[self._place[layer]]
        return maps

    def _example(self, row: int, n: int) -> np.ndarray:
        """(L, A, n, n) of one example."""
        shard = int(np.searchsorted(self._bounds, row, side="right")) - 1
        start = int(self._offsets[row])
        flat = self._shards[shard][start : start + len(self.layers) * self._heads * n * n]
        return flat.reshape(len(self.layers), self._heads, n, n)


def offsets(lengths: np.ndarray, bounds: np.ndarray, maps: int) -> np.ndarray:
    """(N,) where each example's numbers start within its shard."""
    size = np.square(lengths.astype(np.int64)) * maps
    ends = np.cumsum(size)
    first = np.concatenate([[0], ends])[bounds[np.searchsorted(bounds, np.arange(len(lengths)), "right") - 1]]
    return ends - size - first


def _map(path: Path) -> np.ndarray:
    # As an ordinary array: every part of a np.memmap is one too, which takes longer to make than a short text to copy.
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
