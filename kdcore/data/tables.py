"""Raw rows as they were found: one table per split, under our column names, and where they come from."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from kdcore.data.formats import READERS
from kdcore.errors import UserError, near, shown


@dataclass(frozen=True)
class Table:
    """The rows of one split.

    frame: our column names, cells as Python objects, the index is the row's position in the source;
    file: its name in messages; lines: where each row of a text file begins, else None; sha256: of the file.
    """

    frame: pd.DataFrame
    file: str
    lines: list[int] | None = None
    sha256: str | None = None

    def place(self, i: int, column: str) -> str:
        """Where a cell is, as people count: data rows and lines from 1."""
        line = f" (line {self.lines[i]})" if self.lines else ""
        return f"{self.file}: row {self.frame.index[i] + 1}{line}, column {column}"


@dataclass(frozen=True)
class Raw:
    """tables: our split name -> rows; where: the source in messages; origin: facts for provenance.json."""

    tables: dict[str, Table]
    where: str
    origin: dict[str, Any]

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """Our split name -> frame with the task's own column names."""
        return {split: table.frame for split, table in self.tables.items()}


def read(path: Path, columns: Mapping[str, str], optional: Collection[str] = (), kind: str = "") -> Table:
    """The columns (ours -> the file's) of one file; an optional one that is absent reads as None.

    kind: parquet, csv, tsv or jsonl where the file's name does not end in it. Raises UserError with every
    ragged row, or every missing or repeated column, at once.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(path.name, f"cannot be read: {error.strerror or error}") from error
    cells = READERS[kind or path.suffix[1:]](raw, path.name)
    frame = select(cells.header, cells.columns, columns, optional, path.name)
    return Table(frame, path.name, cells.lines, sha256(raw).hexdigest())


def select(
    header: list[str],
    found: Mapping[str, list[Any]],
    columns: Mapping[str, str],
    optional: Collection[str],
    file: str,
) -> pd.DataFrame:
    """The columns under our names; raises UserError where one is missing or is there twice."""
    twice = sorted({name for name in header if header.count(name) > 1})
    problems = [f"column {shown(name)} is there {header.count(name)} times, must be once" for name in twice]
    for ours, theirs in columns.items():
        if theirs not in header and ours not in optional:
            named = "" if ours == theirs else f" (data.columns.{ours})"
            hint = near(theirs, header) or f", has {shown(header)}"
            problems.append(f"has no column {shown(theirs)}{named}{hint}")
    if problems:
        raise UserError(file, problems)
    rows = len(next(iter(found.values()), []))
    cells = {ours: found.get(theirs, [None] * rows) for ours, theirs in columns.items()}
    return pd.DataFrame({ours: pd.Series(values, dtype=object) for ours, values in cells.items()})
