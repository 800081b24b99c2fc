"""The cheap masks drop what they say, keep the expectation exactly, and come from torch's own generator."""

import pytest
import torch
from torch import nn

from kdcore.model.dropout import Dropout, dropout, keep, replace_dropout
from tests import tiny
from tests.distilling import encoder


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_rest_is_scaled(p: float):
    torch.manual_seed(0)
    dropped = dropout(torch.ones(1_000_000), p)
    exact = round(p * 65536) / 65536
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - exact)], rel=1e-6)
    # Four standard deviations of a binomial share over a million draws.
    assert (dropped == 0).double().mean().item() == pytest.approx(exact, abs=4 * (p * (1 - p) / 1e6) ** 0.5)


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(1_000_000), 0.5) != 0).double()
    for distance in (1, 2, 3, 4, 5, 8):  # four values share one draw
        both = (kept[:-distance] * kept[distance:]).mean().item()
        assert both == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 1e6) ** 0.5), distance


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5), (4, 3, 7)])
def test_any_shape_keeps_its_shape(shape: tuple[int, ...]):
    torch.manual_seed(0)
    values = torch.full(shape, 2.0)
    dropped = dropout(values, 0.5)
    assert dropped.shape == values.shape
    assert ((dropped == 0) | (dropped == 4)).all()


def test_the_gradient_is_the_mask():
    values = torch.randn(100, dtype=torch.float64, requires_grad=True)
    dropped = dropout(values, 0.5)
    dropped.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(dropped.detach(), values.detach() * values.grad)
    assert set(values.grad.unique().tolist()) == {0.0, 2.0}


def test_the_same_state_of_the_generator_gives_the_same_mask():
    torch.manual_seed(3)
    state, first = torch.get_rng_state(), dropout(torch.ones(1000), 0.1)
    second = dropout(torch.ones(1000), 0.1)
    torch.set_rng_state(state)
    assert torch.equal(first, dropout(torch.ones(1000), 0.1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.1, 0.5, 1e-7])  # the last is torch's own draw, as it rounds to 0
def test_what_is_kept_is_that_of_dropout(p: float):
    values = torch.ones(10_000)
    torch.manual_seed(4)
    expected = dropout(values, p)
    torch.manual_seed(4)
    kept, share = keep(values, p)
    torch.testing.assert_close(values * kept / share, expected)


@pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_nothing_and_everything_can_be_dropped(p: float, expected: float):
    assert dropout(torch.ones(10), p).tolist() == [expected] * 10


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_dropout_of_a_model_is_replaced_and_still_none_where_it_does_not_train(family: str):
    model = tiny.model(family)
    before = [(name, part.p) for name, part in model.named_modules() if isinstance(part, nn.Dropout)]
    replace_dropout(model)
    assert [(name, part.p) for name, part in model.named_modules() if isinstance(part, Dropout)] == before
    assert not any(type(part) is nn.Dropout for part in model.modules())
    ones = torch.ones(4, 4)
    assert all(torch.equal(part.eval()(ones), ones) for part in model.modules() if isinstance(part, Dropout))


def test_attention_that_is_not_captured_drops_too():
    student = encoder(layers=1)
    inputs = {"input_ids": torch.arange(5, 15)[None], "attention_mask": torch.ones(1, 10, dtype=torch.int64)}
    for part in student.modules():
        if isinstance(part, Dropout) and part is not student.layers[0].attention.self.dropout:
            part.p = 0.0
    student.train()
    torch.manual_seed(0)
    first, second = student(inputs).logits, student(inputs).logits
    assert not torch.equal(first, second)
