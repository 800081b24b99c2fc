"""What the contenders that run on plain Hugging Face models share: two eager models, and batches from a DataLoader."""

import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from benchmarks.machine import finish
from benchmarks.material import Material, as_rows, mapped
from benchmarks.terms import Outcome, Terms
from kdcore.model.cost import training_flops
from kdcore.model.encoder import Encoder, device


def models(material: Material, layers: int) -> tuple[Any, Any]:
    """Student and teacher; only eager attention hands out its maps."""
    student = AutoModelForSequenceClassification.from_pretrained(material.student(layers), attn_implementation="eager")
    teacher = AutoModelForSequenceClassification.from_pretrained(material.teacher, attn_implementation="eager")
    return student.to(device()).train(), teacher.to(device()).eval()


def loader(material: Material, batch_size: int, tokens: int | None = None) -> DataLoader[Any]:
    """Random batches, padded to their longest example, or all to `tokens`."""
    return DataLoader(
        cast(Any, as_rows(material.examples())),  # a list is a data set
        batch_size=batch_size,
        shuffle=True,
        collate_fn=collator(material, tokens),
    )


def collator(material: Material, tokens: int | None = None) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    padding: Any = {"padding": "longest"} if tokens is None else {"padding": "max_length", "max_length": tokens}
    pad = DataCollatorWithPadding(AutoTokenizer.from_pretrained(material.teacher), **padding)
    return lambda rows: dict(pad(rows))


def outcome(train: Callable[..., None], material: Material, batches: Any, terms: Terms) -> Outcome:
    """Train a new student beside the teacher; loading the two is not timed."""
    student, teacher = models(material, terms.layers)
    start = time.perf_counter()
    train(student, teacher, batches, terms)
    finish()
    seconds = time.perf_counter() - start
    return Outcome(seconds, terms.epochs * len(material.examples()), terms.epochs * epoch_gflop(material, terms.layers))


def epoch_gflop(material: Material, layers: int) -> float:
    """Useful GFLOP of one epoch of the student's training steps, all of whose layers run."""
    lengths: np.ndarray = material.examples().lengths
    return training_flops(Encoder.load(material.student(layers)).shape, lengths) / 1e9


def pairs(layers: int, teacher_layers: int) -> list[tuple[int, int]]:
    """(student layer, teacher layer), from 1."""
    return list(enumerate(mapped(layers, teacher_layers), start=1))
