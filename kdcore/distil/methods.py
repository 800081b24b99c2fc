"""The methods by name: a schedule and the internal losses that it minimises. No torch here: params are read with it.

A new internal loss is an entry of INTERNAL here and its function in losses.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SCHEDULES = ("none", "soft", "all", "pid", "sid")
PROGRESSIVE = ("pid", "sid")  # a phase per layer, and one of classification at the end


@dataclass(frozen=True)
class InternalLoss:
    """A loss between a student layer and the teacher layer that it matches.

    name: the suffix of methods that use it alone, and its key in `distill.weights`; term: its column in histories and
    results; title: its name in tables; needs: what both models hand out for it, `attention` maps (B, A, T, T) or `cls`
    vectors (B, H).
    """

    name: str
    term: str
    title: str
    needs: Literal["attention", "cls"]


INTERNAL = {
    loss.name: loss
    for loss in (
        InternalLoss("kl", "attention_kl", "attention KL", "attention"),  # paper, eq. 2
        InternalLoss("cos", "cls_cosine", "[CLS] cosine loss", "cls"),  # paper, eq. 3
    )
}
THRESHOLD = INTERNAL["cos"]  # measured whatever is minimised: distill.cosine_threshold may end a layer's phase by it


@dataclass(frozen=True)
class Method:
    """A schedule and the names of its internal losses: `sid` has all of INTERNAL, `sid-kl` the attention KL only."""

    schedule: str
    losses: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> "Method":
        schedule, _, only = name.partition("-")
        if schedule in ("none", "soft"):
            return cls(schedule, ())
        return cls(schedule, (only,) if only else tuple(INTERNAL))

    def minimised(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Its internal losses that have a weight. weights: `distill.weights`, where one that is absent has 0."""
        return {name: weights[name] for name in self.losses if weights.get(name)}


def compare_maps(losses: Mapping[str, float]) -> bool:
    """Whether any of these internal losses needs attention maps."""
    return any(INTERNAL[name].needs == "attention" for name in losses)


def variants(schedules: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the methods with these schedules: each alone, then with each internal loss, where it has any."""
    return tuple(
        name
        for schedule in schedules
        for name in (schedule, *(f"{schedule}-{loss}" for loss in INTERNAL if schedule not in ("none", "soft")))
    )


METHODS = variants(SCHEDULES)
