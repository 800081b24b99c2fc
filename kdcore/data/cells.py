"""One cell of raw data -> a text, a class id or a number, or what is wrong with it."""

import math
import re
from collections.abc import Callable
from typing import Any

from kdcore.errors import near, shown

MOST_BYTES = 1_000_000
EMPTY, CONTROL, OTHER = "empty", "control", "other"
CONTROLS = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")  # not tab, line feed, carriage return
SURROGATES = re.compile(r"[\ud800-\udfff]")


def absent(value: Any) -> bool:
    """Whether there is nothing: null, NaN, or the empty cell of a text file."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def fault(text: Any) -> tuple[str, str] | None:
    """What is wrong with a cell of text, as its kind (EMPTY, CONTROL, OTHER) and a message, or None."""
    if not isinstance(text, str):
        return OTHER, "has no text" if absent(text) else f"must be text, found {shown(text)}"
    if not text.strip():
        return EMPTY, f"must have text, found {shown(text)}"
    if len(text) > MOST_BYTES // 4 and (size := len(text.encode(errors="surrogatepass"))) > MOST_BYTES:
        return OTHER, f"must be at most {MOST_BYTES:,} bytes, found {size:,}"
    if SURROGATES.search(text):
        return OTHER, f"must be valid Unicode, found a lone surrogate in {shown(text)}"
    if "\x00" in text:
        return OTHER, f"must be text, found a NUL character in {shown(text)}"
    control = CONTROLS.search(text)
    if control:
        return CONTROL, f"must not have control characters but tab and line ends, found {control[0]!r}"
    return None


def class_id(names: tuple[str, ...]) -> Callable[[Any], int | None]:
    """cell -> id of a class by its name or id, None for -1; raises ValueError for anything else.

    Where a name looks like a number only names count, as 1 could be either.
    """
    ids = {name: i for i, name in enumerate(names)}
    allowed = ", ".join(names)
    if not any(_numeric(name) for name in names):
        ids |= {str(i): i for i in range(len(names))}
        allowed += f", or an id from 0 to {len(names) - 1}"

    def parse(value: Any) -> int | None:
        for text in _spellings(value):
            if text in ids:
                return ids[text]
            if text == "-1":
                return None
        raise ValueError(f"must be {allowed}, found {shown(value)}{near(value, names)}")

    return parse


def _spellings(value: Any) -> list[str]:
    """1.0 is also '1', as columns with nulls are floats, and True is '1'."""
    whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return [str(value), str(int(value))] if whole else [str(value)]


def _numeric(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def number(value: Any) -> float:
    """A finite number; raises ValueError for anything else."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"must be a finite number, found {shown(value)}")
    return found


def hidden(values: list[Any]) -> bool:
    """Whether a regression's labels are all -1, which is how GLUE hides those of its test sets."""
    return bool(values) and all(value in (-1, "-1", "-1.0") for value in values)
