"""The losses of the paper as slow loops over Python's own floats (64 bits), one example at a time. No torch."""

from collections.abc import Sequence
from math import exp, log, sqrt

Row = Sequence[float]
Map = Sequence[Row]


def softmax(logits: Row, temperature: float = 1.0) -> list[float]:
    total = sum(exp(z / temperature) for z in logits)
    return [exp(z / temperature) / total for z in logits]


def soft_labels(student: Row, teacher: Row, temperature: float = 1.0) -> float:
    """-Σ_k p_T(k) log p_S(k), both at the temperature, times its square (eq. 1)."""
    own, wanted = softmax(student, temperature), softmax(teacher, temperature)
    loss = 0.0
    for p, q in zip(wanted, own, strict=True):
        loss -= p * log(q)
    return loss * temperature**2


def hard_labels(student: Row, label: int) -> float:
    return -log(softmax(student)[label])


def attention_kl(student: Sequence[Map], teacher: Sequence[Map], tokens: int) -> list[float]:
    """One example: 1/n Σ_i Σ_j A^T_ij log(A^T_ij / A^S_ij) of each head, over its n real tokens (eq. 2).

    student, teacher: probabilities, heads x rows x columns, which may reach beyond the real tokens.
    """
    losses = []
    for own, wanted in zip(student, teacher, strict=True):
        total = 0.0
        for i in range(tokens):
            for j in range(tokens):
                if wanted[i][j] > 0:
                    total += wanted[i][j] * log(wanted[i][j] / own[i][j])
        losses.append(total / tokens)
    return losses


def cls_cosine(student: Row, teacher: Row) -> float:
    """1 - cos(h^T, h^S) (eq. 3)."""
    product = sum(a * b for a, b in zip(student, teacher, strict=True))
    return 1 - product / sqrt(sum(a * a for a in student)) / sqrt(sum(b * b for b in teacher))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
