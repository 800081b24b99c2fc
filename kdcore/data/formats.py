"""The formats of files of rows: parquet, csv, tsv, jsonl, `datasets`' arrow; each may be packed (`.csv.gz`).

A file is read once to its end when it is opened: one that is not what its name says is a UserError with every bad row.
After that its cells are read part by part, as often as they are asked for.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kdcore.data.arrow_files import arrow, parquet
from kdcore.data.cells import PACKINGS, Cells, Open, packed, readable, unpacked
from kdcore.data.tasks import Layout
from kdcore.data.text_files import comma_separated, json_lines, tab_separated
from kdcore.errors import UserError

READERS: dict[str, Callable[[Open, str, Layout | None], Cells]] = {
    "parquet": parquet,
    "csv": comma_separated,
    "tsv": tab_separated,
    "jsonl": json_lines,
    "json": json_lines,
}
OTHERS = {"arrow": arrow, "txt": tab_separated}  # of files that only `save_to_disk` and GLUE's sources name so
ENDINGS = (*READERS, *(f"{kind}.{packing}" for kind in READERS for packing in PACKINGS))


def parted(name: str) -> tuple[str, str]:
    """A file's name without the ending that says its format, and that ending (`csv.gz`), empty where there is none."""
    return next(((name.removesuffix(f".{end}"), end) for end in ENDINGS if name.endswith(f".{end}")), (name, ""))


def check_ending(path: Path) -> None:
    """Raises UserError where the name of a file that the user names says no format."""
    if not parted(path.name)[1]:
        also = f", also packed ({', '.join(f'.{packing}' for packing in PACKINGS)})"
        raise UserError(str(path), f"must end in {' | '.join(f'.{kind}' for kind in READERS)}{also}")


def own_file(path: Path) -> tuple[str, bytes]:
    """The format of a file that the user names, and what is in it. Raises UserError where it is of none, or cannot be
    read."""
    check_ending(path)
    with readable(str(path)), unpacked(path) as raw:
        return packed(path.name)[0], raw.read()


def cells_in(path: Path) -> Cells:
    """The same of its cells, which stay on the disk."""
    check_ending(path)
    with readable(str(path)):
        return READERS[packed(path.name)[0]](partial(unpacked, path), str(path), None)


def cells_of(kind: str, raw: bytes, file: str) -> Cells:
    """What is in a file that is in memory, unpacked."""
    return READERS[kind](lambda: io.BytesIO(raw), file, None)
