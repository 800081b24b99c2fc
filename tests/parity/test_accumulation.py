"""A step in k micro-batches is the step of the whole batch: the same weights, the same written losses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdcore.data.batches import collate
from kdcore.data.examples import Examples
from kdcore.distil.checkpoint import Record
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase
from kdcore.model.encoder import Encoder
from tests.distilling import (
    encoder,
    examples,
    objective,
    phases_of,
    trainer,
    use_plain_descent,
    weights,
    whole_batch,
)

SID = phases_of("sid", layers=2)


@pytest.fixture(autouse=True)
def plain_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    use_plain_descent(monkeypatch)


def few() -> Examples:
    """Ten rows of several lengths, some without a label."""
    return examples(rows=10, unlabelled=(1, 6))


def trained(folder: Path, stretch: tuple[Phase, ...] = SID, **knobs: Any) -> tuple[dict[str, torch.Tensor], Record]:
    """Weights after a run of the loop, and its record."""
    student = encoder(layers=2, seed=1, dropout=False)
    what = objective("sid", encoder(), hard_label_weight=0.5)
    record = trainer(student, few(), stretch, what, folder, **knobs).train()
    return weights(student), record


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, values in found.items():
        torch.testing.assert_close(values, expected[name], rtol=1e-5, atol=1e-6, msg=name)


def numbers(epoch: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in epoch.items() if isinstance(value, float)}


@pytest.mark.parametrize("accumulate", [2, 4, 10])
@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_micro_batches_give_the_step_of_the_batch(tmp_path: Path, accumulate: int, clip: float):
    # Ten rows are one batch of 10; in 4 parts they are 3, 3, 2 and 2 rows.
    expected, whole = trained(tmp_path / "whole", batch_size=10, clip=clip)
    found, parts = trained(tmp_path / "parts", batch_size=10, clip=clip, accumulate=accumulate)
    assert_same(found, expected)
    for one, other in zip(parts.history, whole.history, strict=True):
        assert one.keys() == other.keys()
        assert numbers(one) == pytest.approx(numbers(other), rel=1e-5)


@pytest.mark.parametrize("accumulate", [3, 7])
def test_a_last_batch_of_a_single_row_has_its_own_step(tmp_path: Path, accumulate: int):
    # Batches of 3, 3, 3 and 1: the last has fewer rows than parts.
    expected, _ = trained(tmp_path / "whole", batch_size=3)
    found, _ = trained(tmp_path / "parts", batch_size=3, accumulate=accumulate)
    assert_same(found, expected)


def by_hand(student: Encoder, what: Objective, found: Examples, phase: Phase, rate: float) -> dict[str, torch.Tensor]:
    """Weights after one step against the gradient of the mean loss over all examples."""
    student.train()
    losses = [what(student, collate(found, np.asarray([row])), phase)[0] for row in range(len(found))]
    torch.cat(losses).mean().backward()
    return {n: (p if p.grad is None else p - rate * p.grad).detach() for n, p in student.named_parameters()}


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_step_descends_the_mean_loss_of_its_batch(tmp_path: Path, accumulate: int):
    what, phase = objective("sid", encoder(), hard_label_weight=0.5), SID[-1]
    expected = by_hand(encoder(layers=2, seed=1, dropout=False), what, few(), phase, rate=0.1)
    found, _ = trained(tmp_path, (phase,), batch_size=10, accumulate=accumulate)
    before = weights(encoder(layers=2, seed=1))
    assert max((found[name] - before[name]).abs().max() for name in found) > 1e-3
    assert_same(found, expected)


def test_the_written_losses_are_means_over_all_examples(tmp_path: Path):
    student, what = encoder(layers=2, seed=1, dropout=False), objective("sid", encoder())
    with torch.no_grad():
        _, terms = what(student.train(), whole_batch(few()), SID[1])
    record = trainer(student, few(), SID[1:2], what, tmp_path, batch_size=3, accumulate=2, learning_rate=1e-9).train()
    (written,) = record.history
    for name, values in terms.items():
        assert written[name] == pytest.approx(float(values.mean()), rel=1e-5)
