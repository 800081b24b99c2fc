"""The methods none, soft, all, pid and sid as a list of phases. No torch here: a phase is plain data."""

from dataclasses import dataclass
from typing import Any

from kdcore.distil.methods import PROGRESSIVE
from kdcore.params.sections import Distill, Train
from kdcore.params.values import Trains


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs with one objective.

    internal: student layers whose internal losses are summed; classification: whether the classification loss
    is added; layer: the layer that the phase is about, whose cosine loss may end it early.
    """

    name: str
    epochs: int
    internal: tuple[int, ...] = ()
    classification: bool = True
    trains: Trains = "model"
    layer: int | None = None
    cosine_threshold: float = 0.0

    def depth(self, layers: int) -> int:
        """Layers that must run: all of them where logits are needed, else up to the top internal layer."""
        return layers if self.classification else max(self.internal)


def phases(schedule: str, layers: int, distill: Distill) -> tuple[Phase, ...]:
    """The phases of a student of so many layers (paper, section 3, scenarios 1 to 3 and Algorithm 1).

    none, soft and all are one phase of as many epochs as pid and sid may use in all, so that every method
    sees the same rows equally often.
    """
    every = tuple(range(1, layers + 1))
    if schedule not in PROGRESSIVE:
        epochs = layers * distill.epochs_per_layer + distill.classification_epochs
        return (Phase("all", epochs, internal=every) if schedule == "all" else Phase("classification", epochs),)
    stacked = [
        Phase(
            f"layer {layer}",
            distill.epochs_per_layer,
            internal=(layer,) if schedule == "pid" else every[:layer],
            classification=distill.classification == "always",
            layer=layer,
            cosine_threshold=distill.cosine_threshold,
        )
        for layer in every
    ]
    return (*stacked, Phase("classification", distill.classification_epochs, trains=distill.trains))


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
