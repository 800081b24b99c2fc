"""FLOP/s of this machine, from real training steps of encoders of the plan's shape, with random weights."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdcore.artefacts import seal
from kdcore.data.batches import shuffled
from kdcore.data.examples import Examples
from kdcore.distil.extraction import extract
from kdcore.distil.methods import INTERNAL
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase
from kdcore.distil.signals import Stored
from kdcore.distil.training import Trainer
from kdcore.model.cost import forward_flops
from kdcore.model.encoder import Encoder
from kdcore.model.predict import logits_of
from kdcore.params.sections import Train
from kdcore.plan.shapes import encoder_of
from kdcore.plan.training import Kind
from kdcore.runs import Run

FEW, MANY = 2, 64  # batches that are timed: the first step costs more than the others; beyond 64 the rate stays


@dataclass(frozen=True)
class Bench:
    """What is measured: a student of `layers` layers beside a teacher of config's, on batches as the task has them.

    mapped: teacher layer of each student layer; batch_size: of forward passes, train has that of steps.
    """

    config: Any
    mapped: tuple[int, ...]
    train: Train
    batch_size: int
    dtype: str


def rates(bench: Bench, lengths: np.ndarray, kinds: Collection[Kind], seconds: float) -> dict[Kind, float]:
    """FLOP/s by kind of work, measured for `seconds` in all, or as long as two batches of each kind take.

    lengths: tokens of the task's training rows.
    """
    batches = [lengths[rows] for rows in shuffled(lengths, bench.train.batch_size, seed=0, epoch=0)]
    tokens = np.asarray([batch.sum() for batch in batches])
    typical = [batches[index] for index in np.argsort(abs(tokens - np.median(tokens)), kind="stable")[:MANY]]
    teacher = encoder_of(bench.config, bench.config.num_hidden_layers, "cpu").eval()
    run: Mapping[Kind, Callable[[Examples], float]] = {
        "training": lambda examples: _trained(bench, examples, Phase("classification", 1), Objective()),
        "internal": lambda examples: _internal(bench, teacher, examples),
        "forward": lambda examples: _forward(bench, teacher, examples),
        "maps": lambda examples: _maps(bench, teacher, examples),
    }
    with contextlib.redirect_stdout(io.StringIO()):  # the loop says how each epoch went
        return {kind: _rate(run[kind], bench.config, typical, seconds / len(kinds)) for kind in kinds}


def _rate(run: Callable[[Examples], float], config: Any, typical: list[np.ndarray], seconds: float) -> float:
    """The rate over as many batches as there is time for, after one that warms up."""
    started = time.perf_counter()
    run(_drawn(config, typical[:1]))
    fit = int(seconds / (time.perf_counter() - started)) - 1
    return run(_drawn(config, typical[: max(FEW, fit)]))


def _drawn(config: Any, batches: list[np.ndarray]) -> Examples:
    """Examples of these lengths, with any words and labels."""
    random, start = np.random.default_rng(0), np.cumsum([0, *np.concatenate(batches)], dtype=np.int64)
    words = random.integers(config.vocab_size // 2, config.vocab_size, start[-1], dtype=np.int32)
    labels = random.integers(0, max(1, config.num_labels), len(start) - 1).astype(np.float64)
    types = np.zeros_like(words) if getattr(config, "type_vocab_size", 0) > 1 else None
    return Examples(words, types, start, labels, config.pad_token_id)


def _trained(bench: Bench, examples: Examples, phase: Phase, objective: Objective) -> float:
    """The loop itself, for one epoch: dropout, losses, clipping, optimizer."""
    student = encoder_of(bench.config, len(bench.mapped), "cpu")
    train = bench.train.model_copy(update={"checkpoint_seconds": float("inf")})
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(student, examples, (phase,), objective, train, 0, Run(Path(folder)), lambda _: 0.0)
        record = trainer.train()
    return record.gflop * 1e9 / record.seconds


def _internal(bench: Bench, teacher: Encoder, examples: Examples) -> float:
    """The last phase of sid, with signals that were stored."""
    phase = Phase("layers", 1, tuple(range(1, len(bench.mapped) + 1)), classification=False)
    with tempfile.TemporaryDirectory() as folder:
        _extract(bench, teacher, examples, Path(folder))
        signals = Stored(Path(folder), Path(folder))
        weights = {name: 1.0 for name, loss in INTERNAL.items() if loss.needs != "hidden"}
        return _trained(bench, examples, phase, Objective(signals, bench.mapped, weights))


def _extract(bench: Bench, teacher: Encoder, examples: Examples, folder: Path) -> None:
    facts = extract(teacher, examples, folder, dtype=bench.dtype, attention=True, batch_size=bench.batch_size)
    seal(folder, **facts)


def _forward(bench: Bench, teacher: Encoder, examples: Examples) -> float:
    started = time.perf_counter()
    logits_of(teacher, examples, bench.batch_size)
    return forward_flops(teacher.shape, examples.lengths) / (time.perf_counter() - started)


def _maps(bench: Bench, teacher: Encoder, examples: Examples) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        _extract(bench, teacher, examples, Path(folder))
        return forward_flops(teacher.shape, examples.lengths) / (time.perf_counter() - started)
