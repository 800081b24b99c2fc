"""The bytes of one file -> its columns: parquet, csv (quotes as in RFC 4180), tsv (no quotes), jsonl; UTF-8.

A file that is not what its name says is a UserError with every bad row; what the cells hold is checked later.
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kdcore.errors import UserError, shown


@dataclass(frozen=True)
class Cells:
    """header: the columns' names as they are; columns: name -> cells; lines: where rows begin."""

    header: list[str]
    columns: dict[str, list[Any]]
    lines: list[int] | None


def parquet(raw: bytes, file: str) -> Cells:
    try:
        table = pq.ParquetFile(pa.BufferReader(raw)).read()
        names = table.column_names
        columns = {name: table.column(i).to_pylist() for i, name in enumerate(names)}
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        words = " ".join(str(error).split())[:200]
        raise UserError(file, f"is not a readable parquet file: {words}") from error
    return Cells(names, columns, None)


def _text(raw: bytes, file: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"found byte 0x{raw[error.start]:02x}"
        raise UserError(file, f"line {line}: is not UTF-8, {found}; save the file as UTF-8") from error


def comma_separated(raw: bytes, file: str) -> Cells:
    csv.field_size_limit(2**31 - 1)  # the size of a cell is checked with its row and column in the message
    reader = csv.reader(io.StringIO(_text(raw, file), newline=""), strict=True)
    records, lines, line = [], [], 1
    try:
        for record in reader:
            records.append(record)
            lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(file, f"line {line}: the quotes of this row are not as in CSV: {error}") from error
    return _square(records, lines, file)


def tab_separated(raw: bytes, file: str) -> Cells:
    texts = [text.removesuffix("\r") for text in _text(raw, file).split("\n")]
    records = [text.split("\t") if text else [] for text in texts]
    return _square(records, list(range(1, len(records) + 1)), file)


def _square(records: list[list[str]], lines: list[int], file: str) -> Cells:
    """Records as long as the first one, the header; blank lines at the end are not rows."""
    while records and not records[-1]:
        records.pop()
    if not records or not records[0]:
        raise UserError(file, "line 1: is blank, must name the columns")
    header, *rows = records
    ragged = [
        f"row {i} (line {line}): has {len(row)} cells, must have {len(header)} as the header has"
        for i, (row, line) in enumerate(zip(rows, lines[1:], strict=False), 1)
        if len(row) != len(header)
    ]
    if ragged:
        raise UserError(file, ragged)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    return Cells(header, columns, lines[1 : len(records)])


def json_lines(raw: bytes, file: str) -> Cells:
    """One object per line; a key that a row has not got is null there."""
    rows: list[dict[str, Any]] = []
    lines, problems = [], []
    for line, text in enumerate(_text(raw, file).split("\n"), 1):
        try:
            if text.strip():
                rows.append(_object(text))
                lines.append(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"line {line}: must be one JSON object, found {shown(text)}: {str(error)[:200]}")
    if problems:
        raise UserError(file, problems)
    header = list(dict.fromkeys(name for row in rows for name in row))
    return Cells(header, {name: [row.get(name) for row in rows] for name in header}, lines)


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text, object_pairs_hook=_once, parse_constant=_refused)
    if not isinstance(found, dict):
        raise ValueError("it is something else")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key is there twice in {shown([name for name, _ in pairs])}")
    return found


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


READERS: dict[str, Callable[[bytes, str], Cells]] = {
    "parquet": parquet,
    "csv": comma_separated,
    "tsv": tab_separated,
    "jsonl": json_lines,
}
