"""A data set repository on a hub, at a pinned revision -> raw rows. Nothing else here uses a network."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcore.data import tables
from kdcore.data.cells import BLOCK, by_name
from kdcore.data.tables import Block, Raw, Table
from kdcore.data.tasks import GLUE, NEEDED, Task
from kdcore.errors import UserError, one_line
from kdcore.hub import commit

if TYPE_CHECKING:
    from kdcore.params.sections import Data


def read(
    task: Task,
    data: Data,
    columns: Mapping[str, str],
    splits: Mapping[str, Sequence[str]],
    needed: Collection[str],
) -> Raw:
    """The rows of one configuration.

    columns: ours -> the data set's; splits: ours -> the names that it may have there; needed: splits that it must
    have. Raises UserError where they cannot be had.
    """
    if not Path(data.hub).is_dir():
        data = data.model_copy(update={"revision": commit(data.hub, data.revision, "dataset") or data.revision})
    configuration = data.configuration or _configuration(task, data)
    where = f"{data.hub} {configuration or 'default'} (data.hub)"
    published = _load(data, configuration, where)

    def table(split: str, names: Sequence[str]) -> Table | None:
        name = next((name for name in names if name in published), None)
        return None if name is None else _table(published[name], name, columns, task.optional(split))

    found = tables.by_split(where, splits, needed, table, lambda: published)
    facts = {"repository": data.hub, "configuration": configuration or "default", "revision": data.revision}
    version = importlib.metadata.version("datasets")
    return Raw(found, where, {"source": "hub", **facts, "datasets": version})


def _configuration(task: Task, data: Data) -> str | None:
    """The task's name for GLUE, and where the repository has such a configuration; else its default, None."""
    if task.name in GLUE:
        return task.name
    from datasets import get_dataset_config_names

    where = f"{data.hub} (data.hub)"
    with _readable(where):
        names = get_dataset_config_names(data.hub, revision=data.revision)
    if task.name in names:
        return task.name
    if "default" not in names and len(names) > 1:
        raise UserError(where, f"has several configurations, set data.configuration to one: {', '.join(names[:20])}")
    return None if "default" in names or not names else names[0]


def _load(data: Data, configuration: str | None, where: str) -> Mapping[str, Any]:
    from datasets import DatasetDict, load_dataset

    with _readable(where):
        published = load_dataset(data.hub, name=configuration, revision=data.revision)
    if not isinstance(published, DatasetDict):
        raise UserError(where, f"must have the splits {', '.join(NEEDED)}, found {type(published).__name__}")
    return published


@contextmanager
def _readable(where: str) -> Iterator[None]:
    from datasets.exceptions import DatasetsError

    try:
        yield
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise UserError(where, f"cannot be loaded: {one_line(error, 400)}") from error


def _table(dataset: Any, name: str, columns: Mapping[str, str], optional: tuple[str, ...]) -> Table:
    chosen = tables.select(dataset.column_names, columns, optional, name)
    wanted = tables.used(chosen)
    names = {column: getattr(dataset.features[column], "names", None) for column in wanted}
    used = dataset.select_columns(wanted)

    def blocks() -> Iterator[Block]:
        for start in range(0, max(1, len(used)), BLOCK):
            cells = {column: by_name(own, names[column]) for column, own in used[start : start + BLOCK].items()}
            rows = range(start, min(start + BLOCK, len(used)))
            yield Block(tables.under_our_names(chosen, cells, len(rows)), rows, name)

    return Table(blocks, len(used), name)
