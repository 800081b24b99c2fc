"""The methods by name: a schedule and the internal losses that it minimises. No torch here: params are read with it.

A new internal loss is an entry of INTERNAL here and its function in losses.py. A new schedule is an entry of SCHEDULES
here and its colours in report/methods.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Layers: TypeAlias = tuple[int, ...]
Captured: TypeAlias = Literal["attention", "cls", "hidden"]


@dataclass(frozen=True)
class InternalLoss:
    """A loss between a student layer and the teacher layer that it matches.

    name: the suffix of methods that use it alone, and its key in `distill.weights`; term: its column in histories and
    results; title: its name in tables; needs: what both models hand out for it, `attention` maps (B, A, T, T), `cls`
    vectors (B, H), or the `hidden` states of all tokens (B, T, H), for which the teacher runs beside the student.
    """

    name: str
    term: str
    title: str
    needs: Captured


INTERNAL = {
    loss.name: loss
    for loss in (
        InternalLoss("kl", "attention_kl", "attention KL", "attention"),  # paper, eq. 2
        InternalLoss("cos", "cls_cosine", "[CLS] cosine loss", "cls"),  # paper, eq. 3
    )
}
THRESHOLD = INTERNAL["cos"]  # measured whatever is minimised: distill.cosine_threshold may end a layer's phase by it


@dataclass(frozen=True)
class Schedule:
    """When a method compares which student layers with those of the teacher that they match.

    name: of the method that compares them by every loss of INTERNAL; title: its name in legends; card: what a student's
    model card says of it; taught: whether the teacher's soft labels are learned; beside: whether the phase of
    classification compares all layers; before: layers 1 … ℓ -> what each phase before that one compares, the layer that
    the phase is about last.
    """

    name: str
    title: str
    card: str
    taught: bool = True
    beside: bool = False
    before: Callable[[Layers], tuple[Layers, ...]] | None = None

    @property
    def internal(self) -> bool:
        """Whether it compares any layers."""
        return self.beside or self.before is not None


SCHEDULES = {
    schedule.name: schedule
    for schedule in (
        Schedule("none", "labels only, no teacher", "trained on labels alone, without the teacher", taught=False),
        Schedule("soft", "standard KD", "the teacher's soft labels beside the labels (standard distillation)"),
        Schedule(
            "all",
            "internal KD, all layers at once",
            "the teacher's soft labels, and its internals in all layers at once",
            beside=True,
        ),
        Schedule(
            "pid",
            "internal KD, progressive",
            "the teacher's internals layer by layer from the lowest, then its soft labels (progressive)",
            before=lambda layers: tuple((layer,) for layer in layers),
        ),
        Schedule(
            "sid",
            "internal KD, stacked",
            "the teacher's internals from the lowest layer up, each beside those below, then soft labels (stacked)",
            before=lambda layers: tuple(layers[:layer] for layer in layers),
        ),
    )
}
# Their last phase follows others, and trains what distill.trains says.
PROGRESSIVE = tuple(schedule.name for schedule in SCHEDULES.values() if schedule.before)


@dataclass(frozen=True)
class Method:
    """A schedule and the names of its internal losses: `sid` has all of INTERNAL, `sid-kl` the attention KL only."""

    schedule: str
    losses: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> "Method":
        schedule, _, only = name.partition("-")
        if not SCHEDULES[schedule].internal:
            return cls(schedule, ())
        return cls(schedule, (only,) if only else tuple(INTERNAL))

    @property
    def taught(self) -> bool:
        """Whether it learns anything from the teacher."""
        return SCHEDULES[self.schedule].taught

    def minimised(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Its internal losses that have a weight. weights: `distill.weights`, where one that is absent has 0."""
        return {name: weights[name] for name in self.losses if weights.get(name)}


def need(losses: Iterable[str], captured: Captured) -> bool:
    """Whether any of these internal losses needs it."""
    return any(INTERNAL[name].needs == captured for name in losses)


def variants(schedules: Iterable[str]) -> tuple[str, ...]:
    """The names of the methods with these schedules: each alone, then with each internal loss, where it has any."""
    return tuple(
        name
        for schedule in schedules
        for name in (schedule, *(f"{schedule}-{loss}" for loss in INTERNAL if SCHEDULES[schedule].internal))
    )


METHODS = variants(SCHEDULES)
