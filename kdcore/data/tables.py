"""Files of rows -> one table per split, under our column names.

A file that is not what its name says is a UserError when its table is made; what the cells hold is checked later, block
by block.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdcore.artefacts import LFS, state
from kdcore.data.cells import PIECE, Cells, File, Part, packed, readable, unpacked
from kdcore.data.formats import OTHERS, READERS
from kdcore.data.tasks import Layout
from kdcore.errors import UserError, collected, near, shown


@dataclass(frozen=True)
class Block:
    """Some rows of one file.

    columns: our column names -> cells as Python objects; rows: their positions in the source; file: its name in
    messages; before: rows of the files before it; lines: where each row of a text file begins, else None.
    """

    columns: Mapping[str, list[Any]]
    rows: Sequence[int]
    file: str
    before: int = 0
    lines: Sequence[int] | None = None

    def place(self, i: int, column: str) -> str:
        """Where a cell is, as people count: data rows and lines from 1."""
        line = f" (line {self.lines[i]})" if self.lines else ""
        return f"{self.file}: row {self.rows[i] - self.before + 1}{line}, column {column}"

    def take(self, places: Sequence[int]) -> "Block":
        columns = {name: [cells[i] for i in places] for name, cells in self.columns.items()}
        lines = [self.lines[i] for i in places] if self.lines else None
        return replace(self, columns=columns, rows=[self.rows[i] for i in places], lines=lines)


@dataclass(frozen=True)
class Table:
    """The rows of one split.

    blocks: reads them, from the first one, whenever it is called; count: how many there are; file: its name in
    messages; sha256: of the file, or of several one after the other; cut: rows of GLUE's that end too early.
    """

    blocks: Callable[[], Iterator[Block]]
    count: int
    file: str
    sha256: str | None = None
    cut: int = 0

    @classmethod
    def of(cls, frame: pd.DataFrame, file: str) -> "Table":
        """A table of rows that are in memory; the index has their positions in the source."""
        block = Block({str(name): frame[name].tolist() for name in frame}, frame.index.tolist(), file)
        return cls(lambda: iter([block]), len(frame), file)

    @property
    def frame(self) -> pd.DataFrame:
        """All rows in memory; the index has their positions in the source."""
        parts = [pd.DataFrame({**block.columns}, list(block.rows), dtype=object) for block in self.blocks()]
        return pd.concat(parts)

    def take(self, chosen: np.ndarray) -> "Table":
        """The rows for which `chosen` (count,) is true; each still knows its place in the source."""

        def blocks() -> Iterator[Block]:
            at = 0
            for block in self.blocks():
                yield block.take(np.flatnonzero(chosen[at : at + len(block.rows)]).tolist())
                at += len(block.rows)

        return replace(self, blocks=blocks, count=int(chosen.sum()))


@dataclass(frozen=True)
class Raw:
    """tables: our split name -> rows; where: the source in messages; origin: facts for provenance.json."""

    tables: dict[str, Table]
    where: str
    origin: dict[str, Any]


def read(
    files: Sequence[File],
    columns: Mapping[str, str],
    optional: Collection[str] = (),
    kind: str = "",
    layout: Layout | None = None,
) -> Table:
    """The columns (ours -> the files') of one split, in one file or several; an optional one that is absent is None.

    kind: of READERS, where a file's name does not end in it; layout: of GLUE's own files. Raises UserError with every
    ragged row, or every missing or repeated column, of a file at once.
    """
    whole, parts, count, cut = sha256(), list[Callable[[], Iterator[Block]]](), 0, 0
    for file in files:
        with readable(file.name):
            before, as_it_was = whole.copy(), _state(file)
            _hash(file, whole)
            seen = _Seen(file, as_it_was, before, whole.digest())
        cells = (READERS | OTHERS)[kind or packed(file.name)[0]](partial(unpacked, file), file.name, layout)
        chosen = select(cells.header, columns, optional, file.name, layout)
        rows = cells.look(used(chosen))
        parts.append(partial(_blocks, seen, cells, chosen, count, rows))
        count += rows
        cut += cells.cut
    name = files[0].name if len(files) == 1 else f"{files[0].name} to {files[-1].name}"
    return Table(lambda: chain.from_iterable(part() for part in parts), count, name, whole.hexdigest(), cut)


@dataclass(frozen=True)
class _Seen:
    """A file as it was when it was hashed.

    state: its size and times; before, after: the hash of all files before it, and the digest with it.
    """

    file: File
    state: list[int]
    before: Any
    after: bytes

    def changed(self) -> bool:
        """Whether its content is another now. Times alone change by a new link to it, by its permissions, and where a
        server has a clock of its own."""
        try:
            if _state(self.file) == self.state:
                return False
            again = self.before.copy()
            _hash(self.file, again)
        except Exception:  # it is gone, or a folder by now, or the zip around it is no zip any more
            return True
        return bool(again.digest() != self.after)


def _blocks(seen: _Seen, cells: Cells, chosen: Mapping[str, str | None], before: int, count: int) -> Iterator[Block]:
    at, none = before, Part(0, {name: [] for name in cells.header})
    try:
        for part in chain([none], cells.parts(used(chosen))):
            yield Block(
                under_our_names(chosen, part.columns, part.count),
                range(at, at + part.count),
                seen.file.name,
                before,
                part.lines,
            )
            at += part.count
    except Exception:
        if not seen.changed():
            raise
    # One that is written anew, if with the same bytes, is cut short meanwhile.
    if at - before != count or seen.changed():
        raise UserError(seen.file.name, "was changed while it was read; run this again")


def _state(file: File) -> list[int]:
    """What says whether a file is the one that it was; of one in a zip, the zip's."""
    return state(file if isinstance(file, Path) else Path(file.root.filename))  # type: ignore[attr-defined]


def _hash(file: File, whole: Any) -> None:
    """Add a file to a hash. Raises UserError where Git LFS has something else in its place."""
    with file.open("rb") as raw:
        start = raw.read(PIECE)
        if start.startswith(LFS):
            raise UserError(file.name, "is a Git LFS pointer; run `git lfs pull` where it lies")
        for piece in chain([start], iter(lambda: raw.read(PIECE), b"")):
            whole.update(piece)


def by_split(
    where: str,
    splits: Mapping[str, Sequence[str]],
    needed: Collection[str],
    table: Callable[[str, Sequence[str]], Table | None],
    there: Callable[[], Iterable[str]],
    kinds: Collection[str] = (),
) -> dict[str, Table]:
    """Our split -> its rows, where the source has it.

    where: the source in messages; splits: ours -> the names that each may have there; needed: splits that it must have;
    table(split, names): its rows or None; there: the names of all that it has; kinds: of files that it may have. Raises
    UserError with every problem.
    """
    found: dict[str, Table] = {}
    with collected(where) as part:
        for split, names in splits.items():
            with part():
                if (rows := table(split, names)) is not None:
                    found[split] = rows
                elif split in needed:
                    share = ", data.validation_share takes a share of train" if split == "validation" else ""
                    has = ", ".join(sorted(there())[:20]) or "nothing"
                    form = f" ({', '.join(kinds)})" if kinds else ""
                    raise UserError(names[0], f"not found{form}, has {has}; data.splits names another{share}")
    return found


def select(
    header: Sequence[str],
    columns: Mapping[str, str],
    optional: Collection[str],
    file: str,
    layout: Layout | None = None,
) -> dict[str, str | None]:
    """Our column -> the file's, None where it may lack it and does; raises UserError where one is missing or is there
    twice."""
    problems, chosen = [], dict[str, str | None]()
    for ours, theirs in columns.items():
        own = layout.columns.get(ours, theirs) if layout and ours == theirs else theirs
        name = theirs if theirs in header or own not in header else own
        chosen[ours] = name if name in header else None
        if name not in header and ours not in optional:
            named = "" if ours == theirs else f" (data.columns.{ours})"
            hint = near(name, header) or f", has {shown(list(header))}"
            problems.append(f"has no column {shown(name)}{named}{hint}")
        elif header.count(name) > 1:
            problems.append(f"column {shown(name)} is there {header.count(name)} times, must be once")
    if problems:
        raise UserError(file, problems)
    return chosen


def used(chosen: Mapping[str, str | None]) -> list[str]:
    """The columns of a file that are chosen, each once."""
    return list(dict.fromkeys(name for name in chosen.values() if name is not None))


def under_our_names(
    chosen: Mapping[str, str | None], cells: Mapping[str, list[Any]], rows: int
) -> dict[str, list[Any]]:
    return {ours: [None] * rows if name is None else cells[name] for ours, name in chosen.items()}
