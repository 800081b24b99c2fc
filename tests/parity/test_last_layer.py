"""A last layer that goes on with [CLS] alone changes no loss and no gradient."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kdcore.distil.schedule import Phase
from kdcore.model.encoder import Encoder
from tests import tiny
from tests.distilling import encoder, examples, gradients, objective, phases_of, whole_batch

# Where a family's layer has its values, if by themselves.
SHORTENED = tuple(family for family in tiny.FAMILIES if family not in tiny.OWN_ATTENTION)
VALUES = dict.fromkeys(SHORTENED, "attention.self.value") | {"distilbert": "attention.v_lin"}
del VALUES["modernbert"]

families = pytest.mark.parametrize("family", SHORTENED)


def learned(family: str, method: str, phase: Phase) -> tuple[Tensor, dict[str, Any]]:
    """Losses and gradients of one step of a student that drops nothing."""
    student = encoder(family, seed=1, dropout=False).train()
    losses, _ = objective(method, encoder(family), (1, 2, 3, 4))(student, whole_batch(examples(family)), phase)
    losses.mean().backward()
    return losses.detach(), gradients(student)


@pytest.mark.parametrize("method", ["all", "pid", "sid"])
@families
def test_losses_and_gradients_are_those_of_a_pass_that_computes_every_token(
    family: str, method: str, monkeypatch: pytest.MonkeyPatch
):
    steps = phases_of(method, layers=4)
    found = [learned(family, method, phase) for phase in steps]
    monkeypatch.setattr(Encoder, "last_layer", lambda *_: None)
    for phase, (losses, moved) in zip(steps, found, strict=True):
        expected, expected_moved = learned(family, method, phase)
        torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-7)
        assert moved.keys() == expected_moved.keys()
        for name, gradient in moved.items():
            assert (gradient is None) == (expected_moved[name] is None), name
            torch.testing.assert_close(
                gradient, expected_moved[name], rtol=1e-5, atol=1e-6, msg=lambda said, name=name: f"{name}: {said}"
            )


def lasts(model: Encoder) -> list[torch.nn.Linear]:
    """Each layer's last linear layer."""
    return [[part for part in layer.modules() if isinstance(part, torch.nn.Linear)][-1] for layer in model.layers]


def tokens_seen(model: Encoder, depth: int | None, of: Callable[[Encoder], list[torch.nn.Linear]] = lasts) -> list[int]:
    """Tokens of an example that these linear layers compute."""
    seen: list[int] = []
    hooks = [part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1])) for part in of(model)]
    model(whole_batch(examples(model.config.model_type)).inputs, depth=depth)
    for hook in hooks:
        hook.remove()
    return seen


@families
def test_only_the_last_layer_of_a_pass_leaves_tokens_out(family: str):
    model = encoder(family)
    longest = int(examples(family).lengths.max())
    assert tokens_seen(model, None) == [longest] * 3 + [1]
    assert tokens_seen(model, 2) == [longest, 1]
    assert tokens_seen(model, 1) == [1]


@pytest.mark.parametrize("family", sorted(VALUES))
def test_the_last_layer_gives_values_to_what_its_row_has_mixed(family: str):
    model = encoder(family)
    longest = int(examples(family).lengths.max())

    def values(model: Encoder) -> list[torch.nn.Linear]:
        return [layer.get_submodule(VALUES[family]) for layer in model.layers]

    assert tokens_seen(model, None, values) == [longest] * 3 + [1]
    assert tokens_seen(model, 1, values) == [1]


@pytest.mark.parametrize("family", tiny.OWN_ATTENTION)
def test_an_architecture_that_attends_by_its_own_code_computes_every_token(family: str):
    model = encoder(family)
    longest = int(examples(family).lengths.max())
    assert (tokens_seen(model, None), tokens_seen(model, 2)) == ([longest] * 4, [longest] * 2)


def test_a_classifier_that_takes_the_mean_reads_every_token():
    model = encoder("modernbert")
    batch = whole_batch(examples("modernbert"))
    model.config.classifier_pooling = "mean"
    assert len(set(tokens_seen(model, None))) == 1
    assert tokens_seen(model, 2)[-1] == 1
    with torch.no_grad():
        hidden = model.model.base_model(**batch.inputs).last_hidden_state  # every token, by Hugging Face
        mask = batch.mask[..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        expected = model.output(model.model.head(mean))
        torch.testing.assert_close(model(batch.inputs).logits, expected)
