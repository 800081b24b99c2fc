"""The rows to predict, from a prepared task or from a file of the user's own, in the order of their source."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kdcore.data import checks, formats, tables
from kdcore.data.prepared import Data
from kdcore.data.tasks import LAYOUTS, Task
from kdcore.errors import UserError


def unseen_splits(data: Data) -> dict[str, pd.DataFrame]:
    """Every test split of a prepared task: its rows in the source's order, which is not the order of storage.

    Raises UserError where there is none, or rows are missing.
    """
    names = [split for split in data.splits if split.startswith("test")]
    if not names:
        raise UserError(str(data.folder), f"has no test split to predict, has {', '.join(data.splits)}")
    return {split: _in_order(data, split) for split in names}


def _in_order(data: Data, split: str) -> pd.DataFrame:
    frame = data.frame(split).sort_values("row", ignore_index=True)
    if frame["row"].tolist() != list(range(len(frame))):
        place = data.folder / f"{split}.parquet"
        raise UserError(str(place), "rows of the source are missing; run `dvc repro -f prepare`")
    return frame


def rows_of_file(path: Path, task: Task, columns: Mapping[str, str]) -> pd.DataFrame:
    """The rows of a csv, tsv, json(l) or parquet file that has the task's text columns.

    columns: our column -> the file's, where they differ. Raises UserError with every problem of every row.
    """
    formats.check_ending(path)
    own = {column: columns.get(column, column) for column in task.text}
    table = tables.read([path], own, layout=LAYOUTS.get(task.name))
    if table.cut:
        raise UserError(str(path), f"must have a prediction for every row, found {table.cut} that end too early")
    found = {column: checks.Column() for column in task.text}
    texts: list[list[str]] = [[] for _ in task.text]
    for block in table.blocks():
        for cells, (column, one) in zip(texts, found.items(), strict=True):
            cells += checks.texts(task, block, column, one)
    problems = [] if table.count else ["must have at least 1 row, found 0"]
    problems += [problem.removeprefix(f"{table.file}: ") for one in found.values() for problem in one.problems]
    if problems:
        raise UserError(str(path), problems)
    return as_prepared(texts)


def as_prepared(texts: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Rows without a label, as a prepared task has them; texts: by column, one or two."""
    second = texts[1] if len(texts) == 2 else None
    return pd.DataFrame({"text_a": texts[0], "text_b": second, "label": np.nan})
