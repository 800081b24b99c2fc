"""How each method is ordered, named and drawn, in every table and picture.

Colour, marker and dash differ at once, so that a figure survives colour blindness and a grey printer. The
colours are close to Okabe and Ito's (2008).
"""

from collections.abc import Iterable
from dataclasses import dataclass

ORDER = ("teacher", "none", "soft", "all", "pid", "sid")
VARIANTS = ("", "kl", "cos")


@dataclass(frozen=True)
class Look:
    """Colours as hex; marker and dash in matplotlib's words.

    A variant keeps its family's colour and marker, on a pale face and with short dashes.
    """

    colour: str
    marker: str
    dash: tuple[float, ...]
    face: str


_FAMILIES: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "teacher": ("#222222", "*", (1, 2)),
    "none": ("#7A7A7A", "v", (1, 1.2)),
    "soft": ("#D98200", "s", (4, 1.6)),
    "all": ("#009E73", "D", (4, 1.2, 1, 1.2)),
    "pid": ("#56A0D8", "^", (7, 1.5)),
    "sid": ("#004C8C", "o", ()),
}
_VARIANTS: dict[str, tuple[str, tuple[float, ...]]] = {
    "kl": ("#FFFFFF", (2.4, 0.8)),
    "cos": ("#D9D9D9", (1, 0.8)),
}


def look(method: str) -> Look:
    """The look of a method, e.g. `sid` or `sid-kl`."""
    family, _, variant = method.partition("-")
    colour, marker, dash = _FAMILIES[family]
    if not variant:
        return Look(colour, marker, dash, face=colour)
    face, dash = _VARIANTS[variant]
    return Look(colour, marker, dash, face)


def ordered(methods: Iterable[str]) -> list[str]:
    """Each method once, in the order of the tables: teacher first, variants after their family."""
    return sorted(set(methods), key=_rank)


def _rank(method: str) -> tuple[int, int]:
    family, _, variant = method.partition("-")
    return ORDER.index(family), VARIANTS.index(variant)


_MEANINGS = {
    "teacher": "fine-tuned, all layers",
    "none": "labels only, no teacher",
    "soft": "standard KD",
    "all": "internal KD, all layers at once",
    "pid": "internal KD, progressive",
    "sid": "internal KD, stacked",
}
_ONLY = {"": "", "kl": ", attention KL only", "cos": ", [CLS] cosine only"}


def meaning(method: str) -> str:
    """A few words that say what the method is, for legends and axes."""
    family, _, variant = method.partition("-")
    return _MEANINGS[family] + _ONLY[variant]
