"""Attention of a training step with one backward pass of its own: its maps, dropout and what the maps mix.

Composed of torch's operations, the backward pass goes over the maps some ten times, each time into new memory; here it
is four. Shapes: B examples, A heads, T tokens, D = H/A.
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
    found = query @ key.transpose(-2, -1)
    if mask is None:
        return found
    smallest = torch.finfo(found.dtype).min
    return found.add_(torch.zeros(mask.shape, dtype=found.dtype, device=mask.device).masked_fill_(~mask, smallest))


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
        found = scores(query, key, mask)
        found = found.float() if found.itemsize < 4 else found
        log_maps = found.log_softmax(-1)
        maps = found.softmax(-1)  # torch's exp is slow where a probability is 0
        mixing, ctx.kept, ctx.scaling = maps, 1.0 - dropout, scaling
        if dropout:
            kept, ctx.kept = keep(maps, dropout)
            mixing = kept.mul_(maps)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(query, key, value, maps, mixing)
        return (mixing.to(value.dtype) @ value).div_(ctx.kept), log_maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, mixed: Tensor | None, log_maps: Tensor | None) -> tuple[Tensor | None, ...]:
        query, key, value, maps, mixing = ctx.saved_tensors
        values, moved = None, log_maps  # the latter of each probability's logarithm
        if mixed is not None:
            mixed = _times(mixed, 1.0 / ctx.kept)
            values = mixing.to(value.dtype).transpose(-2, -1) @ mixed
            through = (mixed @ value.transpose(-2, -1)).to(maps.dtype)
            # Of a dropped one it is 0.
            moved = through.mul_(mixing) if log_maps is None else torch.addcmul(log_maps, through, mixing)
        if moved is None:  # neither result led to the loss
            return (None,) * 6
        moved = torch.addcmul(moved, maps, moved.sum(-1, keepdim=True), value=-1).to(query.dtype)
        return (moved @ key).mul_(ctx.scaling), moved.transpose(-2, -1) @ query, values, None, None, None
