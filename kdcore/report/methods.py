"""How each method is ordered, named and drawn, in every table and picture.

Colour, marker and dash differ at once, so that a figure survives colour blindness and a grey printer. The
colours are close to Okabe and Ito's (2008). A new schedule is an entry of FAMILIES; a new internal loss needs nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kdcore.distil.methods import INTERNAL, SCHEDULES

ORDER = ("teacher", *SCHEDULES)
LOSSES = tuple(INTERNAL)


@dataclass(frozen=True)
class Family:
    """How a schedule, or the teacher, is drawn: hex colours on a light and on a dark page, marker and dash."""

    colour: str
    dark: str
    marker: str
    dash: tuple[float, ...]


@dataclass(frozen=True)
class Look:
    """Colours as hex; marker and dash in matplotlib's words.

    A method of one internal loss keeps its family's colour and marker, on a pale face and with short dashes.
    """

    colour: str
    marker: str
    dash: tuple[float, ...]
    face: str


FAMILIES = {
    "teacher": Family("#222222", "#E8EBEF", "*", (1, 2)),
    "none": Family("#7A7A7A", "#A6ADB5", "v", (1, 1.2)),
    "soft": Family("#D98200", "#F0A63C", "s", (4, 1.6)),
    "all": Family("#009E73", "#2FC79B", "D", (4, 1.2, 1, 1.2)),
    "pid": Family("#56A0D8", "#B9DDF8", "^", (7, 1.5)),
    "sid": Family("#004C8C", "#5AA7F7", "o", ()),
}
VARIANTS = (  # face and dash of the methods of one loss, in the order of INTERNAL
    ("#FFFFFF", (2.4, 0.8)),
    ("#D9D9D9", (1, 0.8)),
    ("#F2E6C9", (3.2, 0.8, 1, 0.8)),
    ("#A8C8B8", (1, 2.2)),
)


def look(method: str) -> Look:
    """The look of a method, e.g. `sid` or `sid-kl`."""
    name, _, loss = method.partition("-")
    family = FAMILIES[name]
    face, dash = VARIANTS[LOSSES.index(loss) % len(VARIANTS)] if loss else (family.colour, family.dash)
    return Look(family.colour, family.marker, dash, face)


def meaning(method: str) -> str:
    """A few words that say what the method is, for legends and axes."""
    name, _, loss = method.partition("-")
    title = "fine-tuned, all layers" if name == "teacher" else SCHEDULES[name].title
    return title + (f", {INTERNAL[loss].title} only" if loss else "")


def ordered(methods: Iterable[str]) -> list[str]:
    """Each method once, in the order of the tables: teacher first, methods of one loss after their family."""

    def rank(method: str) -> tuple[int, int]:
        name, _, loss = method.partition("-")
        return ORDER.index(name), LOSSES.index(loss) + 1 if loss else 0

    return sorted(set(methods), key=rank)


def words(fields: Sequence[str]) -> dict[str, str]:
    """The headers of fields of a point that no axis of a study names."""
    return {field: "last phase trains" if field == "trains" else field.replace("_", " ") for field in fields}
