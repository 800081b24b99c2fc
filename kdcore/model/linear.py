"""Linear layers computed by oneDNN on a CPU, in the same float32.

torch gives products of float32 matrices to MKL, which seems not to use AVX-512 on an AMD processor: there oneDNN, which
comes with torch too and computes its convolutions, was measured twice as fast (docs/performance.md), and a tenth slower
on an Intel processor, which is left to MKL. A linear layer is a convolution with a kernel of 1 × 1 over the tokens.
"""

import platform
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)

SMALL = 2**15  # numbers in an input below which the convolution's own start costs more than it saves


class Linear(nn.Linear):
    """`nn.Linear` that computes as `linear` does."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def replace_linear(model: nn.Module) -> None:
    """Make every `nn.Linear` a `Linear`, with the weights, hooks and names that it has."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear


def linear(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., in) → (..., out), by oneDNN where values are float32, many, and on an AMD CPU; by torch's own elsewhere."""
    if not _by_onednn(values):
        return F.linear(values, weight, bias)
    tokens = values.reshape(1, 1, -1, values.shape[-1]).permute(0, 3, 1, 2)  # (1, in, 1, tokens), channels last
    mixed = F.conv2d(tokens, weight[:, :, None, None], bias)
    return mixed.permute(0, 2, 3, 1).reshape(*values.shape[:-1], len(weight))


def _by_onednn(values: Tensor) -> bool:
    return (
        _slow_products()
        and values.device.type == "cpu"
        and values.dtype == torch.float32
        and values.numel() >= SMALL
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")  # reduced precision is oneDNN's already
    )


@cache
def _slow_products() -> bool:
    """Whether torch's own products are MKL's, on a processor of another maker than MKL's."""
    return torch.backends.mkl.is_available() and "AuthenticAMD" in _maker()


def _maker() -> str:
    """A text that holds the processor's maker."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else platform.processor()
