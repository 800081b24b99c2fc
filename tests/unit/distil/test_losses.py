"""The losses on numbers that are worked out by hand, and the laws that they keep."""

from math import log

import pytest
import torch
from torch import Tensor, tensor

from kdcore.distil import losses

NAN = float("nan")
HIDDEN = torch.finfo(torch.float32).min


def logits(*rows: list[float]) -> Tensor:
    """Logits whose softmax gives these probabilities."""
    return tensor(rows).log()


def test_soft_labels_by_hand():
    # p_T = [1/2, 1/2], p_S = [1/4, 3/4]: -(1/2 log 1/4 + 1/2 log 3/4) = log 4 - 1/2 log 3 = 0.83698
    # p_T = [1, 0], p_S = [1/4, 3/4]: -log 1/4 = log 4
    student, teacher = logits([1, 3], [1, 3]), tensor([[0.0, 0.0], [90.0, -90.0]])
    torch.testing.assert_close(losses.soft_labels(student, teacher), tensor([log(4) - log(3) / 2, log(4)]))


def test_soft_labels_at_temperature_two_by_hand():
    # Logits [0, 2 log 3] at temperature 2 are [0, log 3]: p = [1/4, 3/4]; the loss is multiplied by 2² = 4.
    # p_T = [1/2, 1/2]: 4 (log 4 - 1/2 log 3)
    student, teacher = tensor([[0.0, 2 * log(3)]]), tensor([[5.0, 5.0]])
    torch.testing.assert_close(losses.soft_labels(student, teacher, 2.0), tensor([4 * (log(4) - log(3) / 2)]))


def test_the_temperature_is_on_both_sides():
    # Student and teacher swapped: p_T = [1/4, 3/4], p_S = [1/2, 1/2]: 4 log 2
    student, teacher = tensor([[5.0, 5.0]]), tensor([[0.0, 2 * log(3)]])
    torch.testing.assert_close(losses.soft_labels(student, teacher, 2.0), tensor([4 * log(2)]))
    # p_T = p_S = [1/4, 3/4]: 4 (1/4 log 4 + 3/4 log 4/3)
    both = tensor([[0.0, 2 * log(3)]])
    torch.testing.assert_close(losses.soft_labels(both, both, 2.0), tensor([4 * (log(4) - 0.75 * log(3))]))


def test_soft_labels_are_least_where_the_student_says_what_the_teacher_says():
    student = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    losses.soft_labels(student, student.detach() + 5.0, 2.0).sum().backward()  # a shift is the same distribution
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.zeros(4, 3), atol=1e-6, rtol=0)


def test_soft_scores_by_hand():
    # (3 - 1)² = 4, (-1 - 1/2)² = 9/4
    found = losses.soft_scores(tensor([[3.0], [-1.0]]), tensor([[1.0], [0.5]]))
    torch.testing.assert_close(found, tensor([4.0, 2.25]))


def test_hard_labels_by_hand():
    # -log 1/4, -log 3/4
    found = losses.hard_labels(logits([1, 3], [1, 3]), tensor([0.0, 1.0]).double())
    torch.testing.assert_close(found, tensor([log(4), log(4 / 3)]))


def test_hard_labels_of_a_regression_are_squared_errors():
    found = losses.hard_labels(tensor([[2.5], [1.0]]), tensor([1.0, 1.0]).double())
    torch.testing.assert_close(found, tensor([2.25, 0.0]))


@pytest.mark.parametrize("classes", [1, 3])
def test_a_missing_label_is_no_loss_and_no_gradient(classes: int):
    student = torch.ones(2, classes, requires_grad=True)
    loss = losses.hard_labels(student, tensor([NAN, 0.0]))
    assert loss[0] == 0
    assert loss[1] > 0
    loss.sum().backward()
    assert student.grad is not None
    assert student.grad[0].tolist() == [0.0] * classes
    assert student.grad[1].abs().sum() > 0


def test_attention_kl_by_hand():
    # One head, two tokens. Row 1: KL([1/2, 1/2] || [1/4, 3/4]) = 1/2 log 2 + 1/2 log 2/3 = 0.14384;
    # row 2 is equal on both sides, so zero. The mean over two rows is half of it.
    student = tensor([[[[0.25, 0.75], [0.5, 0.5]]]]).log()
    teacher = tensor([[[[0.5, 0.5], [0.5, 0.5]]]])
    found = losses.attention_kl(student, teacher, torch.ones(1, 2))
    torch.testing.assert_close(found, tensor([(log(2) / 2 + log(2 / 3) / 2) / 2]))


def test_attention_kl_is_of_the_teacher_against_the_student():
    # KL([1, 0] || [1/4, 3/4]) = log 4; the other way round it would be infinite.
    student, teacher = tensor([[[[0.25, 0.75]] * 2]]).log(), tensor([[[[1.0, 0.0]] * 2]])
    torch.testing.assert_close(losses.attention_kl(student, teacher, torch.ones(1, 2)), tensor([log(4)]))


def test_attention_kl_is_the_mean_over_heads():
    # Head 1: log 4 in both rows. Head 2: 0. Head 3: log 2.
    student = tensor([[[[0.25, 0.75]] * 2, [[0.25, 0.75]] * 2, [[0.5, 0.5]] * 2]]).log()
    teacher = tensor([[[[1.0, 0.0]] * 2, [[0.25, 0.75]] * 2, [[0.0, 1.0]] * 2]])
    mask = torch.ones(1, 2)
    torch.testing.assert_close(losses.attention_kl_by_head(student, teacher, mask), tensor([[log(4), 0.0, log(2)]]))
    torch.testing.assert_close(losses.attention_kl(student, teacher, mask), tensor([(log(4) + log(2)) / 3]))


def test_attention_kl_ignores_padding():
    # Two real tokens and one of padding, whose row differs most: only rows 1 and 2 count, over n = 2.
    student = tensor([[[[0.25, 0.75, 0.0], [0.25, 0.75, 0.0], [0.01, 0.99, 0.0]]]]).log().clamp_min(HIDDEN)
    teacher = tensor([[[[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [1.0, 0.0, 0.0]]]])
    found = losses.attention_kl(student, teacher, tensor([[1, 1, 0]]))
    torch.testing.assert_close(found, tensor([log(4) / 2]))


def test_each_example_has_its_own_mean():
    # The same rows with n = 1 and n = 2: log 4 / 1, and (log 4 + 0) / 2.
    rows = tensor([[[0.25, 0.75], [0.5, 0.5]]]).log()
    student, teacher = torch.stack([rows, rows]), tensor([[[[1.0, 0.0], [0.5, 0.5]]]] * 2)
    found = losses.attention_kl(student, teacher, tensor([[1, 0], [1, 1]]))
    torch.testing.assert_close(found, tensor([log(4), log(4) / 2]))


def test_a_hidden_entry_leaves_loss_and_gradient_finite():
    scores = torch.zeros(1, 1, 3, 3, requires_grad=True)
    hidden = tensor([False, False, True])
    student = scores.masked_fill(hidden, HIDDEN).log_softmax(-1)
    teacher = tensor([[[[1.0, 0.0, 0.0]] * 3]])
    loss = losses.attention_kl(student, teacher, tensor([[1, 1, 0]]))
    torch.testing.assert_close(loss, tensor([log(2)]))
    loss.sum().backward()
    # Softmax minus teacher, over n = 2 rows: (1/2 - 1) / 2, (1/2 - 0) / 2, nothing at the hidden column.
    expected = tensor([[[[-0.25, 0.25, 0.0], [-0.25, 0.25, 0.0], [0.0, 0.0, 0.0]]]])
    torch.testing.assert_close(scores.grad, expected)


def test_equal_maps_have_no_kl():
    maps = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    found = losses.attention_kl(maps, maps.exp(), torch.ones(2, 5))
    torch.testing.assert_close(found, torch.zeros(2), atol=1e-6, rtol=0)


def test_attention_kl_names_both_shapes():
    with pytest.raises(ValueError, match=r"student \(1, 2, 3, 3\), teacher \(1, 4, 3, 3\)"):
        losses.attention_kl(torch.zeros(1, 2, 3, 3), torch.zeros(1, 4, 3, 3), torch.ones(1, 3))


def test_half_precision_teachers_do_not_lower_the_precision_of_the_loss():
    student = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    teacher = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(1)).softmax(-1).half()
    found = losses.attention_kl(student, teacher, torch.ones(1, 6))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, losses.attention_kl(student, teacher.float(), torch.ones(1, 6)))


def test_cls_cosine_by_hand():
    # cos([3, 4], [4, 3]) = 24/25; opposite vectors have 1 - (-1) = 2; right angles 1; a longer one is no further.
    student = tensor([[3.0, 4.0], [1.0, 2.0], [1.0, 0.0], [1.0, 2.0]])
    teacher = tensor([[4.0, 3.0], [-2.0, -4.0], [0.0, 5.0], [10.0, 20.0]])
    torch.testing.assert_close(losses.cls_cosine(student, teacher), tensor([0.04, 2.0, 1.0, 0.0]))


@pytest.mark.parametrize("rows", [1, 4])
def test_every_loss_has_one_value_per_example(rows: int):
    maps = torch.zeros(rows, 2, 3, 3).log_softmax(-1)
    found = (
        losses.soft_labels(torch.zeros(rows, 2), torch.zeros(rows, 2)),
        losses.soft_scores(torch.zeros(rows, 1), torch.zeros(rows, 1)),
        losses.hard_labels(torch.zeros(rows, 2), torch.zeros(rows)),
        losses.hard_labels(torch.zeros(rows, 1), torch.zeros(rows)),
        losses.attention_kl(maps, maps.exp(), torch.ones(rows, 3)),
        losses.cls_cosine(torch.ones(rows, 4), torch.ones(rows, 4)),
    )
    assert {values.shape for values in found} == {(rows,)}
