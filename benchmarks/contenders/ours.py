"""This project: the teacher's signals are written once, then `all`, `pid` or `sid` trains from them."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.machine import finish
from benchmarks.material import Material, mapped
from benchmarks.terms import Outcome, Terms
from kdcore.artefacts import seal
from kdcore.data.examples import Examples
from kdcore.distil.checkpoint import Record
from kdcore.distil.extraction import extract
from kdcore.distil.methods import Method
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase, phases
from kdcore.distil.signals import Signals, Stored
from kdcore.distil.training import Trainer
from kdcore.memory import keep_freed
from kdcore.model.encoder import Encoder
from kdcore.params.sections import Distill, Train
from kdcore.runs import Run

EXTRACTING = 64  # examples per forward pass of the teacher, as in params.yaml


def make(material: Material, terms: Terms, method: str) -> Callable[[], Outcome]:
    """A whole run of a method, the teacher's signals included, which a project makes once for all of its students."""
    set_up(terms)
    examples, teacher = material.examples(), Encoder.load(material.teacher)

    def run() -> Outcome:
        student = Encoder.load(material.student(terms.layers))
        with TemporaryDirectory(dir=material.folder) as name:
            start = time.perf_counter()
            signals = write_signals(teacher, examples, Path(name), material.teacher)
            written = time.perf_counter() - start
            record = train(student, examples, signals, Path(name), terms, method)
            finish()
            seconds = time.perf_counter() - start
        return Outcome(seconds, len(record.history) * len(examples), record.gflop, written)

    return run


def set_up(terms: Terms) -> None:
    """What a command of ours sets of its process."""
    torch.set_num_threads(terms.threads)
    keep_freed()


def write_signals(teacher: Encoder, examples: Examples, folder: Path, teacher_folder: Path) -> Stored:
    """Extract, seal and open, as `kdcore targets` and `kdcore student` do."""
    signals = folder / "signals"
    signals.mkdir()
    seal(signals, **extract(teacher, examples, signals, dtype="float16", attention=True, batch_size=EXTRACTING))
    return Stored(signals, teacher_folder)


def train(
    student: Encoder,
    examples: Examples,
    signals: Signals,
    folder: Path,
    terms: Terms,
    method: str,
    change: Callable[[Trainer], None] = lambda _: None,
) -> Record:
    """The project's own loop, in a run of its own under `folder`; no scoring, which the peers don't do either.

    change: of the loop, before it trains.
    """
    parsed = Method.parse(method)
    with TemporaryDirectory(dir=folder) as run:
        loop = Trainer(
            student,
            examples,
            phases_of(parsed, terms),
            objective(parsed, signals, terms),
            settings(terms),
            0,
            Run(Path(run)),
            lambda _: 0.0,
        )
        change(loop)
        return loop.train()


def objective(method: Method, signals: Signals, terms: Terms) -> Objective:
    knobs = distill(terms)
    weights = method.minimised(knobs.weights)
    return Objective(
        signals, mapped(terms.layers, terms.teacher_layers), weights, hard_label_weight=knobs.hard_label_weight
    )


def phases_of(method: Method, terms: Terms) -> tuple[Phase, ...]:
    return phases(method.schedule, terms.layers, distill(terms))


def distill(terms: Terms) -> Distill:
    return Distill.model_construct(  # an epoch alone has no layer of its own, which params.yaml does not allow
        temperature=1.0,
        hard_label_weight=terms.hard_label_weight,
        weights={"kl": 1.0, "cos": 1.0},
        epochs_per_layer=terms.epochs_per_layer,
        cosine_threshold=0.0,
        classification_epochs=terms.classification_epochs,
        classification="last",
        trains="model",
    )


def settings(terms: Terms) -> Train:
    return Train(
        batch_size=terms.batch_size,
        accumulate=1,
        learning_rate=terms.learning_rate,
        schedule="per_phase",
        warmup=terms.warmup,
        weight_decay=terms.weight_decay,
        clip=terms.clip,
        precision=terms.precision,
        threads=terms.threads,
        checkpoint_seconds=1e6,
        history_rows=1,
    )
