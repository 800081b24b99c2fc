"""The labels of rows beside those of the classifier that they are for."""

from collections.abc import Callable, Iterable
from typing import Any

from kdcore.data import checks
from kdcore.errors import UserError, shown

MOST = 1000  # labels of a column that are tried: one that has so many others holds no classes


def spelt(labels: tuple[str, ...], cells: Iterable[Any], name: str, column: str) -> tuple[str, ...]:
    """A classifier's labels in its order, spelt as the rows do where only the case differs; none of a regression.

    cells: of the rows' label column, or those that differ. Raises UserError where none of them is a label of the
    classifier, `name`; where some are, whoever prepares the rows names the others.
    """
    found = [*{str(cell): cell for cell in cells if not checks.absent(cell)}.values()]
    own = {str(cell).casefold(): str(cell) for cell in found}
    mine = tuple(own.get(label.casefold(), label) for label in labels)
    if len({*mine}) < len(mine) or len(own) < len({*map(str, found)}):
        mine = labels  # the case tells them apart
    parse: Callable[[Any], float | None] = checks.class_id(mine) if mine else checks.number
    if found and not any(_parses(parse, cell) for cell in found[:MOST]):
        has = f"labels {', '.join(labels)}" if labels else "one output, a number"
        hint = ": give its labels their names in its config.json (id2label and label2id)" if labels else ""
        raise UserError(name, f"has {has}, and the rows' column {column!r} has {shown(found)}{hint}")
    return mine


def _parses(parse: Callable[[Any], Any], cell: Any) -> bool:
    try:
        return parse(cell) is not None
    except ValueError:
        return False
