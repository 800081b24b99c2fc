"""Every loss gives, example by example, what a slow loop over 64-bit Python floats gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdcore.distil import losses
from tests.parity import slow

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=20, deadline=None)


def random(seed: int, *shape: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(seed: int, lengths: list[int], heads: int, tokens: int) -> Tensor:
    """(B, A, T, T) log-probabilities, as attention gives them: every row sums to 1 over its real columns."""
    columns = torch.arange(tokens) < torch.tensor(lengths)[:, None]  # (B, T)
    scores = random(seed, len(lengths), heads, tokens, tokens)
    return scores.masked_fill(~columns[:, None, None], torch.finfo(torch.float64).min).log_softmax(-1)


@few
@given(seeds, st.integers(2, 5), st.sampled_from([0.5, 1.0, 2.0, 7.0]))
def test_soft_labels(seed: int, classes: int, temperature: float):
    student, teacher = random(seed, 6, classes), random(seed + 1, 6, classes)
    expected = [slow.soft_labels(s, t, temperature) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    found = losses.soft_labels(student, teacher, temperature)
    torch.testing.assert_close(found.double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-5)


@few
@given(seeds, st.sampled_from([0.5, 1.0, 4.0]))
def test_the_gradient_of_soft_labels_is_temperature_times_the_difference(seed: int, temperature: float):
    student, teacher = random(seed, 5, 3).requires_grad_(), random(seed + 1, 5, 3)
    losses.soft_labels(student, teacher, temperature).sum().backward()
    expected = [
        [temperature * (p - q) for p, q in zip(slow.softmax(s, temperature), slow.softmax(t, temperature), strict=True)]
        for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    torch.testing.assert_close(student.grad, torch.tensor(expected).double(), rtol=1e-4, atol=1e-5)


@few
@given(seeds)
def test_hard_labels(seed: int):
    student, labels = random(seed, 8, 3), torch.tensor([0.0, 1.0, 2.0, float("nan")] * 2)
    known = zip(student.tolist(), labels.tolist(), strict=True)
    expected = [0.0 if label != label else slow.hard_labels(row, int(label)) for row, label in known]
    found = losses.hard_labels(student, labels)
    torch.testing.assert_close(found.double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-5)


@few
@given(seeds)
def test_scores(seed: int):
    student, teacher, labels = random(seed, 7, 1), random(seed + 1, 7, 1), random(seed + 2, 7)
    squares = [(s[0] - t[0]) ** 2 for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    hard = [(s[0] - y) ** 2 for s, y in zip(student.tolist(), labels.tolist(), strict=True)]
    found = losses.soft_scores(student, teacher), losses.hard_labels(student, labels)
    for values, expected in zip(found, (squares, hard), strict=True):
        torch.testing.assert_close(values.double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-5)


@few
@given(seeds, st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(0, 3))
def test_attention_kl(seed: int, lengths: list[int], further: int):
    heads, tokens = 3, max(lengths) + further
    student, teacher = maps(seed, lengths, heads, tokens), maps(seed + 1, lengths, heads, tokens).exp()
    mask = (torch.arange(tokens) < torch.tensor(lengths)[:, None]).long()
    pairs = zip(student.exp().tolist(), teacher.tolist(), lengths, strict=True)
    expected = torch.tensor([slow.attention_kl(*pair) for pair in pairs]).double()  # (B, A)
    found = losses.attention_kl_by_head(student, teacher, mask)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(losses.attention_kl(student, teacher, mask), expected.mean(1), rtol=1e-6, atol=1e-7)


@few
@given(seeds)
def test_attention_kl_where_the_teacher_sees_a_window_only(seed: int):
    tokens, window = 6, 2
    seen = (torch.arange(tokens)[:, None] - torch.arange(tokens)).abs() <= window
    hidden = torch.finfo(torch.float64).min
    student = random(seed, 2, 2, tokens, tokens).masked_fill(~seen, hidden).log_softmax(-1)
    teacher = random(seed + 1, 2, 2, tokens, tokens).masked_fill(~seen, hidden).softmax(-1)
    assert (teacher == 0).any()
    expected = [slow.attention_kl(s, t, tokens) for s, t in zip(student.exp().tolist(), teacher.tolist(), strict=True)]
    found = losses.attention_kl_by_head(student, teacher, torch.ones(2, tokens))
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-6, atol=1e-7)


@few
@given(seeds, st.integers(1, 40))
def test_cls_cosine(seed: int, hidden: int):
    student, teacher = random(seed, 5, hidden), random(seed + 1, 5, hidden)
    expected = [slow.cls_cosine(s, t) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    found = losses.cls_cosine(student, teacher)
    torch.testing.assert_close(found.double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("student_zero", [False, True])
def test_the_gradient_of_attention_kl_is_that_of_finite_differences(student_zero: bool):
    lengths, heads, tokens = [4, 2], 2, 5
    teacher = maps(1, lengths, heads, tokens).exp()
    mask = (torch.arange(tokens) < torch.tensor(lengths)[:, None]).long()
    hidden = (mask == 0)[:, None, None]
    scores = random(2, 2, heads, tokens, tokens, scale=0.0 if student_zero else 1.0).requires_grad_()

    def loss(scores: Tensor) -> Tensor:
        logs = scores.masked_fill(hidden, torch.finfo(torch.float64).min).log_softmax(-1)
        return losses.attention_kl(logs, teacher, mask)

    assert torch.autograd.gradcheck(loss, (scores,))
