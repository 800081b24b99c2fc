"""The forward pass in progress: what it was asked for, which layer is at work, and what it hands out.

transformers gives its attention function no handle on whoever runs the model, so the pass is kept in this module.
An attention map's way: `Encoder.forward` opens a pass, a hook enters the layer, `attention` in encoder.py (or a hook,
where the architecture attends by code of its own) hands the layer's map to the pass, and the pass's `Internals` are
what `forward` returns to the loss.

Shapes: B examples, T tokens of the longest, A heads, H hidden size, K classes (1 for a regression).
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Internals:
    """What one forward pass hands out, by 1-based layer.

    attention: (B, A, T, T) log-probabilities before dropout; cls: (B, H) output of the first token; hidden: (B, T, H)
    output of every token; logits: (B, K), None where the pass stopped below the classifier.
    """

    attention: dict[int, Tensor] = field(default_factory=dict)
    cls: dict[int, Tensor] = field(default_factory=dict)
    hidden: dict[int, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None


@dataclass
class Pass:
    """One forward pass.

    maps, hidden: the layers whose attention maps, and whose every token's output, are wanted; last: the layer of which
    only [CLS] is read, None where every layer's tokens are; padded: whether any token is padding, None where nobody
    knows yet; layer: the one at work; held: its values' linear layer and that layer's input (B, T, H), while
    last_layer.py holds the values back.
    """

    maps: Collection[int]
    last: int | None
    padded: bool | None = None
    hidden: Collection[int] = ()
    internals: Internals = field(default_factory=Internals)
    layer: int = 0
    held: tuple[nn.Linear, Tensor] | None = None

    @property
    def wants_map(self) -> bool:
        return self.layer in self.maps

    @property
    def reads_cls_only(self) -> bool:
        return self.layer == self.last

    def hand_out(self, log_maps: Tensor) -> None:
        """(B, A, T, T) log-probabilities of the layer at work, before dropout."""
        self.internals.attention[self.layer] = log_maps


NONE = Pass((), None)  # of a model that no `Encoder` called: no map is wanted, every token is read
_pass = NONE


def in_progress() -> Pass:
    return _pass


@contextmanager
def captured(wanted: Pass) -> Iterator[Internals]:
    """While the body runs the model, its layers fill the internals that are yielded."""
    global _pass
    _pass = wanted
    try:
        yield _pass.internals
    finally:
        _pass = NONE


def watch(layers: nn.ModuleList) -> None:
    """Hook the layers, so that a pass knows which one is at work and gets each one's [CLS] vector."""
    for index, layer in enumerate(layers, start=1):
        layer.register_forward_pre_hook(lambda *_, index=index: _enter(index))
        layer.register_forward_hook(lambda _, __, output, index=index: _leave(index, output))


def _enter(layer: int) -> None:
    if _pass is not NONE:
        _pass.layer = layer


def _leave(layer: int, output: Any) -> None:
    if _pass is not NONE:
        hidden = output[0] if isinstance(output, tuple) else output  # (B, T, H)
        _pass.internals.cls[layer] = hidden[:, 0]
        if layer in _pass.hidden:
            _pass.internals.hidden[layer] = hidden


def overhear(layers: nn.ModuleList, dropout: str) -> None:
    """Hook the layers of an architecture that attends by code of its own; dropout: names the part that gets the map."""
    for layer in layers:
        layer.get_submodule(dropout).register_forward_pre_hook(lambda _, inputs: _overheard(inputs[0]))


def _overheard(maps: Tensor) -> None:
    """maps: (B, A, T, T) probabilities; one that the softmax rounded to 0 counts as the smallest number above it."""
    if _pass.wants_map:
        maps = maps.float() if maps.itemsize < 4 else maps
        _pass.hand_out(maps.clamp_min(torch.finfo(maps.dtype).tiny).log())
