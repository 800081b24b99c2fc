"""A schedule as a list of phases. No torch here: a phase is plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kdcore.distil.methods import SCHEDULES, Layers
from kdcore.params.sections import Distill, Train
from kdcore.params.values import Trains


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs with one objective.

    internal: student layers whose internal losses are summed; classification: whether the classification loss
    is added; frozen: layers 1…frozen and the embeddings don't learn, and run without dropout, as what is finished;
    layer: the layer that the phase is about, whose cosine loss may end it early.
    """

    name: str
    epochs: int
    internal: Layers = ()
    classification: bool = True
    trains: Trains = "model"
    frozen: int = 0
    layer: int | None = None
    cosine_threshold: float = 0.0

    @property
    def depth(self) -> int | None:
        """The top layer that must run; None where logits are needed too, so the whole model."""
        return None if self.classification else max(self.internal)


def phases(schedule: str, layers: int, distill: Distill) -> tuple[Phase, ...]:
    """The phases of a student of so many layers (paper, section 3, scenarios 1 to 3 and Algorithm 1).

    Every schedule has the same epochs in all, so that every method sees the same rows equally often: those of the
    layers go to its phases before the one of classification, in equal parts, or to that one where it is alone.
    """
    how, every = SCHEDULES[schedule], tuple(range(1, layers + 1))
    beside, comparing = every if how.beside else (), layers * distill.epochs_per_layer
    if how.before is None:
        epochs = comparing + distill.classification_epochs
        return (Phase("all" if beside else "classification", epochs, internal=beside),)
    compared = how.before(every)
    frozen = [_finished(compared[:phase], internal) for phase, internal in enumerate(compared)]
    if distill.below == "train":
        frozen = [0] * len(compared)
    ends = [comparing * phase // len(compared) for phase in range(len(compared) + 1)]
    layered = [
        Phase(
            f"layer {internal[-1]}",
            end - start,
            internal=tuple(layer for layer in internal if layer > done),
            classification=distill.classification == "always",
            frozen=done,
            layer=internal[-1],
            cosine_threshold=distill.cosine_threshold,
        )
        for internal, done, (start, end) in zip(compared, frozen, pairwise(ends), strict=True)
    ]
    last = Phase("classification", distill.classification_epochs, internal=beside, trains=distill.trains)
    return (*layered, last)


def _finished(earlier: Sequence[Layers], internal: Layers) -> int:
    """How many of the lowest layers earlier phases have compared, below all that this phase is the first to compare."""
    seen = {layer for phase in earlier for layer in phase}
    lowest = min(set(internal) - seen, default=1)
    return lowest - 1 if seen.issuperset(range(1, lowest)) else 0


def fine_tuning(epochs: int) -> tuple[Phase, ...]:
    """The phases of a teacher."""
    return (Phase("classification", epochs),)


def learning_rate(peak: float, step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over the first `warmup` share of `steps`, then linear decay to 0. `step` counts from 0."""
    rise = round(warmup * steps)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * max(0.0, (steps - step) / max(1, steps - rise))


def identity(train: Train, seed: int, phases: tuple[Phase, ...]) -> dict[str, Any]:
    """What of `train` determines a run: not when it is saved, nor who is told, nor the schedule of a single phase.

    The last epoch's weights are kept unless `keep` says otherwise, so it counts only where it does.
    """
    unused = {"checkpoint_seconds", "track"}
    unused |= {"schedule"} if len(phases) == 1 else set()
    unused |= {"keep"} if train.keep == "last" else set()
    return {**train.model_dump(exclude=unused), "seed": seed}
