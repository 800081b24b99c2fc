"""Points and histories in; the long frames that pictures and DVC plots draw (one row per mark) out."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from kdcore.errors import UserError
from kdcore.report.methods import ordered
from kdcore.report.statistics import degenerate, holm, mean
from kdcore.report.tables import differences

HISTORY = ("epoch", "phase", "completed", "score")
CLOSENESS = ("agreement", "attention_kl")
CONVERGENCE = ["task", "method", "seed", "trains", "epoch", "phase", "layer_done", "score", "metric"]


def per_run(frame: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """One row per run, in the tables' order: its score, and its method's mean and interval beside it."""
    return pd.DataFrame(_runs(frame, confidence)).astype({"seed": "Int64"})


def _runs(frame: pd.DataFrame, confidence: float) -> Iterator[dict[str, Any]]:
    for task, method, runs in _groups(frame):
        over_seeds = mean(runs["score"].tolist(), confidence)
        summary = {"mean": over_seeds.value, "low": over_seeds.low, "high": over_seeds.high}
        for _, run in runs.iterrows():
            row = {"task": task, "metric": run["metric"], "method": method}
            row |= {"seed": run["seed"], "score": run["score"]} | summary
            yield row | {"degenerate": int(run["degenerate"])}


def curve(frame: pd.DataFrame, field: str, confidence: float) -> pd.DataFrame:
    """One row per task, method and value of `field` (layers or rows): mean, interval, comparison with soft.

    params_m: millions of parameters of encoder and pooler, the paper's axis; agreement, attention_kl: means over seeds.
    """
    table = pd.DataFrame(_curve(frame, field, confidence)).astype({"layers": "Int64", "rows": "Int64", "p": float})
    for _, rows in table.dropna(subset="p").groupby("task"):
        table.loc[rows.index, "p_holm"] = holm(rows["p"].tolist())
    return table


def _curve(frame: pd.DataFrame, field: str, confidence: float) -> Iterator[dict[str, Any]]:
    for task, method, method_frame in _groups(frame):
        for value, runs in method_frame.groupby(field, dropna=False):
            peers = frame[(frame["task"] == task) & (frame[field] == value) & (frame["method"] != "teacher")]
            yield _curve_point(task, method, runs, confidence) | _against_soft(peers, method, confidence)


def _curve_point(task: str, method: str, runs: pd.DataFrame, confidence: float) -> dict[str, Any]:
    first, over_seeds = runs.iloc[0], mean(runs["score"].tolist(), confidence)
    return {
        "task": task,
        "metric": first["metric"],
        "method": method,
        "layers": first["layers"],
        "rows": first["rows"],
        "params_m": first["encoder_and_pooler"] / 1e6,
        "score": over_seeds.value,
        "low": over_seeds.low,
        "high": over_seeds.high,
        "runs": over_seeds.n,
        "degenerate": degenerate(runs["degenerate"].tolist()).runs,
        **{name: runs[name].astype(float).mean() for name in CLOSENESS},
    }


def _against_soft(peers: pd.DataFrame, method: str, confidence: float) -> dict[str, Any]:
    """peers: every student of the same task and value; without soft among them nothing is subtracted."""
    names = ["minus_soft", "minus_soft_low", "minus_soft_high", "p", "p_holm", "verdict"]
    if method in ("teacher", "soft") or "soft" not in set(peers["method"]):
        return dict.fromkeys(names)
    found = differences(peers, method, ["soft"], confidence)["soft"]
    estimate = found.estimate
    return dict(zip(names, [estimate.value, estimate.low, estimate.high, found.p, None, found.verdict], strict=True))


def convergence(frame: pd.DataFrame, history: Callable[[Any], Path]) -> pd.DataFrame:
    """One row per student and epoch. history: row of the frame (with its columns as attributes) -> history.csv."""
    parts = []
    for _, _, students in _groups(frame[frame["method"] != "teacher"]):
        for student in students.itertuples():
            epochs = _history(history(student)).rename(columns={"completed": "layer_done"})
            facts = {name: getattr(student, name) for name in ("task", "method", "seed", "trains", "metric")}
            parts.append(epochs.assign(**facts)[CONVERGENCE])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=CONVERGENCE)


def _history(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(str(path), "missing, but its result is there; `dvc repro` makes it")
    history = pd.read_csv(path)
    if absent := [name for name in HISTORY if name not in history]:
        raise UserError(str(path), [f"{name}: column is missing" for name in absent])
    return history[list(HISTORY)].astype({"completed": "Int64"})


def _groups(frame: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Task, method and their rows: tasks as they come, methods in the tables' order."""
    for task, task_frame in frame.groupby("task", sort=False):
        for method in ordered(task_frame["method"]):
            yield str(task), method, task_frame[task_frame["method"] == method]
