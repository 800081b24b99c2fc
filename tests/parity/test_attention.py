"""Attention and its KL with backward passes of their own give what torch's separate operations give."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (its usual name)

from kdcore.distil.losses import attention_kl
from kdcore.model.attention import attend
from kdcore.model.dropout import dropout as drop

B, A, T, D = 3, 2, 5, 4
LENGTHS = (5, 3, 4)
SCALING = 0.4

Inputs = tuple[Tensor, Tensor, Tensor]


def inputs() -> Inputs:
    """Queries, keys and values in float64, laid out as a Hugging Face layer lays them out."""
    torch.manual_seed(5)
    query, key, value = (torch.randn(B, T, A, D, dtype=torch.float64).transpose(1, 2) for _ in range(3))
    return query.requires_grad_(), key.requires_grad_(), value.requires_grad_()


def real() -> Tensor:
    """(B, T): one on real tokens."""
    return (torch.arange(T) < torch.tensor(LENGTHS)[:, None]).long()


def columns() -> Tensor:
    """(B, 1, T, T): what may be attended to."""
    return real().bool()[:, None, None, :].expand(B, 1, T, T)


def teacher() -> Tensor:
    """(B, A, T, T) probabilities, 0 in the columns of padding and at one entry more."""
    torch.manual_seed(6)
    maps = torch.rand(B, A, T, T, dtype=torch.float64) * columns()
    maps[0, 1, 2, 3] = 0.0
    return maps / maps.sum(-1, keepdim=True)


def apart(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, p: float
) -> tuple[Tensor, Tensor]:
    """The same by one operation of torch after the other."""
    scores = query @ key.transpose(-2, -1) * scaling
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    log_maps = F.log_softmax(scores, -1)
    maps = drop(log_maps.exp(), p) if p else log_maps.exp()
    return maps @ value, log_maps


def kl_apart(student_log: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    """Row by row over real tokens, by F.kl_div."""
    found = []
    for log_maps, theirs, n in zip(student_log, maps, mask.sum(-1).tolist(), strict=True):
        rows = F.kl_div(log_maps[:, :n, :n], theirs[:, :n, :n], reduction="none").sum(-1)
        found.append(rows.mean())
    return torch.stack(found)


def learned(way: Callable[..., tuple[Tensor, Tensor]], kl: Callable[..., Tensor], p: float) -> list[Tensor]:
    """Both results, a KL, and the gradients of a loss that all of it is in."""
    torch.manual_seed(7)
    given = inputs()
    torch.manual_seed(8)
    mixed, log_maps = way(*given, columns(), SCALING, p)
    losses = kl(log_maps, teacher(), real())
    (mixed.square().sum() + (losses * torch.arange(1, B + 1)).sum()).backward()
    return [mixed, log_maps.masked_fill(~columns(), 0.0), losses, *(one.grad for one in given if one.grad is not None)]


@pytest.mark.parametrize("p", [0.0, 0.25])
def test_results_and_gradients_are_those_of_separate_operations(p: float):
    own, expected = learned(attend, attention_kl, p), learned(apart, kl_apart, p)
    assert len(own) == len(expected) == 6
    for one, other in zip(own, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("used", ["both", "mixed", "maps"])
@pytest.mark.parametrize("masked", [True, False])
def test_gradients_are_those_of_finite_differences(used: str, masked: bool):
    mask = columns() if masked else None

    def results(*given: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(9)  # the same entries are dropped every time
        mixed, log_maps = attend(*given, mask, SCALING, 0.25)
        log_maps = log_maps if mask is None else log_maps.masked_fill(~mask, 0.0)
        return {"both": (mixed, log_maps), "mixed": (mixed,), "maps": (log_maps,)}[used]

    assert torch.autograd.gradcheck(results, inputs())


def test_the_gradient_of_the_kl_is_that_of_finite_differences():
    torch.manual_seed(10)
    student = torch.randn(B, A, T, T, dtype=torch.float64).log_softmax(-1).requires_grad_()
    assert torch.autograd.gradcheck(lambda log_maps: attention_kl(log_maps, teacher(), real()), (student,))


def test_reduced_precision_makes_its_maps_in_float32():
    given = [one.detach().bfloat16().requires_grad_() for one in inputs()]
    mixed, log_maps = attend(*given, columns(), SCALING, 0.25)
    assert (mixed.dtype, log_maps.dtype) == (torch.bfloat16, torch.float32)
    (mixed.float().sum() + attention_kl(log_maps, teacher(), real()).sum()).backward()
    assert all(one.grad is not None and one.grad.dtype == torch.bfloat16 for one in given)
    torch.testing.assert_close(log_maps.exp().sum(-1), torch.ones(B, A, T))
