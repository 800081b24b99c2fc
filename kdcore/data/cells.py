"""Files of rows, packed or not, and what was read of them: their cells, part by part."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any, Protocol, TypeAlias

import pyarrow as pa

from kdcore.errors import UserError, one_line

PACKINGS = {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}  # ending -> pyarrow's name
BLOCK = 2**10  # rows whose cells are in memory at once: more take memory, and longer
PIECE = 2**18  # bytes, or letters, that are read at once


class File(Protocol):
    """A file on the disk or in a zip: pathlib.Path or zipfile.Path."""

    @property
    def name(self) -> str: ...
    def open(self, mode: str) -> Any: ...


def packed(name: str) -> tuple[str, str | None]:
    """The ending of a file's name that says its format, and pyarrow's name for how it is packed."""
    stem, _, ending = name.rpartition(".")
    return (stem.rpartition(".")[2], PACKINGS[ending]) if ending in PACKINGS else (ending, None)


def unpacked(file: File) -> IO[bytes]:
    """What is in a file, from its beginning."""
    packing, raw = packed(file.name)[1], file.open("rb")
    return pa.input_stream(raw, compression=packing) if packing else raw


@contextmanager
def readable(file: str) -> Iterator[None]:
    """Raises UserError in the place of an error of the disk, or of what unpacks a file of that name."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        said = getattr(error, "strerror", None)
        if packed(file)[1] and not said:
            raise UserError(file, f"cannot be unpacked: {one_line(error, 200)}") from error
        raise UserError(file, f"cannot be read: {said or error}") from error


Open: TypeAlias = Callable[[], IO[bytes]]  # of what is in a file, unpacked, from its beginning


@dataclass(frozen=True)
class Part:
    """Some rows that follow one another. columns: name -> cells; lines: where rows begin, in a text file."""

    count: int
    columns: Mapping[str, list[Any]]
    lines: Sequence[int] | None = None


@dataclass(frozen=True)
class Cells:
    """A file that was read to its end once.

    header: the columns' names as they are; parts: reads these columns of all rows; count: the rows, None where the
    cells were not looked at; cut: as in Table.
    """

    header: list[str]
    parts: Callable[[Sequence[str]], Iterator[Part]]
    count: int | None
    cut: int = 0

    def look(self, columns: Sequence[str]) -> int:
        """How many rows there are. Raises UserError where one of these columns can't be read."""
        return sum(part.count for part in self.parts(columns)) if self.count is None else self.count

    def column(self, name: str) -> Iterator[Any]:
        """The cells of one column."""
        return chain.from_iterable(part.columns[name] for part in self.parts([name]))


def by_name(values: list[Any], names: Sequence[str] | None) -> list[Any]:
    """Ids as the names that the data set itself gives them, so that another order of labels cannot go unnoticed."""
    if not names:
        return values

    def name(value: Any) -> Any:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if not whole or value == -1:
            return value
        return names[int(value)] if 0 <= value < len(names) else f"{value}, an id without a name among {list(names)}"

    return [name(value) for value in values]
