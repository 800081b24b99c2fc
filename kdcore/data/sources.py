"""The raw rows of one task, from the embedded data, a hub or local files, with the facts of their origin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdcore.data import hub, movies, tables
from kdcore.data.formats import READERS
from kdcore.data.tables import Raw, Table
from kdcore.data.tasks import GLUE, NEEDED, Task
from kdcore.errors import UserError, collected, shown

if TYPE_CHECKING:
    from kdcore.params.sections import Data

GLUE_LICENCE = "GLUE: every task has its own authors' terms; see the card of nyu-mll/glue"
OWN_LICENCE = "the user's own data; kdcore does not know the licence"


def read(task: Task, data: Data) -> Raw:
    """The raw rows of a task from data.source; raises UserError with every problem of every split."""
    if not re.fullmatch(r"[a-z0-9_][a-z0-9_-]*", task.name):
        raise UserError("tasks", f"must be a plain name of a-z 0-9 _ -, found {shown(task.name)}")
    if data.source == "embedded":
        return movies.read()
    columns = {column: data.columns.get(column, column) for column in task.columns}
    if data.source == "hub":
        raw = hub.read(task, data.hub, data.revision, columns)
    else:
        raw = local(task, Path(data.path), columns)
    licence = GLUE_LICENCE if task.name in GLUE else OWN_LICENCE
    return replace(raw, origin={**raw.origin, "columns": columns, "licence": licence})


def local(task: Task, path: Path, columns: Mapping[str, str]) -> Raw:
    """<path>/<task>/<the source's split name>.<format>, one format per split."""
    folder = path / task.name
    if not folder.is_dir():
        raise UserError(str(folder), f"no such folder; it must hold {_expected(task)} (data.source: local)")
    splits: dict[str, Table] = {}
    with collected(str(folder)) as part:
        for split, name in task.splits.items():
            with part():
                file = _file(folder, name, needed=split in NEEDED)
                if file:
                    splits[split] = tables.read(file, columns, task.optional(split))
    files = {split: {"file": f"{task.name}/{one.file}", "sha256": one.sha256} for split, one in splits.items()}
    return Raw(splits, str(folder), {"source": "local", "files": files})


def _expected(task: Task) -> str:
    return " and ".join(f"{task.splits[split]}.{{{','.join(READERS)}}}" for split in NEEDED)


def _file(folder: Path, name: str, needed: bool) -> Path | None:
    found = [file for kind in READERS if (file := folder / f"{name}.{kind}").is_file()]
    if len(found) > 1:
        raise UserError(name, f"must be one file, found {' and '.join(file.name for file in found)}")
    if needed and not found:
        there = ", ".join(sorted(file.name for file in folder.iterdir())[:20]) or "nothing"
        raise UserError(name, f"no file {name}.{{{','.join(READERS)}}}, the folder has {there}")
    return found[0] if found else None
