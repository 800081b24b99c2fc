"""What `kdcore predict` does: a prepared task's test splits, or one file, through one model."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdcore.artefacts import check_file, publish
from kdcore.console import say
from kdcore.data.prepared import Data
from kdcore.data.tasks import GLUE, Task
from kdcore.errors import UserError
from kdcore.predict.rows import unseen_splits
from kdcore.predict.server import ZIP, check_size, name_of, pack, server_text
from kdcore.predict.table import table, writer

Predict = Callable[[pd.DataFrame], NDArray[np.floating]]  # rows -> (N, K) logits


def check_options(folder: bool, server: str | None, packed: bool) -> None:
    """Raises UserError for options that do not go with the input; folder: whether it is a prepared task."""
    if folder and server is not None:
        raise UserError("--server", "is for a file of rows; a prepared task's test splits have their files already")
    if packed and not folder and server is None:
        raise UserError("--zip", "is for the GLUE server's files, so a file of rows needs --server too")


def check_tasks(names: Sequence[str]) -> None:
    """Raises UserError for tasks that the GLUE server has no test set of."""
    if others := [(i, name) for i, name in enumerate(names) if name not in GLUE]:
        known = ", ".join(GLUE)
        raise UserError("params.yaml", [f"tasks.{i}: must be a task of GLUE ({known}), found {n!r}" for i, n in others])


def unseen_files(data: Data, out: Path) -> dict[Path, pd.DataFrame]:
    """The file in the folder `out` for each test split of a prepared task -> its rows.

    GLUE's go into the server's files, those of another task into <split>.csv. Raises UserError where a file is there
    that kdcore did not write, or the server's test set has another number of rows.
    """
    name, server = data.task.name, data.task.name in GLUE
    splits = {
        out / (f"{name_of(name, split)}.tsv" if server else f"{split}.csv"): rows
        for split, rows in unseen_splits(data).items()
    }
    for path, rows in splits.items():
        check_file(path)
        if server:
            check_size(path.stem, len(rows))
    return splits


def predict_folder(data: Data, task: Task, predict: Predict, out: Path) -> None:
    """Predict every test split of a prepared task into the folder `out`.

    Raises UserError, before it predicts, where the data are of another task than the model, and as `unseen_files`.
    """
    if data.task.name != task.name:
        raise UserError(str(data.folder), f"holds task {data.task.name!r}, and the model is for {task.name!r}")
    files = {
        path: server_text(path.stem, predict(rows)).encode()
        if task.name in GLUE
        else writer(path)(table(task, predict(rows)))
        for path, rows in unseen_files(data, out).items()
    }
    for path, content in files.items():
        _write(path, content)


def predict_file(rows: pd.DataFrame, task: Task, predict: Predict, out: Path, server: str | None) -> None:
    """Predict one file's rows into the table `out`, or into <out>/<server>.tsv as the GLUE server takes it."""
    if server is not None:
        check_size(server, len(rows))
        _write(out / f"{server}.tsv", server_text(server, predict(rows)).encode())
        return
    write = writer(out)
    _write(out, write(table(task, predict(rows))))


def zip_files(out: Path) -> None:
    """Put every server file in `out` into one zip, and say what a submission still lacks.

    Raises UserError where there is none, or one is not as the server takes it.
    """
    there, missing = pack(out)
    say(f"{out / ZIP}: {', '.join(there)}")
    if missing:
        say(f"the server takes no submission without {', '.join(missing)}: predict them into the same folder")


def _write(path: Path, content: bytes) -> None:
    publish(path, content)
    say(f"{path} is written")
