"""The pieces of a run as jobs: inference, extraction of the teacher's signals, epochs of training from them."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from benchmarks.contenders.ours import EXTRACTING, set_up, train, write_signals
from benchmarks.material import Material
from benchmarks.terms import Terms
from kdcore.artefacts import seal
from kdcore.data.batches import Batch, collate, in_order
from kdcore.distil.extraction import extract
from kdcore.distil.signals import Layers, Signals, Stored, Teaching
from kdcore.model.encoder import Encoder
from kdcore.model.predict import logits_of


def inference(material: Material, terms: Terms, rows: int) -> Callable[[], float]:
    """Seconds of the teacher's logits for the first `rows` examples, by this project and torch's fused attention."""
    set_up(terms)
    teacher, examples = Encoder.load(material.teacher), material.examples().first(rows)
    return lambda: timed(lambda: logits_of(teacher, examples, EXTRACTING))


def hugging_face(material: Material, terms: Terms, rows: int, attention: bool) -> Callable[[], float]:
    """Seconds of the same batches through plain Hugging Face: its fused attention, or eager, which hands out maps."""
    torch.set_num_threads(terms.threads)
    kind, wanted = ("eager", {"output_attentions": True, "output_hidden_states": True}) if attention else ("sdpa", {})
    model: Any = AutoModelForSequenceClassification.from_pretrained(material.teacher, attn_implementation=kind)
    examples = material.examples().first(rows)

    @torch.inference_mode()
    def run() -> None:
        for batch in in_order(examples.lengths, EXTRACTING):
            model(**collate(examples, batch).inputs, **wanted)

    return lambda: timed(run)


def extraction(material: Material, terms: Terms, rows: int, attention: bool, sealed: bool) -> Callable[[], float]:
    """Seconds of writing the signals of the first `rows` examples: with maps or without, with checksums or without."""
    set_up(terms)
    teacher, examples = Encoder.load(material.teacher), material.examples().first(rows)

    def write(folder: Path) -> None:
        facts = extract(teacher, examples, folder, dtype="float16", attention=attention, batch_size=EXTRACTING)
        if sealed:
            seal(folder, **facts)

    def run() -> float:
        with TemporaryDirectory(dir=material.folder) as name:
            return timed(lambda: write(Path(name)))

    return run


def writing(material: Material, terms: Terms, rows: int) -> Callable[[], int]:
    """Write and keep the signals of the first `rows` examples, for `epoch`; gives the bytes of the attention maps."""
    set_up(terms)

    def run() -> int:
        folder = _kept(material, rows)
        folder.mkdir()
        write_signals(Encoder.load(material.teacher), material.examples().first(rows), folder, material.teacher)
        return sum(file.stat().st_size for file in folder.glob("signals/attention-*"))

    return run


def epoch(material: Material, terms: Terms, written: int) -> Callable[[int, int], tuple[float, float]]:
    """An epoch of `all` from the signals that `writing` kept of `written` rows.

    The job takes a number of rows and a depth, and gives the epoch's seconds and those of reading signals.
    """
    set_up(terms)
    folder, examples = _kept(material, written), material.examples()
    stored = Stored(folder / "signals", material.teacher)

    def run(rows: int, layers: int) -> tuple[float, float]:
        student, signals = Encoder.load(material.student(layers)), Timed(stored)
        own = replace(terms, layers=layers)
        whole = timed(lambda: train(student, examples.first(rows), signals, folder, own, "all"))
        return whole, signals.seconds

    return run


def _kept(material: Material, rows: int) -> Path:
    return material.folder / f"written-{rows}"


def timed(work: Callable[[], Any]) -> float:
    """Seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Timed:
    """Signals that add up how long reading them takes."""

    def __init__(self, signals: Signals) -> None:
        self.signals, self.seconds = signals, 0.0

    def at(self, batch: Batch, attention: Layers, cls: Layers, logits: bool = True, hidden: Layers = ()) -> Teaching:
        start = time.perf_counter()
        said = self.signals.at(batch, attention, cls, logits, hidden)
        self.seconds += time.perf_counter() - start
        return said

    def are_stored(self, attention: Layers, hidden: Layers = ()) -> bool:
        return self.signals.are_stored(attention, hidden)
