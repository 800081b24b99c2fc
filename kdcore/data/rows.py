"""Rows on their way from a source to a prepared task: their texts in files, and all else in memory."""

from array import array
from collections.abc import Iterable, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import pyarrow as pa


class Rows:
    """Rows in the order in which they come, with one text each, or two.

    row: (N,) int64 positions in the source; label: (N,) float64 ids or scores, NaN where there is none.
    """

    def __init__(self, folder: Path, texts: int) -> None:
        """folder: where there is room for the texts. Their files have no names, so none stays there after a kill; a
        network's file system shows them while they are open, so it is no folder that is to be sealed."""
        self._row, self._label = array("q"), array("d")
        self._texts = [Texts(folder) for _ in range(texts)]

    def add(self, row: Iterable[int], texts: Iterable[Sequence[str]], label: Iterable[float | None]) -> None:
        """texts: those of the first column, and those of the second where there is one."""
        self._row.extend(row)
        self._label.extend(np.nan if one is None else one for one in label)
        for column, own in zip(self._texts, texts, strict=True):
            column.add(own)

    def __len__(self) -> int:
        return len(self._row)

    @property
    def row(self) -> np.ndarray:
        return np.frombuffer(self._row, np.int64)

    @property
    def label(self) -> np.ndarray:
        return np.frombuffer(self._label, np.float64)

    @property
    def labelled(self) -> np.ndarray:
        """(N,) whether a row has a label."""
        return ~np.isnan(self.label)

    def texts(self, places: np.ndarray) -> list[list[str]]:
        """Those of the rows at these places, by column."""
        return [column.take(places) for column in self._texts]

    def take(self, places: np.ndarray, schema: pa.Schema) -> pa.Table:
        """The rows at these places, in that order, as a prepared task has them."""
        texts = self.texts(places)
        label = self.label[places]
        absent = np.isnan(label)
        columns = {
            "row": self.row[places],
            "text_a": texts[0],
            "text_b": texts[1] if len(texts) == 2 else [None] * len(places),
            "label": pa.array(np.where(absent, 0, label), mask=absent).cast(schema.field("label").type),
        }
        return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema)


class Texts:
    """Texts in two files without names: their letters, and where each text begins."""

    def __init__(self, folder: Path) -> None:
        self._letters, self._starts = TemporaryFile(dir=folder), TemporaryFile(dir=folder)  # noqa: SIM115
        self._count, self._end = 0, self._letters.write(b"\0")  # a file that is mapped must hold something
        self._starts.write(np.int64(self._end).tobytes())

    def add(self, texts: Sequence[str]) -> None:
        letters = [text.encode() for text in texts]
        starts = self._end + np.cumsum([len(one) for one in letters], dtype=np.int64)
        self._starts.write(starts.tobytes())
        self._end += self._letters.write(b"".join(letters))
        self._count += len(texts)

    def take(self, places: np.ndarray) -> list[str]:
        maps = [pa.py_buffer(_mapped(file)) for file in (self._starts, self._letters)]
        return pa.LargeStringArray.from_buffers(self._count, *maps).take(pa.array(places)).to_pylist()


def _mapped(file: IO[bytes]) -> mmap:
    file.flush()
    return mmap(file.fileno(), 0, access=ACCESS_READ)
