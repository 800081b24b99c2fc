"""Raw rows -> rows to train on. What would fail or mislead later is refused, what is only odd is counted."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from kdcore.data import cells
from kdcore.data.tables import Raw, Table
from kdcore.data.tasks import GLUE, Task
from kdcore.errors import UserError, shown

Odd = dict[str, dict[str, int]]  # split -> what -> how often


@dataclass
class Findings:
    """problems: why the data are refused; odd: what is worth a warning."""

    problems: list[str] = field(default_factory=list)
    odd: Odd = field(default_factory=dict)

    def count(self, split: str, what: str, times: int = 1) -> None:
        if times:
            counts = self.odd.setdefault(split, {})
            counts[what] = counts.get(what, 0) + times


def check(task: Task, raw: Raw) -> tuple[dict[str, pd.DataFrame], Odd]:
    """Our split name -> frame of row, text_a, text_b and label, and the counts of what is odd.

    label: Int64 ids or float64, null where there is none. Raises UserError with the problems of all splits.
    """
    found = Findings()
    frames = {split: _split(task, split, table, found) for split, table in raw.tables.items()}
    if not found.problems:
        for split, frame in frames.items():
            _balance(task, split, frame, raw.tables[split].file, found)
    if found.problems:
        raise UserError(raw.where, found.problems)
    _repeats(frames, found)
    return frames, found.odd


def _split(task: Task, split: str, table: Table, found: Findings) -> pd.DataFrame:
    if table.frame.empty:
        found.problems.append(f"{table.file}: must have at least 1 row, found 0")
    pair = [texts(task, split, table, column, found) for column in task.text]
    label = _labels(task, split, table, found)
    columns = {
        "row": pd.Series(table.frame.index.tolist(), dtype="int64"),
        "text_a": pd.Series(pair[0], dtype=object),
        "text_b": pd.Series(pair[1] if len(pair) == 2 else [None] * len(label), dtype=object),
        "label": pd.Series(label, dtype="float64") if task.regression else pd.Series(label, dtype="Int64"),
    }
    return pd.DataFrame(columns)


def texts(task: Task, split: str, table: Table, column: str, found: Findings) -> list[Any]:
    """The cells of one text column.

    GLUE is taken as it is published, with stray control characters and pairs of which one half is empty; they
    are counted. Anyone's own data can be put right, so there both are problems.
    """
    values = table.frame[column].tolist()
    partner = next((table.frame[name].tolist() for name in task.text if name != column), [""] * len(values))
    for i, value in enumerate(values):
        fault = cells.fault(value)
        if fault is None:
            continue
        kind, message = fault
        if task.name in GLUE and kind == cells.CONTROL:
            found.count(split, "texts with control characters")
        elif task.name in GLUE and kind == cells.EMPTY and cells.fault(partner[i]) is None:
            found.count(split, "pairs of which one half is empty")
        else:
            found.problems.append(f"{table.place(i, column)}: {message}")
    return values


def _labels(task: Task, split: str, table: Table, found: Findings) -> list[Any]:
    """Class ids or numbers, None where there is none; a validation row without one is a problem."""
    values = table.frame[task.label].tolist()
    parse: Callable[[Any], float | None] = cells.number if task.regression else cells.class_id(task.labels)
    hidden = task.regression and cells.hidden(values)
    labels: list[Any] = []
    for i, value in enumerate(values):
        try:
            labels.append(None if hidden or cells.absent(value) else parse(value))
            if labels[-1] is None and split.startswith("validation"):
                raise ValueError(f"must have a label, as every row for validation, found {shown(value)}")
        except ValueError as error:
            found.problems.append(f"{table.place(i, task.label)}: {error}")
    return labels if len(labels) == len(values) else [None] * len(values)


def _balance(task: Task, split: str, frame: pd.DataFrame, file: str, found: Findings) -> None:
    """A train split that teaches one answer only is refused; classes without a row are odd."""
    seen = frame["label"].dropna().unique().tolist()
    if split == "train" and not seen:
        found.count(split, "rows, none of which has a label", len(frame))
    elif split == "train" and len(seen) == 1:
        only = shown(seen[0] if task.regression else task.labels[int(seen[0])])
        needs = "2 values" if task.regression else f"2 of {', '.join(task.labels)}"
        found.problems.append(f"{file}: column {task.label}: must have at least {needs}, found only {only}")
    elif seen:
        found.count(split, "classes without a row", max(0, len(task.labels) - len(seen)))


def _repeats(frames: dict[str, pd.DataFrame], found: Findings) -> None:
    """Counts rows that are there twice, texts with two labels, and validation texts that train has seen."""
    train, texts = frames["train"], ["text_a", "text_b"]
    found.count("train", "duplicate rows", int(train.duplicated([*texts, "label"]).sum()))
    answers = train[train["label"].notna()].drop_duplicates([*texts, "label"])
    found.count("train", "texts with more than one label", int(answers.duplicated(texts).sum()))
    known = set(train[texts].itertuples(index=False, name=None))
    for split, frame in frames.items():
        if split.startswith("validation"):
            leaked = sum(pair in known for pair in frame[texts].itertuples(index=False, name=None))
            found.count(split, "rows whose text is also in train", leaked)
