"""Logits in; a table of predictions out, in the format that its file's name asks for."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from kdcore.data.metrics import predictions
from kdcore.data.tasks import Task
from kdcore.errors import UserError


def table(task: Task, logits: NDArray[np.floating]) -> pd.DataFrame:
    """One row per row of the input: its position, the label's name, and p_<label>; a regression's number alone."""
    rows = pd.DataFrame({"row": range(len(logits))})
    if task.regression:
        return rows.assign(prediction=predictions(logits))
    probabilities = softmax(logits.astype(np.float64), axis=1)
    named = [task.labels[index] for index in predictions(logits)]
    return rows.assign(prediction=named, **{f"p_{name}": probabilities[:, k] for k, name in enumerate(task.labels)})


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _text(separator: str) -> Callable[[pd.DataFrame], bytes]:
    def written(frame: pd.DataFrame) -> bytes:
        return frame.to_csv(index=False, sep=separator, float_format="%.6g", lineterminator="\n").encode()

    return written


def _json_lines(frame: pd.DataFrame) -> bytes:
    return frame.to_json(orient="records", lines=True, force_ascii=False, double_precision=6).encode()


WRITERS: dict[str, Callable[[pd.DataFrame], bytes]] = {
    ".csv": _text(","),
    ".tsv": _text("\t"),
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}


def writer(path: Path) -> Callable[[pd.DataFrame], bytes]:
    """What turns a table into the bytes of that file; raises UserError for another ending."""
    if path.suffix not in WRITERS:
        raise UserError(str(path), f"must end in {' | '.join(WRITERS)}")
    return WRITERS[path.suffix]
