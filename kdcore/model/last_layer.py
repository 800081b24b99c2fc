"""A shortcut: the last layer of a pass computes [CLS] alone.

Nobody reads the last layer's other tokens: the classifier and the cosine loss take [CLS], and only the attention loss
asks for the whole map, which needs queries and keys but no values. A training step of a six-layer BERT-base takes a
fifth less time for it (docs/performance.md), and losses and gradients stay the same (tests/parity/test_last_layer.py).

The layer itself is transformers' own and expects all tokens, so its parts are hooked and given tensors of the shapes
that they expect: the first token's values in the place of all tokens', and attention results that are 0 but for the
first token. What stands in like that leads to no output and so to no gradient.

Shapes: B examples, T tokens of the longest, A heads, H hidden size, D = H/A.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)

from kdcore.model.attention import scores
from kdcore.model.capture import Pass, in_progress
from kdcore.model.dropout import dropout as cheap_dropout
from kdcore.model.families import Family


def shorten(layers: nn.ModuleList, family: Family) -> None:
    """Hook every layer, so that it takes the shortcut in the passes whose last layer it is."""
    for layer in layers:
        layer.get_submodule(family.after_attention).register_forward_pre_hook(_first_token)
        if family.values:
            values = layer.get_submodule(family.attention).get_submodule(family.values)
            values.register_forward_pre_hook(_hold_back)
            values.register_forward_hook(_stand_in)


def _hold_back(values: nn.Linear, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Compute the values of the first token only; `attend_first` works from the layer's input instead."""
    running = in_progress()
    if not running.reads_cls_only:
        return None
    running.held = values, inputs[0]
    return (inputs[0][:, :1],)


def _stand_in(_: nn.Linear, __: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    """Values of the shape that the layer asks for, (B, 1, H) → (B, T, H)."""
    running = in_progress()
    return None if running.held is None else output.expand(-1, running.held[1].shape[1], -1)


def attend_first(
    running: Pass, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float
) -> Tensor:
    """(B, T, A, D) attention result: the first token's, and 0 for the others.

    query, key, value: (B, A, T, D). The whole map is made only where it is wanted.
    """
    tokens = query.shape[2]
    if not running.wants_map:
        query, mask = query[:, :, :1], None if mask is None else mask[..., :1, :]
    products = scores(query * scaling, key, mask)
    log_maps = F.log_softmax(products.float() if products.itemsize < 4 else products, dim=-1)
    if running.wants_map:
        running.hand_out(log_maps)
    row = log_maps[:, :, :1].exp().to(value.dtype)  # (B, A, 1, T)
    if dropout:
        row = cheap_dropout(row, dropout)
    result = (row @ value).transpose(1, 2) if running.held is None else _mix_then_value(row, *running.held)
    return F.pad(result, (0, 0, 0, 0, 0, tokens - 1))


def _mix_then_value(row: Tensor, values: nn.Linear, inputs: Tensor) -> Tensor:
    """(B, A, 1, T) the first token's attention, (B, T, H) the layer's input → (B, 1, A, D) the first token's result.

    Σ_j p_j (W x_j + b) = W (Σ_j p_j x_j) + b Σ_j p_j: mixing the inputs first, W meets one vector per head, not T.
    """
    rows, heads = row[:, :, 0], row.shape[1]
    result = torch.einsum("bah,adh->bad", rows @ inputs, values.weight.unflatten(0, (heads, -1)))
    if values.bias is not None:  # after dropout the row's sum is not 1
        result = result + rows.sum(-1, keepdim=True) * values.bias.unflatten(0, (heads, -1))
    return result[:, None]


def _first_token(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """After the attention go on with the first token: (B, T, H) → (B, 1, H), also for the residual."""
    return tuple(value[:, :1] for value in inputs) if in_progress().reads_cls_only else None
