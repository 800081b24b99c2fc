"""Dropout whose masks cost little on a CPU, where drawing them one by one takes a tenth of a training step."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)

LANES = 4  # 16-bit numbers in one 64-bit draw
LEVELS = 2**16


class Dropout(nn.Dropout):
    """`nn.Dropout` with the masks of `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p) if self.training else input


def replace_dropout(model: nn.Module) -> None:
    """Put `Dropout` in the place of every `nn.Dropout`; neither has weights."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p).train(child.training))


def dropout(values: Tensor, p: float) -> Tensor:
    """Zero each value with probability p and scale the rest by 1 / (1 - p), from torch's own generator.

    On a CPU p is rounded to 1/65536 on both sides, so that the expectation is exact: each 64-bit draw decides
    four values. Elsewhere, and where p rounds to 0 or 1, it is torch's own.
    """
    if not _level(values, p):
        return F.dropout(values, p)
    kept, share = keep(values, p)
    return values * kept.mul_(1.0 / share)


def keep(values: Tensor, p: float) -> tuple[Tensor, float]:
    """1 where `dropout` would keep values of this shape and 0 elsewhere, of their dtype, and the share that is kept."""
    level = _level(values, p)
    kept = torch.empty_like(values, memory_format=torch.contiguous_format)
    if not level:
        return kept.bernoulli_(1.0 - p), 1.0 - p
    # Written as numbers at once: booleans, and a second pass that converts them, take four times as long.
    torch.ge(_lanes(values), level - LEVELS // 2, out=kept)
    return kept, 1.0 - level / LEVELS


def drawn_here(values: Tensor) -> bool:
    """Whether masks for these values are drawn by this module: on a CPU, where torch draws them number by number."""
    return values.device.type == "cpu"


def _level(values: Tensor, p: float) -> int:
    """How many of 65,536 numbers drop a value; 0 where draws are torch's own."""
    level = round(p * LEVELS)
    return level if drawn_here(values) and 0 < level < LEVELS else 0


def _lanes(values: Tensor) -> Tensor:
    """A random 16-bit number for each value, in its shape."""
    draws = torch.empty(-(-values.numel() // LANES), dtype=torch.int64).random_(-(2**63), None)
    return draws.view(torch.int16)[: values.numel()].view(values.shape)
