"""A prepared task, data/<task>/: its rows and description, verified when it is opened."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcore.artefacts import digest, open_sealed
from kdcore.console import say
from kdcore.data import tasks
from kdcore.data.tasks import Task
from kdcore.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

RERUN = "dvc repro -f prepare"
PROVENANCE = "provenance.json"
TASK = "task.json"
COLUMNS = ("row", "text_a", "text_b", "label")


@dataclass(frozen=True)
class Data:
    """A prepared task whose files are all as they were written.

    splits: name -> rows, train first; labelled: name -> those of them with a label; origin: where they come from, as
    provenance.json has it; fingerprint: the hash of everything that training can see here.
    """

    folder: Path
    task: Task
    splits: Mapping[str, int]
    labelled: Mapping[str, int]
    origin: Mapping[str, Any]
    fingerprint: str

    @classmethod
    def open(cls, folder: Path) -> "Data":
        """Raises UserError that names each file that is missing or changed."""
        files = open_sealed(folder, RERUN)["files"]
        task = tasks.from_json((folder / TASK).read_text(encoding="utf-8"))
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        contents = {name: facts["sha256"] for name, facts in files.items() if name != PROVENANCE}
        splits = provenance["splits"].items()
        rows, labelled = ({name: facts[what] for name, facts in splits} for what in ("rows", "labelled"))
        return cls(folder, task, rows, labelled, provenance["origin"], digest(contents))

    def used(self, rows: int | None) -> int:
        """How many training rows are used where `rows` are asked for (None: all): `rows` is a cap."""
        return self.splits["train"] if rows is None else min(rows, self.splits["train"])

    def take(self, split: str, rows: int | None) -> int:
        """How many rows of a split are taken where `rows` are asked for (None: all); says so where they are fewer.

        Raises UserError for an absent split.
        """
        if split not in self.splits:
            raise UserError(str(self.folder), f"has no split {split!r}, has {', '.join(self.splits)}")
        there = self.splits[split]
        if rows is not None and rows > there:
            say(f"{self.task.name}/{split}: {rows:,} rows are asked for, and all {there:,} are taken")
        return there if rows is None else min(rows, there)

    def frame(self, split: str, columns: Sequence[str] = COLUMNS) -> "pd.DataFrame":
        """All rows of a split.

        columns: those of row (int64, in the source), text_a (str), text_b (str, null for single texts), label (Int64
        ids, or float64 for a regression; null = unlabelled) that are read. Raises UserError for an absent split.
        """
        import pyarrow as pa

        taken = self.take(split, None)
        return _framed(pa.concat_tables(self.tables(split, 0, taken, taken, columns)))

    def frames(self, split: str, start: int, stop: int, most: int) -> Iterator["pd.DataFrame"]:
        """As `tables`, each as `frame` gives it."""
        return map(_framed, self.tables(split, start, stop, most))

    def tables(
        self, split: str, start: int, stop: int, most: int, columns: Sequence[str] = COLUMNS
    ) -> Iterator["pa.Table"]:
        """The rows start … stop of a split, at most so many at a time; one group of rows of the file is in memory."""
        import pyarrow.parquet as pq

        file, at = pq.ParquetFile(self.folder / f"{split}.parquet"), 0
        for group in range(file.num_row_groups):
            first, rows = max(start - at, 0), file.metadata.row_group(group).num_rows
            last = min(stop - at, rows)
            if first < last:
                table = file.read_row_group(group, list(columns))  # one at a time is in memory
                for place in range(first, last, most):
                    yield table.slice(place, min(most, last - place))
            at += rows


def _framed(table: "pa.Table") -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa

    columns = [name for name in table.column_names if name != "label"]
    frame = table.select(columns).to_pandas(ignore_metadata=True)
    frame = frame.astype({name: "str" for name in columns if name.startswith("text")})
    if "label" not in table.column_names:
        return frame
    kind = "float64" if pa.types.is_floating(table.schema.field("label").type) else "Int64"
    label = table.column("label").to_pylist()  # not through floats, which pandas takes for integers with nulls
    return frame.assign(label=pd.array(label, dtype=kind))
