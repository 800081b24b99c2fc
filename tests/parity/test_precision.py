"""Mixed precision on a CPU: products in bfloat16, everything that a loss is made of in float32."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from kdcore.distil.training import Trainer
from tests.distilling import encoder, examples, objective, phases_of, trainer, weights


@pytest.fixture(autouse=True)
def _own_precision() -> Iterator[None]:
    """accelerate keeps one precision per process; the tests before and after have another."""
    AcceleratorState._reset_state(reset_partial_state=False)
    yield
    AcceleratorState._reset_state(reset_partial_state=False)


def trained(folder: Path, precision: str) -> Trainer:
    what = objective("sid", encoder(), hard_label_weight=0.5)
    AcceleratorState._reset_state(reset_partial_state=False)
    student = encoder(layers=2, seed=1)
    run = trainer(student, examples(), phases_of("sid"), what, folder, learning_rate=1e-3, precision=precision)
    run.train()
    return run


def test_bf16_learns_what_float32_learns(tmp_path: Path):
    """Dropout draws the same masks, so that only rounding differs: bfloat16 keeps 8 significant bits."""
    half, full = trained(tmp_path / "half", "bf16"), trained(tmp_path / "full", "no")
    for epoch, expected in zip(half.record.history, full.record.history, strict=True):
        terms = {name: value for name, value in expected.items() if name[-1].isdigit() or name.endswith("labels")}
        assert {name: epoch[name] for name in terms} == pytest.approx(terms, rel=0.05)
        assert epoch != expected, "nothing ran in bfloat16"
    assert {value.dtype for value in weights(half.encoder).values()} == {torch.float32}


def test_bf16_repeats_its_bits(tmp_path: Path):
    first, second = trained(tmp_path / "first", "bf16"), trained(tmp_path / "second", "bf16")
    assert first.record.history == second.record.history
    for name, value in weights(first.encoder).items():
        assert torch.equal(value, weights(second.encoder)[name]), name
