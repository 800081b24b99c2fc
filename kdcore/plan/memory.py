"""Bytes in memory: what training, extraction and a student beside its signals hold at once."""

import copy
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdcore.data.batches import Batch
from kdcore.distil.methods import INTERNAL
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase
from kdcore.distil.signals import Teaching
from kdcore.model.encoder import Encoder
from kdcore.plan.shapes import encoder_of
from kdcore.plan.space import MOMENTS, WEIGHT, parameters

COPIES = 3  # of a batch's maps while they are extracted: log-probabilities, probabilities, what is written
LIBRARIES = 500_000_000  # of Python, torch and transformers in any process, before it has read anything


@dataclass(frozen=True)
class Memory:
    """The most that a command holds at once, by what holds it."""

    command: str
    weights: int
    gradients: int = 0
    moments: int = 0
    activations: int = 0
    signals: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments + self.activations + self.signals


@dataclass(frozen=True)
class Kept:
    """Bytes that one example leaves for the backward pass.

    Of a layer and of one whose maps are compared; then, for both, of a pass's top layer, which computes [CLS] alone,
    with all that comes before and after the layers.
    """

    layer: int
    matched: int
    top: int
    top_matched: int

    def of(self, phase: Phase, layers: int, compares: bool = False) -> int:
        """Of a phase of a student with so many layers; compares: whether its method compares attention maps."""
        depth, internal = phase.depth(layers), phase.internal if compares else ()
        below = sum(layer < depth for layer in internal)
        top = self.top_matched if depth in internal else self.top
        return top + self.matched * below + self.layer * (depth - 1 - below)

    def at_most(self, phases: Collection[Phase], layers: int, compares: bool = False) -> int:
        """Of the largest phase, when the backward pass has left its top layer and makes the next one's gradients."""
        layer, top = (self.matched, self.top_matched) if compares else (self.layer, self.top)
        return max(self.of(phase, layers, compares) for phase in phases) + max(layer - top, top)


def kept(config: Any, tokens: int, compares: bool) -> Kept:
    """Measured on one example, with one layer and with two: those below the top layer are like the first of two."""
    top, both = (saved_bytes(config, tokens, layers, compares=False) for layers in (1, 2))
    layer, top_matched, matched = both - top, top, both - top
    if compares:
        top_matched, both = (saved_bytes(config, tokens, layers, compares=True) for layers in (1, 2))
        matched = both - top_matched
    return Kept(layer, matched, top, top_matched)


def saved_bytes(config: Any, tokens: int, layers: int, compares: bool) -> int:
    """What autograd saves of a forward pass and its loss over one example; weights and signals are not counted."""
    small, every = _few_words(config), tuple(range(1, layers + 1))
    encoder, signals = encoder_of(small, layers, "cpu").train(), _Drawn(small, tokens)
    objective = Objective(signals, every, dict.fromkeys(INTERNAL, 1.0))
    phase = Phase("all", 1, every if compares else ())
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _loss, _ = objective(encoder, _one(tokens), phase)  # holds what was saved, so that no address is used twice
    known = {p.untyped_storage().data_ptr() for p in encoder.parameters()} | signals.addresses
    return sum(size for address, size in saved.items() if address not in known)


def _few_words(config: Any) -> Any:
    """The config with a small vocabulary, which leaves nothing behind but the words' numbers."""
    small = copy.deepcopy(config)
    small.vocab_size, small.pad_token_id = 8, 0
    return small


def _one(tokens: int) -> Batch:
    ids = torch.ones(1, tokens, dtype=torch.int64)
    return Batch(np.arange(1), {"input_ids": ids, "attention_mask": ids}, torch.zeros(1, dtype=torch.float64))


class _Drawn:
    """Signals of the right shapes, for one example."""

    def __init__(self, config: Any, tokens: int) -> None:
        self.config, self.tokens, self.layers = config, tokens, config.num_hidden_layers
        self.addresses: set[int] = set()

    def at(self, batch: Batch, attention: Collection[int], cls: Collection[int], logits: bool = True) -> Teaching:
        heads, width = self.config.num_attention_heads, self.config.hidden_size
        maps = {layer: torch.full((1, heads, self.tokens, self.tokens), 1 / self.tokens) for layer in attention}
        vectors = {layer: torch.ones(1, width) for layer in cls}
        self.addresses = {t.untyped_storage().data_ptr() for t in (*maps.values(), *vectors.values())}
        return Teaching(maps, vectors, torch.zeros(1, self.config.num_labels))


def of_training(command: str, encoder: Encoder, activations: int, signals: int = 0) -> Memory:
    count = parameters(encoder)
    return Memory(command, WEIGHT * count, WEIGHT * count, MOMENTS * count, activations, signals)


def map_bytes(config: Any, layers: int, rows: int, tokens: int) -> int:
    """float32 maps of `layers` layers for a batch that is padded to `tokens`."""
    return layers * config.num_attention_heads * rows * tokens**2 * 4


def of_extraction(teacher: Encoder, rows: int, kept: Kept, tokens: int, stored: bool) -> Memory:
    """Of the longest batch: one layer at work, and the maps of all layers where they are stored."""
    signals = COPIES * map_bytes(teacher.config, len(teacher.layers), rows, tokens) if stored else 0
    return Memory("targets", WEIGHT * parameters(teacher), activations=rows * kept.layer, signals=signals)
