"""What the stages compute, in the FLOPs that run.json counts: real tokens only, of encoders without weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdcore.distil.methods import compare_maps
from kdcore.distil.schedule import Phase
from kdcore.model.cost import forward_flops, training_flops
from kdcore.model.encoder import Encoder
from kdcore.plan.students import Student

# Kinds of work differ in FLOP/s: training, training on attention maps, forward passes, those that hand out maps.
Kind = Literal["training", "internal", "forward", "maps"]


@dataclass(frozen=True)
class Part:
    """FLOPs of one kind; passes: how often a layer runs on a batch, over all batches."""

    kind: Kind
    flops: float
    passes: int


@dataclass(frozen=True)
class Work:
    """A line of the plan: what a stage does with these rows, over all of its runs; epochs None: one pass."""

    stage: str
    what: str
    runs: int
    rows: int
    epochs: int | None
    parts: tuple[Part, ...]

    @property
    def flops(self) -> float:
        return sum(part.flops for part in self.parts)


def batches(rows: int, size: int) -> int:
    return -(-rows // size)


def forward(encoder: Encoder, lengths: np.ndarray, size: int, kind: Kind, depth: int | None = None) -> Part:
    """One pass over the rows in batches of `size`, through layers 1…depth (None: all and head)."""
    layers = len(encoder.layers) if depth is None else depth
    return Part(kind, forward_flops(encoder, lengths, depth), batches(len(lengths), size) * layers)


def times(part: Part, count: int) -> Part:
    return Part(part.kind, part.flops * count, part.passes * count)


def fine_tuning(encoder: Encoder, lengths: np.ndarray, epochs: int, size: int) -> Work:
    phase = Phase("classification", epochs)
    return Work("teacher", "fine-tuned", 1, len(lengths), epochs, (training(encoder, lengths, phase, size),))


def training(encoder: Encoder, lengths: np.ndarray, phase: Phase, size: int, kl: bool = False) -> Part:
    """All epochs of a phase, in steps of `size` rows. kl: whether the method compares attention maps."""
    depth = None if phase.classification else phase.depth(len(encoder.layers))
    flops = training_flops(encoder, lengths, depth, phase.trains) * phase.epochs
    passes = batches(len(lengths), size) * phase.depth(len(encoder.layers)) * phase.epochs
    if phase.trains == "head":
        return Part("forward", flops, passes)
    return Part("internal" if kl and phase.internal else "training", flops, passes)


def distilling(student: Student, encoder: Encoder, lengths: np.ndarray, runs: int, size: int) -> Work:
    """A student's training: as many epochs as its phases may use."""
    phases, kl = student.phases(), compare_maps(student.losses())
    parts = tuple(times(training(encoder, lengths, phase, size, kl), runs) for phase in phases)
    return Work("student", student.name, runs, len(lengths), sum(phase.epochs for phase in phases), parts)


def live(student: Student, mapped: Sequence[int], teacher: Encoder, lengths: np.ndarray, size: int) -> list[Part]:
    """What the teacher computes beside one student where its maps are not stored: its layers up to the top match."""
    if not compare_maps(student.losses()):
        return []
    tops = [(phase, max(mapped[layer - 1] for layer in phase.internal)) for phase in student.phases() if phase.internal]
    return [times(forward(teacher, lengths, size, "maps", top), phase.epochs) for phase, top in tops]


def extraction(teacher: Encoder, splits: Mapping[str, tuple[np.ndarray, bool]], size: int) -> Work:
    """The teacher's signals of each split; splits: lengths, and whether its attention maps are stored."""
    parts = [forward(teacher, lengths, size, "maps" if stored else "forward") for lengths, stored in splits.values()]
    rows = sum(len(lengths) for lengths, _ in splits.values())
    return Work("targets", "signals", 1, rows, None, tuple(parts))


def scoring(encoder: Encoder, validation: Mapping[str, np.ndarray], size: int) -> list[Part]:
    """One model's predictions of every validation split."""
    return [forward(encoder, lengths, size, "forward") for lengths in validation.values()]


def fidelity(student: Encoder, teacher: Encoder, validation: np.ndarray, stored: bool, size: int) -> list[Part]:
    """One student's maps on the validation rows, and the teacher's where they are not stored."""
    models = [student] if stored else [student, teacher]
    return [forward(encoder, validation, size, "maps") for encoder in models]
