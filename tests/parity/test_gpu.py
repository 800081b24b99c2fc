"""On a CUDA GPU: the CPU's run up to rounding, bfloat16 that learns, bits that repeat, a run that goes on."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from kdcore import interrupt
from kdcore.data.batches import collate
from kdcore.distil.checkpoint import Record
from kdcore.distil.objective import Objective
from kdcore.distil.signals import Stored
from kdcore.model.predict import logits_of
from tests.distilling import encoder, examples, extract_sealed, phases_of, stored, trainer, weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and torch finds none"),
]
GPU = torch.device("cuda")
# Sums run in another order there, and AdamW makes of a gradient's rounding up to as much of a step.
CLOSE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}
if torch.cuda.is_available():  # cuBLAS reads it once; without it torch refuses to call its products deterministic
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def on(device: str) -> Iterator[None]:
    """accelerate keeps one device and one precision per process: begin anew, and leave nothing behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", str(device == "cpu").lower())
        AcceleratorState._reset_state(reset_partial_state=True)
        try:
            yield
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def repeatable() -> Iterator[None]:
    """torch's own deterministic kernels, where it has several; fused attention's gradient adds in any order without."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def trained(
    folder: Path, device: str, precision: str = "no", dropout: bool = False, attention: bool = True
) -> tuple[dict[str, Tensor], Record]:
    """Weights on the CPU and record of a whole sid run, from stored signals or with maps of a live teacher."""
    found, student = examples(), encoder(layers=2, seed=1, dropout=dropout)
    written = (folder / "signals").exists()  # by the same run, before it was stopped
    where = folder / "signals", folder / "teacher"
    signals = Stored(*where) if written else stored(encoder(), found, folder, attention=attention)
    what = Objective(signals, (2, 4), {"kl": 1.0, "cos": 1.0}, hard_label_weight=0.5)
    stretch = phases_of("sid", epochs_per_layer=2, classification_epochs=2)
    knobs = {"learning_rate": 1e-3, "clip": 1.0, "weight_decay": 0.1, "warmup": 0.25, "precision": precision}
    with on(device):
        loop = trainer(student, found, stretch, what, folder / "run", batch_size=5, **knobs)
        assert loop.accelerator.device.type == device
        record = loop.train()
    return {name: value.cpu() for name, value in weights(student.model).items()}, record


def numbers(record: Record) -> list[dict[str, float]]:
    return [{name: value for name, value in epoch.items() if isinstance(value, float)} for epoch in record.history]


def assert_same_bits(one: tuple[dict[str, Tensor], Record], other: tuple[dict[str, Tensor], Record]) -> None:
    assert one[1].history == other[1].history
    for name, values in one[0].items():
        assert torch.equal(values, other[0][name]), name


def test_a_sid_run_is_that_of_the_cpu(tmp_path: Path):
    (found, record), (expected, slow) = (trained(tmp_path / device, device) for device in ("cuda", "cpu"))
    for epoch, same in zip(numbers(record), numbers(slow), strict=True):
        assert epoch == pytest.approx(same, rel=1e-3)
    for name, values in found.items():
        if not name.endswith("key.bias"):  # attention does not see it: its gradient is rounding alone
            torch.testing.assert_close(values, expected[name], **CLOSE, msg=name)


def test_bf16_learns_what_float32_learns(tmp_path: Path):
    (_, half), (_, full) = (trained(tmp_path / precision, "cuda", precision) for precision in ("bf16", "no"))
    for epoch, expected in zip(numbers(half), numbers(full), strict=True):
        assert epoch == pytest.approx(expected, rel=0.05)
    assert half.history != full.history, "nothing ran in bfloat16"


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_a_run_with_dropout_stays_finite(tmp_path: Path, precision: str):
    found, record = trained(tmp_path, "cuda", precision, dropout=True)
    assert all(math.isfinite(value) for epoch in numbers(record) for value in epoch.values())
    assert all(value.isfinite().all() and value.dtype == torch.float32 for value in found.values())


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_run_repeats_its_bits(tmp_path: Path, precision: str, repeatable: None):
    one, other = (trained(tmp_path / name, "cuda", precision, dropout=True) for name in ("one", "other"))
    assert_same_bits(one, other)


def test_a_stopped_run_goes_on_with_the_same_bits(tmp_path: Path, repeatable: None, monkeypatch: pytest.MonkeyPatch):
    """Weights, moments and the generator that dropout draws from on the GPU come back from the checkpoint."""
    expected = trained(tmp_path / "whole", "cuda", dropout=True)
    steps = iter(range(1, 1000))
    with monkeypatch.context() as patch:
        patch.setattr(interrupt, "requested", lambda: 15 if next(steps) == 8 else 0)
        with pytest.raises(interrupt.Interrupted):
            trained(tmp_path / "stopped", "cuda", dropout=True)
    assert_same_bits(trained(tmp_path / "stopped", "cuda", dropout=True), expected)


def test_signals_arrive_where_the_batch_is(tmp_path: Path):
    found, every = examples(), (1, 2, 3, 4)
    batch, read = collate(found, np.asarray([3, 0, 7])), stored(encoder(), found, tmp_path)
    here, there = read.at(batch, every, every), read.at(batch.to(GPU), every, every)
    for layer in every:
        for one, other in ((here.attention, there.attention), (here.cls, there.cls)):
            assert other[layer].device.type == "cuda"
            assert torch.equal(one[layer], other[layer].cpu())


def test_the_gpu_extracts_the_signals_of_the_cpu(tmp_path: Path):
    found = examples()
    for device in ("cpu", "cuda"):
        teacher = encoder().to(device)
        extract_sealed(teacher, found, tmp_path / device, dtype="float32", attention=True, batch_size=4)
    for file in sorted((tmp_path / "cpu").glob("*.npy")):
        found_there = np.load(tmp_path / "cuda" / file.name)
        np.testing.assert_allclose(found_there, np.load(file), rtol=1e-3, atol=1e-4, err_msg=file.name)


def test_the_gpu_predicts_what_the_cpu_predicts():
    here, there = logits_of(encoder(), examples(), 5), logits_of(encoder().to(GPU), examples(), 5)
    np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-4)


def test_a_live_teacher_teaches_a_student_on_the_gpu(tmp_path: Path):
    (found, _), (expected, _) = (trained(tmp_path / device, device, attention=False) for device in ("cuda", "cpu"))
    for name, values in found.items():
        if not name.endswith("key.bias"):
            torch.testing.assert_close(values, expected[name], **CLOSE, msg=name)
