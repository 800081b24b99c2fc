"""A training step's attention with a backward pass of its own.

Composed of torch's operations, the backward pass goes over the maps some ten times, each time into new memory; here it
goes four times. Shapes: B examples, A heads, T tokens, H hidden size, D = H/A.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdcore.model.dropout import keep


def scores(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """(B, A, queries, T) products of scaled queries with keys.

    A masked entry is about the smallest finite number, not -inf: its probability is 0, and 0 · log 0 stays 0.
    """
    products = query @ key.transpose(-2, -1)
    if mask is None:
        return products
    smallest = torch.finfo(products.dtype).min
    return products.add_(
        torch.zeros(mask.shape, dtype=products.dtype, device=mask.device).masked_fill_(~mask, smallest)
    )


def _times(values: Tensor, factor: float) -> Tensor:
    """values · factor, contiguous: one pass where a product and a copy are two."""
    return torch.mul(values, factor, out=torch.empty_like(values, memory_format=torch.contiguous_format))


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float
) -> tuple[Tensor, Tensor]:
    """(B, A, T, D) what the maps mix after dropout, and (B, A, T, T) their log-probabilities before it.

    query, key, value: (B, A, T, D); mask: boolean, broadcastable to (B, A, T, T). Gradients flow through both results;
    maps are of float32 at least.
    """
    return _Attention.apply(query, key, value, mask, scaling, dropout)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float
    ) -> tuple[Tensor, Tensor]:
        query, key, value = _times(query, scaling), key.contiguous(), value.contiguous()
        products = scores(query, key, mask)
        products = products.float() if products.itemsize < 4 else products
        log_maps = products.log_softmax(-1)
        maps = products.softmax(-1)  # faster than log_maps.exp(): torch's exp is slow where a probability is 0
        dropped, ctx.share, ctx.scaling = maps, 1.0 - dropout, scaling  # share: how many entries are kept
        if dropout:
            kept, ctx.share = keep(maps, dropout)
            dropped = kept.mul_(maps)
        ctx.set_materialize_grads(False)  # a result that leads to no loss has None for a gradient, not zeros
        ctx.save_for_backward(query, key, value, maps, dropped)
        return (dropped.to(value.dtype) @ value).div_(ctx.share), log_maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_mixed: Tensor | None, d_log_maps: Tensor | None) -> tuple[Tensor | None, ...]:
        """d_x: the loss's gradient with respect to x; None where x led to no loss."""
        query, key, value, maps, dropped = ctx.saved_tensors
        d_value, d_log = None, d_log_maps
        if d_mixed is not None:
            d_mixed = _times(d_mixed, 1.0 / ctx.share)
            d_value = dropped.to(value.dtype).transpose(-2, -1) @ d_mixed
            d_dropped = (d_mixed @ value.transpose(-2, -1)).to(maps.dtype)
            # d p / d log p = p, and 0 where p was dropped: both are what `dropped` holds.
            d_log = d_dropped.mul_(dropped) if d_log_maps is None else torch.addcmul(d_log_maps, d_dropped, dropped)
        if d_log is None:
            return (None,) * 6
        # Through log-softmax to its scores: d_s = d_log − p · Σ d_log.
        d_scores = torch.addcmul(d_log, maps, d_log.sum(-1, keepdim=True), value=-1).to(query.dtype)
        return (d_scores @ key).mul_(ctx.scaling), d_scores.transpose(-2, -1) @ query, d_value, None, None, None
