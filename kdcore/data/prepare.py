"""Raw rows of a task -> data/<task>/: parquet in nested order, task.json, provenance.json, sealed; or nothing."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kdcore.artefacts import check_folder, new_folder, seal, write_json
from kdcore.console import warn
from kdcore.data import checks, sources, tasks
from kdcore.data.order import nested
from kdcore.data.prepared import PROVENANCE, TASK, Data
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
    frames, odd = checks.check(task, raw)
    for split, counts in odd.items():
        for what, times in counts.items():
            warn(f"{raw.where}: {split}: {what}: {times:,}")
    origin = raw.origin
    del raw  # the cells as they were read
    with new_folder(folder) as aside:
        _write(aside, task, frames, origin, odd)


def holdout(data: Data, share: float, out: Path) -> None:
    """Write a prepared task of the training rows alone: `share` of those that can be scored validate, the others train.

    Who validates is drawn by hash, in each class alike, and is the same on any machine. No other split is read.
    Raises UserError where either part would be empty.
    """
    check_folder(out, data.folder)
    frame = data.frame("train")
    known = frame if data.task.by_teacher else frame[frame["label"].notna()]
    strata = known["label"].map(lambda label: "number" if data.task.regression else str(label)).tolist()
    order = nested(strata, [f"inner validation {row}" for row in known["row"]])
    held = known.iloc[order[: round(share * len(known))]]
    parts = {"train": frame.drop(held.index), "validation": held}
    if empty := [name for name, part in parts.items() if part.empty]:
        few = f"a share of {share} of {len(known)} rows that can be scored leaves none for {' and '.join(empty)}"
        raise UserError(str(data.folder), few)
    with new_folder(out) as aside:
        _write(aside, data.task, parts, {"training rows of": data.folder.name, "share": share}, {})


def _write(folder: Path, task: Task, frames: dict[str, pd.DataFrame], origin: dict[str, Any], odd: checks.Odd) -> None:
    (folder / TASK).write_text(tasks.to_json(task), encoding="utf-8")
    for split, frame in frames.items():
        _write_rows(folder / f"{split}.parquet", task, frame)
    libraries = {name: importlib.metadata.version(name) for name in ("pandas", "pyarrow")}
    facts = {
        "task": task.name,
        "origin": origin,
        "splits": {split: {**_counts(task, frame), "odd": odd.get(split, {})} for split, frame in frames.items()},
        "libraries": {"python": platform.python_version(), **libraries},
    }
    write_json(folder / PROVENANCE, facts)
    seal(folder)


def _write_rows(file: Path, task: Task, frame: pd.DataFrame) -> None:
    """Write the rows in nested order, group by group, so that no second copy of all is in memory."""
    label = pa.float64() if task.regression else pa.int64()
    schema = pa.schema({"row": pa.int64(), "text_a": pa.string(), "text_b": pa.string(), "label": label})
    order = _order(task, frame)
    with pq.ParquetWriter(file, schema) as writer:
        for first in range(0, len(order), GROUP):
            group = frame.iloc[order[first : first + GROUP]]
            arrays = [pa.array(group[field.name], field.type, from_pandas=True) for field in schema]
            writer.write_table(pa.table(arrays, schema), row_group_size=GROUP)


def _order(task: Task, frame: pd.DataFrame) -> np.ndarray:
    """Nested order. The strata are the classes (all numbers are one) and the rows without a label."""
    names = ["unlabelled", *(["number"] if task.regression else map(str, range(len(task.labels))))]
    ids = frame["label"].where(frame["label"].isna(), 0) if task.regression else frame["label"]
    strata = [names[1 + int(label)] for label in ids.fillna(-1)]  # each name is in memory once
    return nested(strata, map(str, frame["row"]))


def _counts(task: Task, frame: pd.DataFrame) -> dict[str, Any]:
    counts = {"rows": len(frame), "labelled": int(frame["label"].notna().sum())}
    if task.regression:
        return counts
    return counts | {"labels": {name: int((frame["label"] == i).sum()) for i, name in enumerate(task.labels)}}
