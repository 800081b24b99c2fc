"""Which columns of a file hold texts, where nobody says."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdcore.data import checks


def text_columns(columns: Mapping[str, Sequence[Any]], label: str) -> tuple[str, ...]:
    """The columns that hold texts, not numbers only, and are not the label."""
    return tuple(name for name, cells in columns.items() if name != label and _holds_texts(cells))


def _holds_texts(cells: Sequence[Any]) -> bool:
    there = [cell for cell in cells if not checks.absent(cell)]
    return all(isinstance(cell, str) for cell in there) and not all(_is_number(cell) for cell in there)


def _is_number(cell: str) -> bool:
    try:
        checks.number(cell)
    except ValueError:
        return False
    return True
