"""What the tests of models and of distillation share: tokenised examples, encoders, phases and the loop."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdcore.artefacts import seal
from kdcore.data.batches import Batch, collate
from kdcore.data.examples import Examples, encode
from kdcore.distil import training
from kdcore.distil.extraction import extract
from kdcore.distil.methods import INTERNAL, Method
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase, phases
from kdcore.distil.signals import Live, Stored, Teaching
from kdcore.distil.training import Trainer
from kdcore.model.encoder import Encoder
from kdcore.params import sections
from kdcore.runs import Run
from tests import tiny

MAX_TOKENS = 32


def examples(
    family: str = "bert",
    rows: int = 12,
    *,
    pairs: bool = False,
    labels: int = 2,
    unlabelled: tuple[int, ...] = (),
    seed: int = 0,
) -> Examples:
    """Tokenised tiny texts of several lengths; the rows in `unlabelled` have no label."""
    frame = tiny.texts(rows, pairs, labels, seed)
    names = {"first": "text_a", "second": "text_b", "sentence": "text_a"}
    frame = frame.rename(columns=names).astype({"label": "float64"})
    if not pairs:
        frame["text_b"] = None
    frame.loc[list(unlabelled), "label"] = np.nan
    return encode(tiny.tokenizer(family), frame, MAX_TOKENS)


def encoder(family: str = "bert", layers: int = 4, labels: int = 2, seed: int = 0, dropout: bool = True) -> Encoder:
    """A tiny random classifier, in eval mode; its dropout of 0.1 acts in train mode unless dropout is False."""
    made = Encoder(tiny.model(family, layers, labels, seed))
    return made if dropout else without_dropout(made)


def without_dropout(model: Encoder) -> Encoder:
    """The same model, whose train mode computes what its eval mode does."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def whole_batch(found: Examples) -> Batch:
    """All examples as one batch, in their own order."""
    return collate(found, np.arange(len(found)))


def padded(batch: Batch, tokens: int, pad: int) -> Batch:
    """The same batch with `tokens` more columns of padding."""
    fills = {"input_ids": pad, "attention_mask": 0, "token_type_ids": 0}
    inputs = {k: nn.functional.pad(v, (0, tokens), value=fills[k]) for k, v in batch.inputs.items()}
    return Batch(batch.rows, inputs, batch.labels)


def objective(
    method: str = "sid",
    teacher: Encoder | None = None,
    layer_map: tuple[int, ...] = (2, 4),
    **knobs: Any,
) -> Objective:
    """A method's objective with a live teacher; the teacher's own training where there is none."""
    weights = Method.parse(method).minimised(dict.fromkeys(INTERNAL, 1.0) | knobs.pop("weights", {}))
    return Objective(None if teacher is None else Live(teacher), layer_map, weights, **knobs)


def phases_of(method: str, layers: int = 2, **knobs: Any) -> tuple[Phase, ...]:
    """A method's phases, one epoch each unless told otherwise."""
    return phases(Method.parse(method).schedule, layers, distill(**knobs))


def distill(**knobs: Any) -> sections.Distill:
    """The section `distill`: every loss weighs 1, hard labels 0.1, and there is one epoch per phase."""
    usual = {
        "temperature": 1.0,
        "hard_label_weight": 0.1,
        "weights": dict.fromkeys(INTERNAL, 1.0),
        "epochs_per_layer": 1,
        "cosine_threshold": 0.0,
        "classification_epochs": 1,
        "classification": "last",
        "below": "train",
        "trains": "model",
    }
    return sections.Distill.model_validate(usual | knobs)


def stored(
    teacher: Encoder,
    found: Examples,
    folder: Path,
    *,
    dtype: str = "float32",
    attention: bool = True,
    batch_size: int = 4,
) -> Stored:
    """The teacher's signals, written to `folder` and opened; `folder/teacher` holds the teacher itself."""
    extract_sealed(teacher, found, folder / "signals", dtype=dtype, attention=attention, batch_size=batch_size)
    teacher.model.save_pretrained(folder / "teacher")
    return Stored(folder / "signals", folder / "teacher")


def extract_sealed(teacher: Encoder, found: Examples, folder: Path, **how: Any) -> None:
    """Write the teacher's signals and their manifest, as a finished run has them."""
    folder.mkdir(parents=True, exist_ok=True)
    seal(folder, **extract(teacher, found, folder, **how))


def train(**knobs: Any) -> sections.Train:
    """The section `train`: a constant rate of 0.1, no decay, no clipping, one thread."""
    usual = {
        "batch_size": 8,
        "accumulate": 1,
        "learning_rate": 0.1,
        "schedule": "per_phase",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "clip": 0.0,
        "precision": "no",
        "threads": 1,
        "checkpoint_seconds": 1e6,
        "history_rows": 8,
    }
    return sections.Train.model_validate(usual | knobs)


@dataclass(frozen=True)
class Scripted(Objective):
    """An objective that a test makes up: (model, batch, phase) -> loss and terms."""

    losses: Callable[..., Any] = lambda *_: None

    def __call__(
        self, encoder: nn.Module, batch: Batch, phase: Phase, teaching: Teaching | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.losses(encoder, batch, phase)


def trainer(
    student: Encoder,
    found: Examples,
    stretch: tuple[Phase, ...],
    what: Objective | Callable[..., Any],
    folder: Path,
    validate: Callable[[Encoder], float] = lambda _: 0.0,
    **knobs: Any,
) -> Trainer:
    """The loop over `found`, with its run in `folder`."""
    what = what if isinstance(what, Objective) else Scripted(losses=what)
    seed = knobs.pop("seed", 0)
    return Trainer(student, found, stretch, what, train(**knobs), seed, Run(folder), validate, {"method": "sid"})


def use_plain_descent(monkeypatch: Any) -> None:
    """Train with SGD: a step is then as long as the gradient, where AdamW makes noise around 0 a whole step."""
    monkeypatch.setattr(training, "adamw", descent)


def descent(model: nn.Module, rate: float, weight_decay: float) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=rate, weight_decay=weight_decay)


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    """Every parameter's gradient, None where it has none."""
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}
