"""How many operations a training step gives its device to do, and how often it waits for an answer.

A small model's step on a GPU takes as long as its operations take to be launched. Their number depends neither on the
width of a model nor on the device, so a CPU that is told to go the ways of a GPU counts them.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional as F  # noqa: N812  (its usual name)
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from kdcore.distil import ahead, readings
from kdcore.distil.training import Trainer

FREE = (  # nothing to compute
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh"),
    *("_record_function_enter_new", "_record_function_exit"),
)
# A device must have computed what these ask for. Those of the first line are torch's operations, the others a tensor's
# methods, which copy it to the processor.
ASKS = ("_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive")
COPIES = ("tolist", "cpu", "numpy", "__array__")


@dataclass
class Count:
    """Of one step: its operations, views left out, and its waits, by name."""

    operations: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)


class _Operations(TorchDispatchMode):
    def __init__(self, counts: list[Count]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ASKS or (name.startswith("index") and _by_mask(args)):
            self.counts[-1].waits[name] += 1
        elif not func.is_view and name not in FREE:
            self.counts[-1].operations[name] += 1
        return func(*args, **(kwargs or {}))


def _by_mask(args: Any) -> bool:
    """Whether tensors are picked by booleans, whose number decides the result's shape."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(index is not None and index.dtype == torch.bool for index in indices)


class _Copies(TorchFunctionMode):
    def __init__(self, counts: list[Count]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in COPIES:
            self.counts[-1].waits[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counting() -> Iterator[list[Count]]:
    """A count of every step that is taken, from the end of the one before it; the last one is of what comes after."""
    counts = [Count()]
    hook = register_optimizer_step_post_hook(lambda *_: counts.append(Count()))
    try:
        with _Copies(counts), _Operations(counts):
            yield counts
    finally:
        hook.remove()


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """torch's own dropout, fused attention and products, as on a GPU.

    A CPU's fused attention has no dropout, which a GPU's draws within the same operation: it is left out.
    """
    fused = F.scaled_dot_product_attention
    with (
        patch.object(F, fused.__name__, lambda *args, dropout_p, **kwargs: fused(*args, **kwargs)),
        patch("kdcore.model.dropout.drawn_here", lambda _: False),
        patch("kdcore.model.encoder.drawn_here", lambda _: False),
        patch("kdcore.model.linear.by_onednn", lambda: False),
    ):
        yield


def like_a_gpu(loop: Trainer) -> None:
    """Read late, and fed by a thread."""
    loop.readings.many, loop.ahead = readings.MANY, ahead.DEPTH


def counted(loop: Trainer) -> list[Count]:
    """A count of every step of a whole run that goes the ways of a GPU."""
    like_a_gpu(loop)
    with as_on_a_gpu(), counting() as counts:
        loop.train()
    return counts[:-1]
