"""The formats of files of rows: parquet, csv, tsv, jsonl, `datasets`' arrow; each may be packed (`.csv.gz`).

A file is read once to its end when it is opened: one that is not what its name says is a UserError with every bad row.
After that its cells are read part by part, as often as they are asked for.
"""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from kdcore.console import count_of
from kdcore.data.tasks import Layout
from kdcore.errors import UserError, one_line, shown

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


def parted(name: str) -> tuple[str, str]:
    """A file's name without the ending that says its format, and that ending (`csv.gz`), empty where there is none."""
    return next(((name.removesuffix(f".{end}"), end) for end in ENDINGS if name.endswith(f".{end}")), (name, ""))


def check_ending(path: Path) -> None:
    """Raises UserError where the name of a file that the user names says no format."""
    if not parted(path.name)[1]:
        packed = f", also packed ({', '.join(f'.{packing}' for packing in PACKINGS)})"
        raise UserError(str(path), f"must end in {' | '.join(f'.{kind}' for kind in READERS)}{packed}")


def own_file(path: Path) -> tuple[str, bytes]:
    """The format of a file that the user names, and what is in it. Raises UserError where it is of none, or cannot be
    read."""
    check_ending(path)
    with readable(str(path)), unpacked(path) as raw:
        return packed(path.name)[0], raw.read()


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

    @property
    def columns(self) -> Mapping[str, list[Any]]:
        """The cells of all rows, in memory."""
        return Columns(self)


@dataclass(frozen=True, eq=False)
class Columns(Mapping[str, list[Any]]):
    """The columns of a file. Those of text are read together, others one by one when they are asked for: most are by
    nobody, may be large (embeddings), or hold what Python has no object for (dates beyond the year 9999)."""

    cells: Cells
    known: dict[str, list[Any]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.known and name in self.cells.header:
            wanted = [name] if self.cells.count is None else self.cells.header
            parts = [*self.cells.parts(wanted)]
            self.known.update({one: [*chain.from_iterable(part.columns[one] for part in parts)] for one in wanted})
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self.cells.header))

    def __len__(self) -> int:
        return len(set(self.cells.header))


def cells_of(kind: str, raw: bytes, file: str) -> Cells:
    """What is in a file that is in memory, unpacked."""
    return READERS[kind](lambda: io.BytesIO(raw), file, None)


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


# Arrow's: the schema of a file, and a function that reads batches of these columns.
Batches: TypeAlias = tuple[pa.Schema, Callable[[Sequence[str]], Iterator[pa.RecordBatch]]]


def parquet(unpacked: Open, file: str, layout: Layout | None = None) -> Cells:
    @contextmanager
    def opened() -> Iterator[Batches]:
        with unpacked() as raw:
            with readable(file):  # what is packed can only be read from its beginning, and goes into memory
                source = raw if raw.seekable() else pa.BufferReader(raw.read())
            whole = pq.ParquetFile(source, buffer_size=PIECE)
            groups = range(whole.num_row_groups)  # one by one, as it reads others ahead
            read = partial(whole.iter_batches, BLOCK)
            yield whole.schema_arrow, lambda names: chain.from_iterable(read([group], names) for group in groups)

    return _arrow_cells(opened, "parquet", file)


def arrow(unpacked: Open, file: str, layout: Layout | None = None) -> Cells:
    """What `save_to_disk` of `datasets` writes."""

    @contextmanager
    def opened() -> Iterator[Batches]:
        with unpacked() as raw:
            whole = pa.ipc.open_stream(raw)
            parts = (batch.slice(at, BLOCK) for batch in whole for at in range(0, len(batch), BLOCK))
            yield whole.schema, lambda names: parts

    return _arrow_cells(opened, "arrow", file)


def _arrow_cells(opened: Callable[[], AbstractContextManager[Batches]], kind: str, file: str) -> Cells:
    @contextmanager
    def found() -> Iterator[Batches]:
        try:
            with opened() as batches:
                yield batches
        except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
            raise UserError(file, f"is not a readable {kind} file: {one_line(error, 200)}") from error

    def cells(batch: pa.RecordBatch, name: str) -> list[Any]:
        try:
            return by_name(batch.column(batch.schema.names.index(name)).to_pylist(), classes.get(name))
        except Exception as error:  # pyarrow raises anything over a cell that is no Python object
            raise UserError(file, f"column {shown(name)} cannot be read: {one_line(error, 200)}") from error

    def parts(columns: Sequence[str]) -> Iterator[Part]:
        with found() as (_, batches):
            for batch in batches(columns):
                yield Part(len(batch), {name: cells(batch, name) for name in columns})

    with found() as (schema, _):
        header, classes = schema.names, class_names(schema.metadata)
    return Cells(header, parts, None)


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


Record: TypeAlias = Sequence[str]
Records: TypeAlias = Callable[[], Iterator[tuple[int, Record]]]  # each with the line where it begins, as often as asked


def comma_separated(unpacked: Open, file: str, layout: Layout | None = None) -> Cells:
    """With quotes as in RFC 4180."""
    text = Text.of(unpacked, file)
    _check_separator(text, ",", file)
    try:
        return _square(lambda: _quoted(text, ",", 2**31 - 1), file, None)
    except csv.Error as error:
        line, problem = error.args
        raise UserError(file, f"line {line}: the quotes of this row are not as in CSV: {problem}") from error


def tab_separated(unpacked: Open, file: str, layout: Layout | None = None) -> Cells:
    """Without quotes, as GLUE's; with quotes where the file was plainly written with them, as by pandas."""
    text = Text.of(unpacked, file)
    _check_separator(text, "\t", file)

    def plain() -> Iterator[tuple[int, Record]]:
        for line, row in enumerate(text.lines("\n"), 1):
            cells = row.removesuffix("\n").removesuffix("\r")
            yield line, cells.split("\t") if cells else []

    def quoted() -> Iterator[tuple[int, Record]]:
        # One quote that nothing closes makes a cell of all that follows.
        return _quoted(text, "\t", 2**22)

    if text.quotes and _is_quoted(quoted, plain):
        return _square(quoted, file, None)
    return _square(plain, file, layout)


def _quoted(text: "Text", separator: str, most: int) -> Iterator[tuple[int, Record]]:
    """Records. Raises csv.Error with the line of one whose quotes are wrong, or of which a cell has more letters."""
    csv.field_size_limit(most)  # a cell that is not this large is checked with its row and column in the message
    reader, line = csv.reader(text.lines(""), delimiter=separator, strict=True), 1
    try:
        for record in reader:
            yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(line, error) from error


def _until_blank(records: Iterable[tuple[int, Record]]) -> Iterator[tuple[int, Record]]:
    """Without the blank ones at the end."""
    blank: list[tuple[int, Record]] = []
    for one in records:
        if one[1]:
            yield from blank
            blank.clear()
            yield one
        else:
            blank.append(one)


def _is_quoted(quoted: Records, plain: Records) -> bool:
    """Whether a file is a table with its quotes, and none without them, or was plainly written with them."""
    try:
        with_quotes, without = (Counter(len(one) for _, one in _until_blank(some())) for some in (quoted, plain))
    except csv.Error:
        return False
    if len(with_quotes) != 1 or len(without) != 1:
        return len(with_quotes) == 1
    return with_quotes.total() == without.total() and _needs_quotes(plain)


def _needs_quotes(plain: Records) -> bool:
    """Whether rows that can be read either way were written with quotes: all of the header's cells have them, or one
    cell's own quotes are doubled. A cell that is merely quoted is no proof: texts quote others."""
    header = next(plain())[1]
    cells = (cell[1:-1] for _, row in plain() for cell in row if len(cell) > 2 and cell[0] == cell[-1] == '"')
    return all(len(cell) > 2 and cell[0] == cell[-1] == '"' for cell in header) or any('""' in cell for cell in cells)


SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def _check_separator(text: "Text", expected: str, file: str) -> None:
    """Raises UserError where the first line is one cell, and would be several with another separator."""
    first = text.start.partition("\n")[0].removesuffix("\r")
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


def _square(records: Records, file: str, layout: Layout | None) -> Cells:
    """Records as long as the first one, the header; blank lines at the end are not rows.

    Some rows of GLUE's own files end too early; they are left out, as in everyone's GLUE, and counted.
    """
    first = next(_until_blank(records()), (1, []))[1]
    if not first:
        raise UserError(file, "line 1: is blank, must name the columns")
    bare = layout is not None and len(first) == len(layout.bare) and not set(layout.bare) & set(first)
    header = list(layout.bare if layout and bare else first)
    places = {name: place for place, name in enumerate(header)}

    def rows() -> Iterator[tuple[int, Record]]:
        return islice(_until_blank(records()), 0 if bare else 1, None)

    def parts(columns: Sequence[str]) -> Iterator[Part]:
        whole = (row for row in rows() if len(row[1]) >= len(header))
        while some := list(islice(whole, BLOCK)):
            cells = {name: [record[places[name]] for _, record in some] for name in columns}
            yield Part(len(some), cells, [line for line, _ in some])

    count, cut, ragged = 0, 0, []
    for line, record in rows():
        if layout and len(record) < len(header):
            cut += 1
            continue
        count += 1
        if len(record) != len(header):
            has = f"has {count_of(len(record), 'cell')}, must have {len(header)} as the header has"
            ragged.append(f"row {count} (line {line}): {has}")
    if ragged:
        raise UserError(file, ragged)
    return Cells(header, parts, count, cut)


def json_lines(unpacked: Open, file: str, layout: Layout | None = None) -> Cells:
    """One object per line, or one list of objects; a key that a row has not got is null there."""
    text = Text.of(unpacked, file)
    starts = chain([text.start], text.lines("\n"))  # a list may be one line, which is not to be in memory
    first = next((some.lstrip() for some in starts if some.strip()), "")
    objects = _listed if first.startswith("[") else _line_by_line

    def parts(columns: Sequence[str]) -> Iterator[Part]:
        rows = objects(text, file)
        while some := list(islice(rows, BLOCK)):
            cells = {name: [row.get(name) for _, row in some] for name in columns}
            yield Part(len(some), cells, None if objects is _listed else [line for line, _ in some])

    count, header = 0, dict[str, None]()
    for _, row in objects(text, file):
        count += 1
        if not row.keys() <= header.keys():
            header |= dict.fromkeys(row)
    return Cells(list(header), parts, count)


def _line_by_line(text: "Text", file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects, each with its line. At the end, raises UserError with every line that is none."""
    problems = []
    for number, line in enumerate(text.lines("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _parsed(line.removesuffix("\n"))
            if not isinstance(row, dict):
                raise ValueError("it is something else")
        except (ValueError, RecursionError) as error:
            found = shown(line.removesuffix("\n"))
            problems.append(f"line {number}: must be one JSON object, found {found}: {str(error)[:200]}")
        else:
            yield number, row
    if problems:
        raise UserError(file, problems)


BLANK = r"[ \t\r\n]*"
OBJECT = {mark: re.compile(rf"{BLANK}{re.escape(mark)}{BLANK}(?={{)") for mark in "[,"}  # what is before one in a list


def _listed(text: "Text", file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a list, each with its number. Raises UserError where it is none of objects."""
    number, mark, rest, at = 0, "[", "", 0
    with text.opened("") as letters:
        while piece := letters.read(max(PIECE, len(rest) - at)):
            rest, at = rest[at:] + piece, 0
            while start := OBJECT[mark].match(rest, at):
                try:
                    row, at = JSON.raw_decode(rest, start.end())
                except (ValueError, RecursionError):  # it may go on in the next piece
                    break
                number, mark = number + 1, ","
                yield number, row
    if re.sub(BLANK, "", rest[at:]) != ("]" if number else "[]"):
        _check_list("".join(text.lines("")), file)


def _check_list(text: str, file: str) -> None:
    """Raises UserError that says why this is no list of objects."""
    try:
        rows = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise UserError(file, f"is not JSON: {str(error)[:200]}") from error
    if wrong := [place for place, row in enumerate(rows, 1) if not isinstance(row, dict)]:
        raise UserError(file, f"row {wrong[0]}: must be one JSON object, found {shown(rows[wrong[0] - 1])}")


def _parsed(text: str) -> Any:
    if text.startswith("\ufeff"):  # as json.loads says it, which makes a decoder for each text
        raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
    return JSON.decode(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError(f"a key is there twice in {shown([name for name, _ in pairs])}")
    return row


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


JSON = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refused)


OTHER_FILES = {  # the first bytes of files that are no text -> what they are
    b"\x1f\x8b": "is packed by gzip; add .gz to its name",
    b"PK\x03\x04": "is a zip, as a spreadsheet is (.xlsx); save its rows as csv",
    b"PAR1": "is a parquet file; name it .parquet",
    b"ARROW1": "is an arrow file; save its rows as parquet",
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
}


@dataclass(frozen=True)
class Text:
    """What is in a text file, which is UTF-8.

    start: its first letters; quotes: whether it has any; by_returns: whether its lines end as on old Macs.
    """

    unpacked: Open
    start: str
    quotes: bool
    by_returns: bool

    @classmethod
    def of(cls, unpacked: Open, file: str) -> "Text":
        """Raises UserError where it is no text."""
        decoder, start, lines, quotes = codecs.getincrementaldecoder("utf-8-sig")(), "", 0, False
        with readable(file), unpacked() as raw:
            pieces = iter(lambda: raw.read(PIECE), b"")
            head = next(pieces, b"")
            if known := [what for first, what in OTHER_FILES.items() if head.startswith(first)]:
                raise UserError(file, known[0])
            for piece in chain([head], pieces, [b""]):
                try:
                    text = decoder.decode(piece, final=not piece)
                except UnicodeDecodeError as error:
                    line = lines + error.object.count(b"\n", 0, error.start) + 1
                    byte = f"found byte 0x{error.object[error.start]:02x}"
                    raise UserError(file, f"line {line}: is not UTF-8, {byte}; save the file as UTF-8") from error
                start += text[: 10_000 - len(start)]
                lines += piece.count(b"\n")
                quotes = quotes or b'"' in piece
        return cls(unpacked, start if lines else start.replace("\r", "\n"), quotes, by_returns=not lines)

    def opened(self, newline: str) -> io.TextIOWrapper:
        """newline: as of io.TextIOWrapper."""
        return io.TextIOWrapper(self.unpacked(), "utf-8-sig", newline="" if self.by_returns else newline)

    def lines(self, newline: str) -> Iterator[str]:
        """With their ends, which are as in the file, or `\\n` where they are as on old Macs."""
        with self.opened(newline) as text:
            yield from (line.replace("\r", "\n") for line in text) if self.by_returns else text


READERS: dict[str, Callable[[Open, str, Layout | None], Cells]] = {
    "parquet": parquet,
    "csv": comma_separated,
    "tsv": tab_separated,
    "jsonl": json_lines,
    "json": json_lines,
}
OTHERS = {"arrow": arrow, "txt": tab_separated}  # of files that only `save_to_disk` and GLUE's sources name so
PACKINGS = {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}  # ending -> pyarrow's name
ENDINGS = (*READERS, *(f"{kind}.{packing}" for kind in READERS for packing in PACKINGS))
