"""Predictions and texts in; errors.json, errors.md and errors.csv of the headline run out."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdcore.data.prepared import Data
from kdcore.errors import UserError
from kdcore.report import points
from kdcore.report.error_examples import examples
from kdcore.report.error_text import error_markdown
from kdcore.report.errors import Said, analyse
from kdcore.report.files import csv, write

RERUN = "run `dvc repro -f evaluate`"


def write_errors(
    predictions: Path,
    data: Path,
    out: Path,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    confidence: float,
) -> None:
    """Write the error analysis of every task, and the examples behind it, into `out`.

    predictions: <task>/teacher.parquet and <task>/<method>-s<seed>.parquet; data: prepared data, <task>/ each.
    Raises UserError where predictions are missing, or are not of the same examples.
    """
    wanted = points.headline(predictions, tasks, methods, seeds)
    points.check_all_exist([replace(point, path=point.path.with_suffix(".parquet")) for point in wanted])
    found: dict[str, Any] = {}
    shown = []
    for task in tasks:
        prepared = Data.open(data / task)
        rows = prepared.frame("validation")
        said = _said(predictions / task, prepared, rows, methods, seeds)
        found[task] = analyse(said, confidence)
        if not said.task.regression:
            shown.append(examples(said, rows))
    table = pd.concat(shown, ignore_index=True) if shown else pd.DataFrame(columns=["task"])
    text = error_markdown(found, table, confidence)
    write(out / "errors.json", json.dumps(_short(found), indent=2, ensure_ascii=False) + "\n")
    write(out / "errors.csv", csv(table))
    write(out / "errors.md", text)


def _short(value: Any) -> Any:
    """Floats with six significant digits, as in every CSV here: enough for any score, and stable in git diffs."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _said(folder: Path, data: Data, rows: pd.DataFrame, methods: Sequence[str], seeds: Sequence[int]) -> Said:
    return Said(
        task=data.task,
        labels=rows["label"].to_numpy(dtype=np.float64),
        teacher=_logits(folder / "teacher.parquet", rows),
        students={
            method: {seed: _logits(folder / f"{method}-s{seed}.parquet", rows) for seed in seeds} for method in methods
        },
    )


def _logits(path: Path, rows: pd.DataFrame) -> NDArray[np.floating]:
    """(N, K) logits of the validation split. Raises UserError where they are not those of `rows`."""
    try:
        found = pd.read_parquet(path)
        found = found[found["split"] == "validation"]
        logits = found.filter(regex=r"^logit_\d+$").to_numpy(dtype=np.float64)
        same = found["row"].tolist() == rows["row"].tolist()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(str(path), f"predictions can't be read ({error}); {RERUN}") from error
    if not same or not logits.shape[1]:
        raise UserError(str(path), f"is not of the examples of the prepared data; {RERUN}")
    return logits
