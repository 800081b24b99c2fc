"""The terms that all contenders run on: the same optimizer, rate, batch size and threads; AdamW is fused for all."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import get_linear_schedule_with_warmup

from kdcore.params.sections import Precision


@dataclass(frozen=True)
class Terms:
    """epochs: of one repeat of a peer, whose cost is the same in each; other epochs: of this project."""

    epochs: int = 2
    epochs_per_layer: int = 2
    classification_epochs: int = 4
    layers: int = 3
    teacher_layers: int = 6
    batch_size: int = 32
    learning_rate: float = 1e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    hard_label_weight: float = 0.1
    threads: int = 2
    precision: Precision = "no"

    @property
    def whole(self) -> int:
        """Epochs of a whole run, whatever its method."""
        return self.layers * self.epochs_per_layer + self.classification_epochs


@dataclass(frozen=True)
class Outcome:
    """One repeat: seconds of work, examples that were trained on, and useful GFLOP of the student's steps.

    signals: seconds of the whole that went into the teacher's signals, where they are made before training.
    """

    seconds: float
    examples: int
    gflop: float
    signals: float = 0.0

    @property
    def rate(self) -> float:
        return self.examples / self.seconds

    @property
    def further(self) -> float:
        """The rate of another student from the same signals."""
        return self.examples / (self.seconds - self.signals)


def optimizer_of(model: torch.nn.Module, terms: Terms) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=terms.learning_rate, weight_decay=terms.weight_decay, fused=True)


def schedule_of(optimizer: torch.optim.Optimizer, steps: int, terms: Terms) -> Any:
    return get_linear_schedule_with_warmup(optimizer, **schedule_arguments(steps, terms))


def schedule_arguments(steps: int, terms: Terms) -> dict[str, int]:
    return {"num_warmup_steps": round(terms.warmup * steps), "num_training_steps": steps}
