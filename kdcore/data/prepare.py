"""Raw rows of a task -> data/<task>/: parquet in nested order, task.json, provenance.json, sealed; or nothing."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdcore.artefacts import check_folder, new_folder, seal, write_json
from kdcore.console import warn
from kdcore.data import checks, sources, tasks
from kdcore.data.order import digests, nested
from kdcore.data.prepared import PROVENANCE, TASK, Data
from kdcore.data.rows import Rows
from kdcore.data.tasks import Task
from kdcore.errors import UserError

if TYPE_CHECKING:
    from kdcore.params import sections

GROUP = 2**16  # rows that a reader has to take into memory at once


def prepare(task: Task, data: sections.Data, out: Path | str) -> None:
    """Write the prepared task to `out`, in place of an older one.

    Raises UserError with everything that is wrong with the rows, OSError where `out` cannot be written; `out` is
    then as it was. What is only odd (duplicates, leakage, ...) is a warning and a count in provenance.json.
    """
    sources.check_name(task)
    folder = Path(out)
    check_folder(folder, *([Path(data.path) / task.name] if data.source == "local" else []))
    raw = sources.read(task, data)
    with new_folder(folder) as aside:
        rows, odd = checks.check(task, raw, aside.parent)
        for split, counts in odd.items():
            for what, times in counts.items():
                warn(f"{raw.where}: {split}: {what}: {times:,}")
        _write(aside, task, rows, raw.origin, odd)


def holdout(data: Data, share: float, out: Path) -> None:
    """Write a prepared task of the training rows alone: `share` of those that can be scored validate, the others train.

    Who validates is drawn by hash, in each class alike, and is the same on any machine. No other split is read.
    Raises UserError where either part would be empty.
    """
    check_folder(out, data.folder)
    frame = data.frame("train", columns=("row", "label"))
    known = frame if data.task.by_teacher else frame[frame["label"].notna()]
    strata = known["label"].map(lambda label: "number" if data.task.regression else str(label)).tolist()
    order = nested(strata, digests(f"inner validation {row}" for row in known["row"]))
    held = np.zeros(len(frame), bool)
    held[known.index[order[: round(share * len(known))]]] = True
    parts = {"train": ~held, "validation": held}
    if empty := [name for name, part in parts.items() if not part.any()]:
        few = f"a share of {share} of {len(known)} rows that can be scored leaves none for {' and '.join(empty)}"
        raise UserError(str(data.folder), few)
    with new_folder(out) as aside:
        rows = {name: _some(data, part, aside.parent) for name, part in parts.items()}
        _write(aside, data.task, rows, {"training rows of": data.folder.name, "share": share}, {})


def _some(data: Data, chosen: np.ndarray, folder: Path) -> Rows:
    """The training rows for which `chosen` is true."""
    rows, at = Rows(folder, len(data.task.text)), 0
    for table in data.tables("train", 0, len(chosen), GROUP):
        own = table.filter(pa.array(chosen[at : at + len(table)]))
        columns = {name: own.column(name).to_pylist() for name in own.column_names}
        rows.add(columns["row"], [columns["text_a"], columns["text_b"]][: len(data.task.text)], columns["label"])
        at += len(table)
    return rows


def _write(folder: Path, task: Task, splits: dict[str, Rows], origin: dict[str, Any], odd: checks.Odd) -> None:
    (folder / TASK).write_text(tasks.to_json(task), encoding="utf-8")
    for split, rows in splits.items():
        _write_rows(folder / f"{split}.parquet", task, rows)
    libraries = {name: importlib.metadata.version(name) for name in ("pandas", "pyarrow")}
    facts = {
        "task": task.name,
        "origin": origin,
        "splits": {split: {**_counts(task, rows), "odd": odd.get(split, {})} for split, rows in splits.items()},
        "libraries": {"python": platform.python_version(), **libraries},
    }
    write_json(folder / PROVENANCE, facts)
    seal(folder)


def _write_rows(file: Path, task: Task, rows: Rows) -> None:
    """Write the rows in nested order, group by group: one group is in memory."""
    label = pa.float64() if task.regression else pa.int64()
    schema = pa.schema({"row": pa.int64(), "text_a": pa.string(), "text_b": pa.string(), "label": label})
    order = _order(task, rows)
    with pq.ParquetWriter(file, schema) as writer:
        for first in range(0, len(order), GROUP):
            writer.write_table(rows.take(order[first : first + GROUP], schema), row_group_size=GROUP)


def _order(task: Task, rows: Rows) -> np.ndarray:
    """Nested order. The strata are the classes (all numbers are one) and the rows without a label."""
    names = np.array([*(["number"] if task.regression else map(str, range(len(task.labels)))), "unlabelled"], object)
    ids = np.where(rows.labelled, 0 if task.regression else rows.label, -1)
    return nested(names[ids.astype(int)], digests(map(str, rows.row.data)))


def _counts(task: Task, rows: Rows) -> dict[str, Any]:
    counts = {"rows": len(rows), "labelled": int(rows.labelled.sum())}
    if task.regression:
        return counts
    return counts | {"labels": {name: int((rows.label == i).sum()) for i, name in enumerate(task.labels)}}
