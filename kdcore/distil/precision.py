"""Mixed precision: the type that a setting multiplies in, and whether this processor gains by it."""

import time

import torch

from kdcore.console import warn
from kdcore.model.linear import linear

AUTOCAST = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
TOKENS, WIDTH, WIDER = 416, 384, 1536  # of a batch of short texts, and of a small model's feed-forward layer
MARGIN = 1.2  # below it what is measured is chance
ROUNDS = 5  # of which the fastest counts: other work only ever takes time


def warn_if_slower(precision: str) -> None:
    """Warn where this CPU takes longer for a linear layer in `train.precision` than in float32; measured in some 50 ms.

    What a processor lists does not tell: with AVX-512 BF16 alone, without AMX, AMD's gain and Intel's lose.
    """
    if (dtype := AUTOCAST[precision]) is None:
        return
    times = _seconds(dtype) / _seconds(torch.float32)
    if times > MARGIN:
        slower = f"takes {times:.1f} times as long as float32 for a linear layer on this processor"
        warn(f'train.precision: {precision} {slower}; "no" is faster here')


@torch.inference_mode()
def _seconds(dtype: torch.dtype) -> float:
    values, weight = torch.ones(TOKENS, WIDTH, dtype=dtype), torch.ones(WIDER, WIDTH, dtype=dtype)
    took = []
    for _ in range(1 + ROUNDS):  # the first one also makes ready
        started = time.perf_counter()
        linear(values, weight)
        took.append(time.perf_counter() - started)
    return min(took)
