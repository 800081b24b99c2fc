"""A phase that runs layers 1…ℓ only has the loss and the gradients of one that runs the whole model."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcore.distil.schedule import Phase
from kdcore.model.capture import Internals
from kdcore.model.encoder import Encoder
from tests import tiny
from tests.distilling import encoder, examples, gradients, objective, phases_of, whole_batch

families = pytest.mark.parametrize("family", tiny.FAMILIES)


class Whole(nn.Module):
    """An encoder that always runs all layers and the classifier."""

    def __init__(self, inner: Encoder) -> None:
        super().__init__()
        self.inner = inner

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        depth: int | None = None,
        attention: Collection[int] = (),
        padded: bool | None = None,
        hidden: Collection[int] = (),
    ) -> Internals:
        return self.inner(inputs, attention=attention, padded=padded, hidden=hidden)


def learned(family: str, phase: Phase, method: str, whole: bool) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
    """Losses, terms and gradients of one step of a student that drops nothing: its last layer draws fewer masks."""
    # Four layers of a ModernBERT alternate, so student and teacher are of one depth.
    student, teacher = encoder(family, seed=1, dropout=False).train(), encoder(family)
    what = objective(method, teacher, layer_map=(1, 2, 3, 4))
    losses, terms = what(Whole(student) if whole else student, whole_batch(examples(family)), phase)
    losses.mean().backward()
    return losses.detach(), terms, gradients(student)


@pytest.mark.parametrize("method", ["pid", "sid"])
@families
def test_each_phase_equals_the_whole_forward_pass(family: str, method: str):
    for phase in phases_of(method, layers=4):
        short, terms, moved = learned(family, phase, method, whole=False)
        expected, expected_terms, expected_moved = learned(family, phase, method, whole=True)
        torch.testing.assert_close(short, expected, rtol=1e-6, atol=1e-7)
        assert terms.keys() == expected_terms.keys()
        assert moved.keys() == expected_moved.keys()
        for name, gradient in moved.items():
            assert (gradient is None) == (expected_moved[name] is None), name
            torch.testing.assert_close(gradient, expected_moved[name], rtol=1e-5, atol=1e-7, msg=name)


@families
def test_a_phase_moves_its_layers_and_none_above(family: str):
    for phase in phases_of("sid", layers=4)[:-1]:
        *_, moved = learned(family, phase, "sid", whole=False)
        assert phase.layer is not None
        layers = {name: int(found[1]) + 1 for name in moved if (found := re.search(r"\.layers?\.(\d+)\.", name))}
        assert set(layers.values()) == {1, 2, 3, 4}
        assert any(moved[name] is not None for name in layers if layers[name] == phase.layer)
        assert all(moved[name] is None for name in layers if layers[name] > phase.layer)


@pytest.mark.parametrize("depth", [1, 2, 3])
@families
def test_no_layer_above_the_depth_runs(family: str, depth: int):
    model, ran = encoder(family), []
    for index, layer in enumerate(model.layers, start=1):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    model.output.register_forward_hook(lambda *_: ran.append(0))
    found = model(whole_batch(examples(family)).inputs, depth=depth)
    assert ran == list(range(1, depth + 1))
    assert found.logits is None
    assert sorted(found.cls) == ran


@families
def test_the_model_is_whole_again_after_a_short_pass(family: str):
    model, inputs = encoder(family), whole_batch(examples(family)).inputs
    names = [name for name, _ in model.named_parameters()]
    expected = model(inputs).logits
    model(inputs, depth=2)
    with pytest.raises(KeyError):
        model({"input_ids": inputs["input_ids"], "attention_mask": Broken()}, depth=1)
    assert [name for name, _ in model.named_parameters()] == names
    assert torch.equal(model(inputs).logits, expected)


class Broken:
    """An input that fails when it is first looked at."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)
