"""A data set repository on a hub, at a pinned revision -> raw rows. No other source uses a network."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from kdcore.data import tables
from kdcore.data.tables import Raw, Table
from kdcore.data.tasks import NEEDED, Task
from kdcore.errors import UserError, collected


def read(task: Task, repository: str, revision: str, columns: Mapping[str, str]) -> Raw:
    """The configuration that has the task's name; raises UserError where it cannot be had."""
    where = f"{repository} {task.name} (data.hub)"
    found = _load(repository, task.name, revision, where)
    splits: dict[str, Table] = {}
    with collected(where) as part:
        for split, name in task.splits.items():
            with part():
                if name in found:
                    splits[split] = _table(found[name], name, columns, task.optional(split))
                elif split in NEEDED:
                    raise UserError(name, f"no such split, has {', '.join(found)}")
    facts = {"repository": repository, "configuration": task.name, "revision": revision}
    version = importlib.metadata.version("datasets")
    return Raw(splits, where, {"source": "hub", **facts, "datasets": version})


def _load(repository: str, name: str, revision: str, where: str) -> Mapping[str, Any]:
    from datasets import DatasetDict, load_dataset
    from datasets.exceptions import DatasetsError

    try:
        found = load_dataset(repository, name=name, revision=revision)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise UserError(where, f"cannot be loaded: {' '.join(str(error).split())[:400]}") from error
    if not isinstance(found, DatasetDict):
        raise UserError(where, f"must have the splits {', '.join(NEEDED)}, found {type(found).__name__}")
    return found


def _table(dataset: Any, name: str, columns: Mapping[str, str], optional: tuple[str, ...]) -> Table:
    wanted = [column for column in dataset.column_names if column in columns.values()]
    cells = {column: _named(dataset.features[column], dataset[column][:]) for column in wanted}
    return Table(tables.select(dataset.column_names, cells, columns, optional, name), name)


def _named(feature: Any, values: list[Any]) -> list[Any]:
    """Ids as the names that the data set gives them, so that another order of labels cannot go unnoticed."""
    names = getattr(feature, "names", None)
    if not names:
        return values
    return [names[value] if value is not None and 0 <= value < len(names) else value for value in values]
