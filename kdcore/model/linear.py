"""Linear layers computed by oneDNN on AMD processors with AVX-512, in the same float32.

torch gives products of float32 matrices to MKL, which seems not to use AVX-512 on a processor that is not Intel's.
oneDNN, with which torch computes its convolutions, does: it was measured twice as fast there (docs/performance.md). On
Intel processors it is a tenth slower than MKL, and on AMD's without AVX-512 6 to 20 % slower; both are left to MKL.
A linear layer is a convolution over the tokens with a kernel of 1 × 1.
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
    """(..., in) → (..., out), by oneDNN where `by_onednn` and values are float32 and many; by torch's own elsewhere."""
    if not _worth_it(values):
        return F.linear(values, weight, bias)
    tokens = values.reshape(1, 1, -1, values.shape[-1]).permute(0, 3, 1, 2)  # (1, in, 1, tokens), channels last
    # A kernel of 1 × 1 has nothing to dilate. But on one thread torch takes oneDNN for such a kernel only where it is
    # dilated, and else a product of MKL's behind a copy.
    mixed = F.conv2d(tokens, weight[:, :, None, None], bias, dilation=2)
    return mixed.permute(0, 2, 3, 1).reshape(*values.shape[:-1], len(weight))


def _worth_it(values: Tensor) -> bool:
    return (
        by_onednn()
        and values.device.type == "cpu"
        and values.dtype == torch.float32
        and values.numel() >= SMALL
        and not torch.is_autocast_enabled("cpu")  # reduced precision is oneDNN's already
    )


@cache
def by_onednn() -> bool:
    """Whether large products are oneDNN's on this machine, which decides their last bits."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "AuthenticAMD" in _maker()
    )


def _maker() -> str:
    """A text that holds the processor's maker."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else platform.processor()
