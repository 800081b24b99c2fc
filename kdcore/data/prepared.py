"""A prepared task, data/<task>/: its rows and description, verified when it is opened."""

import json
from collections.abc import Mapping
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

RERUN = "dvc repro -f prepare"
PROVENANCE = "provenance.json"
TASK = "task.json"


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

    def frame(self, split: str, rows: int | None = None) -> "pd.DataFrame":
        """The first `rows` rows of a split, its stratified subset of that size; all where there are no more, or None.

        Columns: row (int64, in the source), text_a (str), text_b (str, null for single texts), label (Int64 ids,
        or float64 for a regression; null = unlabelled). Raises UserError for an absent split.
        """
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        if split not in self.splits:
            raise UserError(str(self.folder), f"has no split {split!r}, has {', '.join(self.splits)}")
        table = pq.read_table(self.folder / f"{split}.parquet")
        if rows is not None and rows > len(table):
            say(f"{self.task.name}/{split}: {rows:,} rows are asked for, and all {len(table):,} are taken")
        table = table.slice(0, rows)
        kind = "float64" if pa.types.is_floating(table.schema.field("label").type) else "Int64"
        label = table.column("label").to_pylist()  # not through floats, which pandas takes for integers with nulls
        frame = table.drop_columns("label").to_pandas(ignore_metadata=True)
        return frame.astype({"text_a": "str", "text_b": "str"}).assign(label=pd.array(label, dtype=kind))
