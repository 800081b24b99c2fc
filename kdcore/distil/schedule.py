"""The methods none, soft, all, pid and sid as a list of phases. No torch here: a phase is plain data."""

from dataclasses import dataclass
from typing import Literal

Trains = Literal["model", "head"]
Classification = Literal["last", "always"]


@dataclass(frozen=True)
class Method:
    """A schedule and the internal losses that it uses: `sid` is both, `sid-kl` and `sid-cos` are one of them."""

    schedule: str
    kl: bool
    cos: bool

    @classmethod
    def parse(cls, name: str) -> "Method":
        schedule, _, only = name.partition("-")
        internal = schedule in ("all", "pid", "sid")
        return cls(schedule, kl=internal and only != "cos", cos=internal and only != "kl")


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


def phases(
    schedule: str,
    layers: int,
    *,
    epochs_per_layer: int,
    classification_epochs: int,
    cosine_threshold: float = 0.0,
    classification: Classification = "last",
    trains: Trains = "model",
) -> tuple[Phase, ...]:
    """The phases of one student (paper, section 3, scenarios 1 to 3 and Algorithm 1).

    none, soft and all are one phase of as many epochs as pid and sid may use in all, so that every method
    sees the same rows equally often. A phase that has no epochs is left out.
    """
    budget = layers * epochs_per_layer + classification_epochs
    every = tuple(range(1, layers + 1))
    if schedule in ("none", "soft"):
        return (Phase("classification", budget),)
    if schedule == "all":
        return (Phase("all", budget, internal=every),)
    progressive = [
        Phase(
            f"layer {layer}",
            epochs_per_layer,
            internal=(layer,) if schedule == "pid" else every[:layer],
            classification=classification == "always",
            layer=layer,
            cosine_threshold=cosine_threshold,
        )
        for layer in every
    ]
    last = Phase("classification", classification_epochs, trains=trains)
    return tuple(phase for phase in (*progressive, last) if phase.epochs)


def learning_rate(peak: float, step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over the first `warmup` share of `steps`, then linear decay to 0. `step` counts from 0."""
    rise = round(warmup * steps)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * max(0.0, (steps - step) / max(1, steps - rise))
