"""Arrow's files of rows → their cells: parquet, and what `save_to_disk` of `datasets` writes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from kdcore.data.cells import BLOCK, PIECE, Cells, Open, Part, by_name, readable
from kdcore.data.tasks import Layout
from kdcore.errors import UserError, one_line, shown

# Arrow's: the schema of a file, and a function that reads batches of these columns.
Batches: TypeAlias = tuple[pa.Schema, Callable[[Sequence[str]], Iterator[pa.RecordBatch]]]


def parquet(unpacked: Open, file: str, layout: Layout | None) -> Cells:
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


def arrow(unpacked: Open, file: str, layout: Layout | None) -> Cells:
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
