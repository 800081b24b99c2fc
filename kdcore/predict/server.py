"""Logits in; the GLUE server's files out: `index`, `prediction`, one line per test row in the order of the test set."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdcore.artefacts import publish
from kdcore.data.metrics import predictions
from kdcore.data.tasks import GLUE
from kdcore.errors import UserError, near

HEADER = "index\tprediction"
ZIP = "submission.zip"


@dataclass(frozen=True)
class ServerFile:
    """One file of a submission. split: of the prepared task; None where the rows come as a file of their own."""

    task: str
    split: str | None
    rows: int


FILES: dict[str, ServerFile] = {
    "CoLA": ServerFile("cola", "test", 1063),
    "SST-2": ServerFile("sst2", "test", 1821),
    "MRPC": ServerFile("mrpc", "test", 1725),
    "QQP": ServerFile("qqp", "test", 390965),
    "STS-B": ServerFile("stsb", "test", 1379),
    "MNLI-m": ServerFile("mnli", "test", 9796),
    "MNLI-mm": ServerFile("mnli", "test_mismatched", 9847),
    "QNLI": ServerFile("qnli", "test", 5463),
    "RTE": ServerFile("rte", "test", 3000),
    "WNLI": ServerFile("wnli", "test", 146),
    "AX": ServerFile("mnli", None, 1104),  # the diagnostic set, which an MNLI model predicts
}
NAMED = ("mnli", "qnli", "rte")  # tasks whose labels go by name; the other classes go by id


def check_name(name: str, task: str) -> None:
    """Raises UserError where `name` is no file of the server, or is not predicted by a model for `task`."""
    if name not in FILES:
        raise UserError("--server", f"must be {' | '.join(FILES)}, found {name!r}{near(name, FILES)}")
    if FILES[name].task != task:
        raise UserError("--server", f"{name} is predicted by a model for {FILES[name].task!r}, not for {task!r}")


def name_of(task: str, split: str) -> str:
    """The file for a split of a GLUE task, without its ending."""
    return next(name for name, file in FILES.items() if (file.task, file.split) == (task, split))


def check_size(name: str, rows: int) -> None:
    """Raises UserError where so many rows are not those of the server's test set."""
    if rows != FILES[name].rows:
        problem = f"must have {FILES[name].rows:,} rows, those of the server's test set, found {rows:,}"
        raise UserError(f"{name}.tsv", problem)


def server_text(name: str, logits: NDArray[np.floating]) -> str:
    """The file's content from (N, K) logits."""
    shown = _shown(FILES[name].task)
    lines = [f"{index}\t{shown(value)}" for index, value in enumerate(predictions(logits).tolist())]
    return "\n".join([HEADER, *lines]) + "\n"


def _shown(task: str) -> Callable[[float], str]:
    if not GLUE[task].labels:
        return lambda score: f"{min(5.0, max(0.0, score)):.3f}"  # STS-B's scale
    return (lambda index: GLUE[task].labels[int(index)]) if task in NAMED else str


def pack(folder: Path) -> tuple[list[str], list[str]]:
    """Put the server's files that are in `folder` into one zip; returns their names, and those that are missing.

    Raises UserError where there is none, or one is no text in UTF-8 with the server's header and number of rows. Equal
    files give equal bytes.
    """
    there = [name for name in FILES if (folder / f"{name}.tsv").is_file()]
    if not there:
        raise UserError(str(folder), f"has none of the GLUE server's files, which are {', '.join(FILES)}.tsv")
    if problems := [problem for name in there if (problem := _problem(folder / f"{name}.tsv", FILES[name].rows))]:
        raise UserError(str(folder), problems)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in there:
            entry = zipfile.ZipInfo(f"{name}.tsv")  # dated 1980, whenever it is written
            archive.writestr(entry, (folder / entry.filename).read_bytes(), zipfile.ZIP_DEFLATED)
    publish(folder / ZIP, packed.getvalue())
    return there, [name for name in FILES if name not in there]


def _problem(path: Path, rows: int) -> str | None:
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    except UnicodeDecodeError:
        return f"{path.name}: must be text in UTF-8"
    if header != HEADER:
        return f"{path.name}: its first line must be {HEADER!r}, found {header!r}"
    return None if len(lines) == rows else f"{path.name}: must have {rows:,} rows, found {len(lines):,}"
