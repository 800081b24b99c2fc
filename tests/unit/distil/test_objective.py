"""What each phase minimises: which terms, with which weights, from which layers."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from kdcore.data.batches import Batch
from kdcore.distil import losses
from kdcore.distil.schedule import Phase
from kdcore.distil.signals import Layers, Live, Teaching
from kdcore.model.encoder import Encoder
from tests.distilling import encoder, examples, gradients, objective, phases_of, whole_batch

MAP = (2, 4)
LAYER_1 = Phase("layer 1", 1, internal=(1,), classification=False, layer=1)
LAYER_2 = Phase("layer 2", 1, internal=(2,), classification=False, layer=2)
BOTH = Phase("layer 2", 1, internal=(1, 2), classification=False, layer=2)
LAST = Phase("classification", 1)
EVERYTHING = Phase("all", 1, internal=(1, 2))


def said(method: str, phase: Phase, batch: Batch | None = None, **knobs: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and terms of a two-layer student of a four-layer teacher, in eval mode."""
    what = objective(method, None if method == "none" else encoder(), MAP, **knobs)
    return what(encoder(layers=2, seed=1), batch or whole_batch(examples()), phase)


def by_hand() -> dict[str, Tensor]:
    """Every term, from the internals of student and teacher themselves."""
    batch = whole_batch(examples())
    own = encoder(layers=2, seed=1)(batch.inputs, attention=(1, 2))
    theirs = encoder()(batch.inputs, attention=MAP)
    found = {
        "soft_labels": losses.soft_labels(own.logits, theirs.logits),
        "hard_labels": losses.hard_labels(own.logits, batch.labels),
    }
    for layer, mapped in enumerate(MAP, start=1):
        maps = theirs.attention[mapped].exp() * batch.mask[:, None, :, None]
        found[f"attention_kl_{layer}"] = losses.attention_kl(own.attention[layer], maps, batch.mask)
        found[f"cls_cosine_{layer}"] = losses.cls_cosine(own.cls[layer], theirs.cls[mapped])
    return {name: values.detach() for name, values in found.items()}


def assert_is(loss: Tensor, **weights: float) -> None:
    """The loss is this weighted sum of the terms."""
    terms = by_hand()
    expected = sum((weight * terms[name] for name, weight in weights.items()), torch.zeros(len(loss)))
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-5, atol=1e-6)


def test_none_learns_from_labels_alone():
    loss, terms = said("none", LAST, hard_label_weight=0.1)
    assert list(terms) == ["hard_labels"]
    assert_is(loss, hard_labels=1.0)  # its weight is one whatever lambda is


def test_soft_adds_hard_labels_by_their_weight():
    loss, terms = said("soft", LAST, hard_label_weight=0.25)
    assert list(terms) == ["soft_labels", "hard_labels"]
    assert_is(loss, soft_labels=1.0, hard_labels=0.25)


def test_pid_has_the_losses_of_its_layer_only():
    loss, terms = said("pid", LAYER_2, weights={"kl": 2.0, "cos": 3.0})
    assert list(terms) == ["attention_kl_2", "cls_cosine_2"]
    assert_is(loss, attention_kl_2=2.0, cls_cosine_2=3.0)


def test_sid_sums_the_losses_up_to_its_layer():
    loss, _ = said("sid", BOTH)
    assert_is(loss, attention_kl_1=1, cls_cosine_1=1, attention_kl_2=1, cls_cosine_2=1)
    first, second = said("pid", LAYER_1)[0], said("pid", LAYER_2)[0]
    torch.testing.assert_close(loss, first + second)


def test_all_has_every_loss_at_once():
    loss, terms = said("all", EVERYTHING, hard_label_weight=0.5, weights={"kl": 2.0})
    assert sorted(terms) == sorted(by_hand())
    assert_is(
        loss,
        soft_labels=1,
        hard_labels=0.5,
        attention_kl_1=2,
        attention_kl_2=2,
        cls_cosine_1=1,
        cls_cosine_2=1,
    )


def test_a_layer_with_classification_has_both_losses():
    always = phases_of("pid", classification="always")[0]
    loss, _ = said("pid", always, hard_label_weight=0.5)
    assert_is(loss, soft_labels=1, hard_labels=0.5, attention_kl_1=1, cls_cosine_1=1)


def test_the_last_phase_of_sid_is_that_of_soft():
    loss, terms = said("sid", LAST, hard_label_weight=0.5)
    assert list(terms) == ["soft_labels", "hard_labels"]
    assert_is(loss, soft_labels=1, hard_labels=0.5)


def test_each_term_is_what_the_internals_of_both_give():
    _, terms = said("all", EVERYTHING)
    for name, values in by_hand().items():
        torch.testing.assert_close(terms[name], values, rtol=1e-5, atol=1e-6, msg=name)
        assert not terms[name].requires_grad


def test_the_temperature_reaches_the_soft_labels():
    _, terms = said("soft", LAST, temperature=3.0)
    batch = whole_batch(examples())
    own, theirs = encoder(layers=2, seed=1)(batch.inputs).logits, encoder()(batch.inputs).logits
    assert (terms["soft_labels"] - by_hand()["soft_labels"]).abs().min() > 1e-3
    torch.testing.assert_close(terms["soft_labels"], losses.soft_labels(own, theirs, 3.0).detach())


@pytest.mark.parametrize(
    ("method", "knobs", "weights"),
    [
        ("sid-kl", {}, {"attention_kl_1": 1.0, "attention_kl_2": 1.0}),
        ("sid-cos", {}, {"cls_cosine_1": 1.0, "cls_cosine_2": 1.0}),
        ("sid", {"weights": {"cos": 0.0}}, {"attention_kl_1": 1.0, "attention_kl_2": 1.0}),
        ("sid", {"weights": {"kl": 0.0}}, {"cls_cosine_1": 1.0, "cls_cosine_2": 1.0}),
    ],
)
def test_one_internal_loss_alone_still_measures_the_cosine(
    method: str, knobs: dict[str, Any], weights: dict[str, float]
):
    loss, terms = said(method, BOTH, **knobs)
    assert_is(loss, **weights)
    assert {"cls_cosine_1", "cls_cosine_2"} <= terms.keys()  # the threshold needs it


class Recorder(Live):
    """A live teacher that notes which layers it is asked for, and whether for logits."""

    def __init__(self, teacher: Encoder) -> None:
        super().__init__(teacher)
        self.asked: list[tuple[tuple[int, ...], tuple[int, ...], bool]] = []

    def at(self, batch: Batch, attention: Layers, cls: Layers, logits: bool = True, hidden: Layers = ()) -> Teaching:
        self.asked.append((tuple(attention), tuple(cls), logits))
        return super().at(batch, attention, cls, logits, hidden)


@pytest.mark.parametrize(
    ("method", "phase", "attention", "cls"),
    [
        ("pid", LAYER_1, (2,), (2,)),
        ("pid", LAYER_2, (4,), (4,)),
        ("sid", BOTH, (2, 4), (2, 4)),
        ("sid-cos", BOTH, (), (2, 4)),
        ("sid", LAST, (), ()),
        ("soft", LAST, (), ()),
    ],
)
def test_the_teacher_is_asked_for_the_mapped_layers_only(
    method: str, phase: Phase, attention: tuple[int, ...], cls: tuple[int, ...]
):
    signals = Recorder(encoder())
    what = replace(objective(method, encoder(), MAP), signals=signals)
    what(encoder(layers=2), whole_batch(examples()), phase)
    assert signals.asked == [(attention, cls, phase.classification)]


def test_a_regression_learns_scores():
    batch = whole_batch(examples(labels=1))
    student, teacher = encoder(layers=2, labels=1, seed=1), encoder(labels=1)
    loss, terms = objective("all", teacher, MAP, hard_label_weight=0.5)(student, batch, EVERYTHING)
    own, theirs = student(batch.inputs).logits[:, 0], teacher(batch.inputs).logits[:, 0]
    torch.testing.assert_close(terms["soft_labels"], (own - theirs).square().detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(terms["hard_labels"], (own - batch.labels.float()).square().detach())
    internal = sum(values for name, values in terms.items() if name[-1].isdigit())
    expected = terms["soft_labels"] + 0.5 * terms["hard_labels"] + internal
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-5, atol=1e-6)


def test_a_regression_without_a_teacher_learns_labels():
    batch, student = whole_batch(examples(labels=1)), encoder(layers=2, labels=1)
    loss, terms = objective("none")(student, batch, LAST)
    torch.testing.assert_close(loss, (student(batch.inputs).logits[:, 0] - batch.labels.float()).square())
    assert list(terms) == ["hard_labels"]


def test_unlabelled_rows_take_the_soft_term_only():
    batch = whole_batch(examples(unlabelled=(0, 5)))
    loss, terms = said("soft", LAST, batch, hard_label_weight=1.0)
    known = ~batch.labels.isnan()
    assert (~known).sum() == 2
    assert (terms["hard_labels"][~known] == 0).all()
    assert (terms["hard_labels"][known] > 0).all()
    torch.testing.assert_close(loss[~known].detach(), terms["soft_labels"][~known])
    assert (loss[known].detach() > terms["soft_labels"][known]).all()


def test_the_teacher_gets_no_gradient():
    student, teacher = encoder(layers=2).train(), encoder()
    loss, _ = objective("all", teacher, MAP)(student, whole_batch(examples()), EVERYTHING)
    loss.mean().backward()
    assert all(gradient is None for gradient in gradients(teacher).values())
    assert all(gradient is not None for gradient in gradients(student).values())


def test_a_weight_of_zero_sends_no_gradient():
    student = encoder(layers=2)
    loss, _ = objective("soft", encoder(), MAP, hard_label_weight=0.0)(student, whole_batch(examples()), LAST)
    loss.sum().backward()
    again = encoder(layers=2)
    batch = whole_batch(examples())
    losses.soft_labels(again(batch.inputs).logits, encoder()(batch.inputs).logits).sum().backward()
    for name, gradient in gradients(student).items():
        torch.testing.assert_close(gradient, gradients(again)[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["sid-kl", "sid-cos", "sid"])
def test_what_is_only_measured_leads_to_no_weight(method: str):
    """Several processes would wait for the gradient of a weight that leads to what is handed out and to no loss."""
    student = encoder(layers=2).train()
    loss, terms = objective(method, encoder(), MAP)(student, whole_batch(examples()), BOTH)
    loss.sum().backward()
    assert "cls_cosine_2" in terms
    # The [CLS] vector of the top layer comes from its output, its attention map does not.
    output = next(g for name, g in gradients(student).items() if "layer.1.output.dense.weight" in name)
    assert (output is None) == (method == "sid-kl")
