"""Files of rows -> one table per split, under our column names. Formats: parquet, csv, tsv, jsonl, `datasets`' arrow;
each may be packed (`.csv.gz`).

A file that is not what its name says is a UserError with every bad row; what the cells hold is checked later.
"""

import csv
import json
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kdcore.artefacts import LFS
from kdcore.console import count_of
from kdcore.data.tasks import Layout
from kdcore.errors import UserError, collected, near, one_line, shown


@dataclass(frozen=True)
class Table:
    """The rows of one split.

    frame: our column names, cells as Python objects, the index is the row's position in the source; file: its name
    in messages; lines: where each row of a text file begins, else None; sha256: of the file, or of several one after
    the other; shards: (first row, name) of each of several files; cut: rows of GLUE's that end too early.
    """

    frame: pd.DataFrame
    file: str
    lines: Sequence[int] | None = None
    sha256: str | None = None
    shards: tuple[tuple[int, str], ...] = ()
    cut: int = 0

    def place(self, i: int, column: str) -> str:
        """Where a cell is, as people count: data rows and lines from 1."""
        row, file = int(self.frame.index[i]), self.file
        if self.shards:
            first, file = self.shards[bisect_right(self.shards, row, key=lambda shard: shard[0]) - 1]
            row -= first
        line = f" (line {self.lines[i]})" if self.lines else ""
        return f"{file}: row {row + 1}{line}, column {column}"

    def take(self, rows: Sequence[int]) -> "Table":
        """The rows at these places, in that order; each still knows its place in the source."""
        lines = [self.lines[row] for row in rows] if self.lines else None
        return Table(self.frame.iloc[list(rows)], self.file, lines, self.sha256, self.shards, self.cut)


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


class File(Protocol):
    """A file on the disk or in a zip: pathlib.Path or zipfile.Path."""

    @property
    def name(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    def read_bytes(self) -> bytes: ...


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
    whole, parts = sha256(), []
    for file in files:
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise UserError(file.name, f"cannot be read: {error.strerror or error}") from error
        if raw.startswith(LFS):
            raise UserError(file.name, "is a Git LFS pointer; run `git lfs pull` where it lies")
        whole.update(raw)
        own, raw = unpacked(file.name, raw)
        cells = (READERS | OTHERS)[kind or own](raw, file.name, layout)
        parts.append((cells, select(cells.header, cells.columns, columns, optional, file.name, layout)))
    lines = _numbers(chain.from_iterable(cells.lines or () for cells, _ in parts))
    firsts = [0, *accumulate(len(frame) for _, frame in parts)]
    name = files[0].name if len(files) == 1 else f"{files[0].name} to {files[-1].name}"
    return Table(
        pd.concat([frame for _, frame in parts], ignore_index=True),
        name,
        lines if parts[0][0].lines is not None else None,
        whole.hexdigest(),
        tuple(zip(firsts, (file.name for file in files), strict=False)) if len(files) > 1 else (),
        sum(cells.cut for cells, _ in parts),
    )


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
    cells: Mapping[str, list[Any]],
    columns: Mapping[str, str],
    optional: Collection[str],
    file: str,
    layout: Layout | None = None,
) -> pd.DataFrame:
    """The columns under our names; raises UserError where one is missing or is there twice."""
    problems, chosen = [], {}
    for ours, theirs in columns.items():
        own = layout.columns.get(ours, theirs) if layout and ours == theirs else theirs
        name = theirs if theirs in header or own not in header else own
        chosen[ours] = name
        if name not in header and ours not in optional:
            named = "" if ours == theirs else f" (data.columns.{ours})"
            hint = near(name, header) or f", has {shown(list(header))}"
            problems.append(f"has no column {shown(name)}{named}{hint}")
        elif header.count(name) > 1:
            problems.append(f"column {shown(name)} is there {header.count(name)} times, must be once")
    if problems:
        raise UserError(file, problems)
    given = {ours: cells[name] for ours, name in chosen.items() if name in cells}
    absent = [None] * len(next(iter(given.values())))
    return pd.DataFrame({ours: pd.Series(given.get(ours, absent), dtype=object) for ours in chosen})


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


def unpacked(name: str, raw: bytes) -> tuple[str, bytes]:
    """The ending of a file's name that says its format, and what the file holds once it is unpacked.

    Raises UserError where it is not packed as its name says.
    """
    stem, _, packing = name.rpartition(".")
    if packing not in PACKINGS:
        return packing, raw
    try:
        return stem.rpartition(".")[2], pa.input_stream(pa.BufferReader(raw), compression=PACKINGS[packing]).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(name, f"cannot be unpacked: {one_line(error, 200)}") from error


def parted(name: str) -> tuple[str, str]:
    """A file's name without the ending that says its format, and that ending (`csv.gz`), empty where there is none."""
    return next(((name.removesuffix(f".{end}"), end) for end in ENDINGS if name.endswith(f".{end}")), (name, ""))


def check_ending(path: Path) -> None:
    """Raises UserError where the name of a file that the user names says no format."""
    if not parted(path.name)[1]:
        packed = f", also packed ({', '.join(f'.{packing}' for packing in PACKINGS)})"
        raise UserError(str(path), f"must end in {' | '.join(f'.{kind}' for kind in READERS)}{packed}")


def own_file(path: Path) -> tuple[str, bytes]:
    """As `unpacked`, of a file that the user names. Raises UserError where it is of no format, or cannot be read."""
    check_ending(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror or error}") from error
    return unpacked(path.name, raw)


# The formats: the bytes of one file -> its cells.


@dataclass(frozen=True)
class Cells:
    """header: the columns' names as they are; columns: name -> cells; lines: where rows begin; cut: as in Table."""

    header: list[str]
    columns: Mapping[str, list[Any]]
    lines: Sequence[int] | None
    cut: int = 0


class Known(dict[str, str]):
    """Text -> itself, so that of one that repeats, as a label does, one is in memory; the first so many are known."""

    def __missing__(self, text: str) -> str:
        if len(self) < 1000:
            self[text] = text
        return text


def _numbers(values: Iterable[int] = ()) -> "array[int]":
    """As a list, at eight bytes each."""
    return array("q", values)


@dataclass(frozen=True, eq=False)
class ArrowColumns(Mapping[str, list[Any]]):
    """The columns of an arrow table, turned into Python objects one by one: most are asked for by nobody, may be large
    (embeddings), or hold what Python has no object for (dates beyond the year 9999)."""

    table: pa.Table
    file: str
    classes: Mapping[str, list[str]]

    def __getitem__(self, name: str) -> list[Any]:
        try:
            cells, known = self.table.column(self.table.column_names.index(name)).to_pylist(), Known()
        except Exception as error:  # pyarrow raises anything over a cell that is no Python object
            raise UserError(self.file, f"column {shown(name)} cannot be read: {one_line(error, 200)}") from error
        cells = [known[cell] if isinstance(cell, str) else cell for cell in cells]
        return by_name(cells, self.classes.get(name))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self.table.column_names))

    def __len__(self) -> int:
        return len(set(self.table.column_names))


def parquet(raw: bytes, file: str, layout: Layout | None = None) -> Cells:
    try:
        return _arrow_cells(pq.ParquetFile(pa.BufferReader(raw)).read(), file)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        raise UserError(file, f"is not a readable parquet file: {one_line(error, 200)}") from error


def arrow(raw: bytes, file: str, layout: Layout | None = None) -> Cells:
    """What `save_to_disk` of `datasets` writes."""
    try:
        return _arrow_cells(pa.ipc.open_stream(pa.BufferReader(raw)).read_all(), file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(file, f"is not a readable arrow file: {one_line(error, 200)}") from error


def _arrow_cells(table: pa.Table, file: str) -> Cells:
    return Cells(table.column_names, ArrowColumns(table, file, class_names(table.schema.metadata)), None)


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Column -> the names of its ids: `datasets` writes those of a ClassLabel into the schema of a file.

    Raises ValueError where what it wrote there is broken.
    """
    written = (metadata or {}).get(b"huggingface")
    if written is None:
        return {}
    try:
        features = json.loads(written)["info"]["features"].items()
        classes = {
            name: kind for name, kind in features if isinstance(kind, dict) and kind.get("_type") == "ClassLabel"
        }
        return {name: _in_order(kind["names"]) for name, kind in classes.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its schema does not say what the ids of a ClassLabel mean ({error!r})") from error


def _in_order(names: Any) -> list[str]:
    """The names of the ids 0, 1, …; a data set's card maps each id to its name."""
    if isinstance(names, dict):
        by_id = {int(index): name for index, name in names.items()}
        names = [by_id[index] for index in range(len(by_id))]
    if not isinstance(names, list):
        raise TypeError(f"names are {names!r}")
    return [str(name) for name in names]


def comma_separated(raw: bytes, file: str, layout: Layout | None = None) -> Cells:
    """With quotes as in RFC 4180."""
    text = _text(raw, file)
    _check_separator(text, ",", file)
    try:
        records, lines = _quoted(text, ",")
    except csv.Error as error:
        line, problem = error.args
        raise UserError(file, f"line {line}: the quotes of this row are not as in CSV: {problem}") from error
    del text  # its cells are in memory now
    return _square(records, lines, file, None)


def tab_separated(raw: bytes, file: str, layout: Layout | None = None) -> Cells:
    """Without quotes, as GLUE's; with quotes where the file was plainly written with them, as by pandas."""
    text = _text(raw, file)
    _check_separator(text, "\t", file)
    texts, known = (line.removesuffix("\r") for line in _lines(text)), Known()
    plain: list[Record] = [tuple(map(known.__getitem__, line.split("\t"))) if line else () for line in texts]
    try:
        quoted, lines = _quoted(text, "\t") if '"' in text else ([], [])
    except csv.Error:
        quoted, lines = [], []
    del text, texts  # its cells are in memory now
    if _is_square(quoted) and (not _is_square(plain) or _needs_quotes(plain, quoted)):
        return _square(quoted, lines, file, None)
    return _square(plain, range(1, len(plain) + 1), file, layout)


def _lines(text: str) -> Iterator[str]:
    """One by one, as str.split would have all in memory; `\\n` alone ends one, and is no part of it."""
    return (line[0].removesuffix("\n") for line in re.finditer(r"[^\n]*\n|[^\n]+", text))


Record: TypeAlias = Sequence[str]
LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # with their ends; io.StringIO would take four bytes a letter


def _quoted(text: str, separator: str) -> tuple[list[Record], Sequence[int]]:
    """Records, and the line where each begins. Raises csv.Error with the line of a record whose quotes are wrong."""
    csv.field_size_limit(2**31 - 1)  # the size of a cell is checked with its row and column in the message
    reader = csv.reader((line[0] for line in LINES.finditer(text)), delimiter=separator, strict=True)
    records: list[Record] = []
    lines, line, known = _numbers(), 1, Known()
    try:
        for record in reader:
            records.append(tuple(map(known.__getitem__, record)))
            lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(line, error) from error
    return records, lines


def _is_square(records: Sequence[Record]) -> bool:
    while records and not records[-1]:
        records = records[:-1]
    return bool(records) and all(len(record) == len(records[0]) for record in records)


def _needs_quotes(plain: Sequence[Record], quoted: Sequence[Record]) -> bool:
    """Whether rows that can be read either way were written with quotes: all of the header's cells have them, or one
    cell's own quotes are doubled. A cell that is merely quoted is no proof: texts quote others."""
    rows, header = [row for row in plain if row], plain[0]
    if len(rows) != len([row for row in quoted if row]):
        return False
    cells = (cell[1:-1] for row in rows for cell in row if len(cell) > 2 and cell[0] == cell[-1] == '"')
    return all(len(cell) > 2 and cell[0] == cell[-1] == '"' for cell in header) or any('""' in cell for cell in cells)


SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def _check_separator(text: str, expected: str, file: str) -> None:
    """Raises UserError where the first line is one cell, and would be several with another separator."""
    first = text[:10_000].partition("\n")[0].removesuffix("\r")
    try:
        widths = {separator: len(next(csv.reader([first], delimiter=separator), [])) for separator in SEPARATORS}
    except csv.Error:
        return
    widest = max(widths, key=widths.__getitem__)
    if widths[expected] == 1 and widths[widest] > 1:
        kind = {",": "csv", "\t": "tsv"}
        ends = f", or name it .{kind[widest]}" if widest in kind else ""
        problem = f"its cells are separated by {SEPARATORS[widest]}, must be by {SEPARATORS[expected]}"
        raise UserError(file, f"line 1: {problem} in a .{kind[expected]} file; save it with those{ends}")


def _square(records: list[Record], lines: Sequence[int], file: str, layout: Layout | None) -> Cells:
    """Records as long as the first one, the header; blank lines at the end are not rows.

    Some rows of GLUE's own files end too early; they are left out, as in everyone's GLUE, and counted.
    """
    while records and not records[-1]:
        records.pop()
    if not records or not records[0]:
        raise UserError(file, "line 1: is blank, must name the columns")
    if layout and len(records[0]) == len(layout.bare) and not set(layout.bare) & set(records[0]):
        records, lines = [list(layout.bare), *records], [0, *lines]
    header = list(records[0])
    whole = _numbers(i for i in range(1, len(records)) if not layout or len(records[i]) >= len(header))
    ragged = [
        f"row {row} (line {lines[i]}): has {count_of(len(records[i]), 'cell')}, must have {len(header)} as the header "
        "has"
        for row, i in enumerate(whole, 1)
        if len(records[i]) != len(header)
    ]
    if ragged:
        raise UserError(file, ragged)
    columns = {name: [records[i][column] for i in whole] for column, name in enumerate(header)}
    return Cells(header, columns, _numbers(lines[i] for i in whole), len(records) - 1 - len(whole))


def json_lines(raw: bytes, file: str, layout: Layout | None = None) -> Cells:
    """One object per line, or one list of objects; a key that a row has not got is null there."""
    rows: list[dict[str, Any]] = []
    lines, problems, known = _numbers(), [], Known()
    whole = _text(raw, file)
    if whole.lstrip().startswith("["):
        return _json_list(whole, file)
    for line, text in enumerate(_lines(whole), 1):
        try:
            if text.strip():
                rows.append(_object(text, known))
                lines.append(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"line {line}: must be one JSON object, found {shown(text)}: {str(error)[:200]}")
    if problems:
        raise UserError(file, problems)
    del whole  # its cells are in memory now
    return _objects(rows, lines)


def _json_list(text: str, file: str) -> Cells:
    try:
        rows = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise UserError(file, f"is not JSON: {str(error)[:200]}") from error
    if wrong := [place for place, row in enumerate(rows, 1) if not isinstance(row, dict)]:
        raise UserError(file, f"row {wrong[0]}: must be one JSON object, found {shown(rows[wrong[0] - 1])}")
    return _objects(rows, None)


def _objects(rows: list[dict[str, Any]], lines: Sequence[int] | None) -> Cells:
    header = list(dict.fromkeys(name for row in rows for name in row))
    return Cells(header, {name: [row.get(name) for row in rows] for name in header}, lines)


def _object(text: str, known: Known) -> dict[str, Any]:
    row = _parsed(text)
    if not isinstance(row, dict):
        raise ValueError("it is something else")
    return {known[name]: known[cell] if isinstance(cell, str) else cell for name, cell in row.items()}


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once, parse_constant=_refused)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError(f"a key is there twice in {shown([name for name, _ in pairs])}")
    return row


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


OTHER_FILES = {  # the first bytes of files that are no text -> what they are
    b"\x1f\x8b": "is packed by gzip; add .gz to its name",
    b"PK\x03\x04": "is a zip, as a spreadsheet is (.xlsx); save its rows as csv",
    b"PAR1": "is a parquet file; name it .parquet",
    b"ARROW1": "is an arrow file; save its rows as parquet",
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
}


def _text(raw: bytes, file: str) -> str:
    if known := [what for first, what in OTHER_FILES.items() if raw.startswith(first)]:
        raise UserError(file, known[0])
    try:
        text = raw.decode("utf-8-sig")
        return text if "\n" in text else text.replace("\r", "\n")  # the line ends of old Macs
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = f"found byte 0x{raw[error.start]:02x}"
        raise UserError(file, f"line {line}: is not UTF-8, {byte}; save the file as UTF-8") from error


READERS: dict[str, Callable[[bytes, str, Layout | None], Cells]] = {
    "parquet": parquet,
    "csv": comma_separated,
    "tsv": tab_separated,
    "jsonl": json_lines,
    "json": json_lines,
}
OTHERS = {"arrow": arrow, "txt": tab_separated}  # of files that only `save_to_disk` and GLUE's sources name so
PACKINGS = {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}  # ending -> pyarrow's name
ENDINGS = (*READERS, *(f"{kind}.{packing}" for kind in READERS for packing in PACKINGS))
