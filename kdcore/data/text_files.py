"""Text files of rows → their cells: csv, tsv and JSON; one that is not what its name says has every bad row named."""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeAlias

from kdcore.console import count_of
from kdcore.data.cells import BLOCK, PIECE, Cells, Open, Part, readable
from kdcore.data.tasks import Layout
from kdcore.errors import UserError, shown

Record: TypeAlias = Sequence[str]
Records: TypeAlias = Callable[[], Iterator[tuple[int, Record]]]  # each with the line where it begins, as often as asked


def comma_separated(unpacked: Open, file: str, layout: Layout | None) -> Cells:
    """With quotes as in RFC 4180."""
    text = Text.of(unpacked, file)
    _check_separator(text, ",", file)
    try:
        return _square(lambda: _quoted(text, ",", 2**31 - 1), file, None)
    except csv.Error as error:
        line, problem = error.args
        raise UserError(file, f"line {line}: the quotes of this row are not as in CSV: {problem}") from error


def tab_separated(unpacked: Open, file: str, layout: Layout | None) -> Cells:
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


def json_lines(unpacked: Open, file: str, layout: Layout | None) -> Cells:
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
