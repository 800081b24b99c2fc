"""What makes a step cheap changes no gradient: stored signals, batches by length, maps on request, cheap masks.

Short passes have a page of their own (`test_truncation.py`), and the optimizer is part of `test_whole_run.py`.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcore.data.batches import Batch, collate
from kdcore.data.examples import Examples
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase
from kdcore.distil.signals import Live, Signals
from kdcore.model.encoder import Encoder
from tests import tiny
from tests.distilling import encoder, examples, gradients, padded, stored, whole_batch, without_dropout
from tests.parity import plain
from tests.parity.plain import Knobs, Stretch

ROWS = 8
MAP = (1, 2, 3, 4)
WEIGHTS: dict[str, Any] = {"temperature": 2.0, "hard_label_weight": 0.3, "weights": {"kl": 0.7, "cos": 1.6}}
# Without layer 4: ModernBERT's last one is shown by Hugging Face after the encoder's final norm only.
INTERNAL, SOFT = Phase("layers", 1, internal=(1, 2, 3)), Phase("classification", 1)
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
Gradients = dict[str, Tensor]
families = pytest.mark.parametrize("family", tiny.FAMILIES)


def found(family: str) -> Examples:
    return examples(family, ROWS, pairs=True, unlabelled=(3,))


def learned(student: Encoder, signals: Signals, batch: Batch, phase: Phase = INTERNAL) -> Gradients:
    """The gradient of the batch's mean loss, by parameter."""
    what = Objective(signals, MAP, **WEIGHTS)
    student.zero_grad()
    loss, _ = what(student.train(), batch, phase)
    loss.mean().backward()
    return {name: moved for name, moved in gradients(student.model).items() if moved is not None}


def calm(family: str) -> Encoder:
    """A student without dropout."""
    return encoder(family, seed=1, dropout=False)


def assert_same(one: Gradients, other: Gradients) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        torch.testing.assert_close(values.double(), other[name].double(), **CLOSE, msg=name)


def size(moved: Gradients) -> float:
    return sum(float(values.double().square().sum()) for values in moved.values()) ** 0.5


@families
def test_stored_signals_give_the_gradient_of_the_live_teacher(family: str, tmp_path: Path):
    """float16 keeps 11 bits of a number, and KL and cosine are sums of many: the gradient is off by less than 1/500."""
    batch, teacher = whole_batch(found(family)), encoder(family)
    expected = learned(calm(family), Live(teacher), batch)
    exact = learned(calm(family), stored(teacher, found(family), tmp_path / "32"), batch)
    assert_same(exact, expected)
    half = learned(calm(family), stored(teacher, found(family), tmp_path / "16", dtype="float16"), batch)
    off = size({name: half[name] - values for name, values in expected.items()})
    assert 0 < off < size(expected) / 500


@families
def test_padding_further_changes_no_gradient(family: str):
    batch, teacher = whole_batch(found(family)), Live(encoder(family))
    expected = learned(calm(family), teacher, batch)
    assert_same(learned(calm(family), teacher, padded(batch, 9, found(family).pad)), expected)


@families
def test_the_gradient_of_a_batch_is_the_mean_of_its_examples_alone(family: str):
    """So it does not matter with whom an example shares its batch."""
    student, teacher = calm(family), Live(encoder(family))
    together = learned(student, teacher, whole_batch(found(family)))
    alone = [learned(student, teacher, collate(found(family), np.asarray([row]))) for row in range(ROWS)]
    assert_same({name: sum(one[name] for one in alone) / ROWS for name in together}, together)  # type: ignore[misc]


def eager(family: str, seed: int) -> Any:
    """Hugging Face's own model of the same weights."""
    model = tiny.model(family, seed=seed)
    model.set_attn_implementation("eager")
    return model


def by_hand(family: str, student: Any, phase: Phase, batch: Batch, maps: Sequence[Tensor] = ()) -> Gradients:
    """The gradient of the loss that is written out, of a Hugging Face model that hands out everything.

    maps: where those that are compared are kept while it runs, if they are not those that it hands out.
    """
    rows = list(range(ROWS))
    labels = [None if label != label else int(label) for label in found(family).labels]
    texts = plain.Rows([[0] * int(n) for n in found(family).lengths], [], labels, 0)
    every = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        wanted = eager(family, seed=0)(**batch.inputs, **every)
    own = student.train()(**batch.inputs, **every)
    own.attentions = maps or own.attentions
    knobs, stretch = Knobs("all", MAP, **WEIGHTS), Stretch(phase.internal, True, 1)
    plain.loss_of(plain.terms(own, wanted, texts, rows, stretch, knobs), knobs).backward()
    return {name: p.grad for name, p in student.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("phase", [SOFT, INTERNAL], ids=["fused attention", "maps"])
@families
def test_the_gradient_is_that_of_eager_attention(family: str, phase: Phase):
    """Where no loss asks for maps, torch's fused attention runs; where one does, they are made as log-probabilities."""
    batch, student = whole_batch(found(family)), eager(family, seed=1)
    expected = by_hand(family, without_dropout(student), phase, batch)
    assert_same(learned(calm(family), Live(encoder(family)), batch, phase), expected)


class SlowDropout:
    """Dropout whose masks are read number by number: four of 16 bits from each 64-bit draw of torch's generator.

    maps: the attention maps (B, A, T, T) that it was given, layer by layer; Hugging Face hands out those after it.
    """

    def __init__(self) -> None:
        self.maps: list[Tensor] = []

    def __call__(self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not p:
            return values
        if values.ndim == 4:
            self.maps.append(values)
        draws = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        numbers = struct.unpack(f"<{4 * len(draws)}h", draws.numpy().astype("<i8").tobytes())
        level = round(p * 65536)
        kept = [number + 32768 >= level for number in numbers[: values.numel()]]
        return values * torch.tensor(kept).view(values.shape).to(values.dtype) / (1 - level / 65536)


@pytest.mark.parametrize("phase", [SOFT, INTERNAL], ids=["no maps", "maps"])
@families
def test_cheap_masks_give_the_gradient_of_plain_dropout_with_the_same_masks(
    family: str, phase: Phase, monkeypatch: pytest.MonkeyPatch
):
    batch, teacher, plainly = whole_batch(found(family)), Live(encoder(family)), SlowDropout()
    monkeypatch.setattr(Encoder, "last_layer", lambda *_: None)  # the plain model draws masks for all of its last layer
    torch.manual_seed(0)
    dropped = learned(encoder(family, seed=1), teacher, batch, phase)
    monkeypatch.setattr(torch.nn.functional, "dropout", plainly)
    torch.manual_seed(0)
    assert_same(dropped, by_hand(family, eager(family, seed=1), phase, batch, plainly.maps))
    undropped = learned(calm(family), teacher, batch, phase)
    assert size({name: dropped[name] - values for name, values in undropped.items()}) > size(undropped) / 10
