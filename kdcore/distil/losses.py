"""The losses, each one value per example (B,): a batch's loss is their mean, however the batch is cut.

FUNCTIONS, at the end, has the internal ones by their names in methods.py.

Shapes: B examples, A heads, T tokens of the longest example, H hidden size, K classes.
A teacher's signals come in the precision that they are stored in, float16 say: each loss converts them to float32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812  (its usual name)


def soft_labels(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of the student to the teacher's distribution (paper, eq. 1): -Σ_k p_T log p_S, per example.

    student, teacher: (B, K) logits. Both sides are divided by the temperature; the loss is multiplied by its
    square, so that gradients keep their scale (Hinton et al., 2015).
    """
    target = F.softmax(teacher.float() / temperature, dim=-1)
    return -(target * F.log_softmax(student.float() / temperature, dim=-1)).sum(-1) * temperature**2


def soft_scores(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error to the teacher's score, per example: the soft loss of a regression task. Both (B, 1)."""
    return (student.float() - teacher.float()).squeeze(-1).square()


def hard_labels(student: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (K > 1) or squared error (K = 1) to the labels, per example; 0 where the label is missing.

    student: (B, K) logits; labels: (B,) floats that hold class ids or scores, NaN where there is none.
    """
    labelled = ~labels.isnan()
    known = labels.nan_to_num(0.0)
    if student.shape[-1] == 1:
        loss = (student.float().squeeze(-1) - known.float()).square()
    else:
        loss = F.cross_entropy(student.float(), known.long(), reduction="none")
    return torch.where(labelled, loss, 0.0)


def attention_kl(student_log: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student) of one layer's attention rows, averaged over heads and real tokens (paper, eq. 2).

    Arguments as for `attention_kl_by_head`; returns one value per example (B,).
    """
    return attention_kl_by_head(student_log, teacher, mask).mean(-1)


def attention_kl_by_head(student_log: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student) of one layer's attention rows, averaged over real tokens: (B, A).

    student_log: (B, A, T, T) log-probabilities before dropout; teacher: (B, A, T, T) probabilities, 0 in the
    columns of padding; mask: (B, T), one on real tokens. Padding counts neither as a row nor as a column, and a
    teacher entry of 0 contributes 0.

    Raises ValueError where the shapes differ (another number of heads, another padding).
    """
    if student_log.shape != teacher.shape:
        raise ValueError(
            f"attention maps differ in shape: student {tuple(student_log.shape)}, teacher {tuple(teacher.shape)}"
        )
    return _AttentionKL.apply(student_log, teacher.to(student_log.dtype), mask)


class _AttentionKL(torch.autograd.Function):
    """The gradient of a student's log-probability is minus the teacher's probability, so only that is kept."""

    @staticmethod
    def forward(ctx: Any, student_log: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        # A probability of 0 times a logarithm that is finite is 0; xlogy, which sees to that too, takes twice as long.
        logs = teacher.clamp_min(torch.finfo(teacher.dtype).tiny).log_()
        rows = logs.sub_(student_log).mul_(teacher).sum(-1)  # (B, A, T)
        real = mask.to(rows.dtype)[:, None]
        weights = real / real.sum(-1, keepdim=True)
        ctx.save_for_backward(teacher, weights)
        return (rows * weights).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_head: Tensor) -> tuple[Tensor, None, None]:
        teacher, weights = ctx.saved_tensors
        return teacher * (-by_head[..., None] * weights)[..., None], None, None


def cls_cosine(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - cos of the [CLS] vectors at the output of one layer, per example (paper, eq. 3). Both (B, H).

    mask: not looked at, as [CLS] is never padding.
    """
    return 1.0 - F.cosine_similarity(student.float(), teacher.float(), dim=-1)


# (student's, teacher's, mask) of a layer and the one that it matches -> (B,)
FUNCTIONS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"kl": attention_kl, "cos": cls_cosine}
# The same in more detail, (B, A), where a mean over heads says too little.
BY_HEAD: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"kl": attention_kl_by_head}
