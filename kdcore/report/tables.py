"""The long frame of points in; the main table, one row per task and method, as CSV and as Markdown, out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from kdcore.report.methods import ordered
from kdcore.report.statistics import Degenerate, Difference, Estimate, corrected, degenerate, mean, paired

BASELINES = ("none", "soft")
FIDELITY = ("agreement", "soft_label_kl", "score_mse", "attention_kl", "attention_kl_total", "cls_cosine")
COST = ("encoder_and_pooler", "total", "bytes", "seconds", "gflop")
METRICS = ("accuracy", "f1", "matthews", "pearson", "spearman")


@dataclass(frozen=True)
class Row:
    """One method on one task, over its seeds.

    estimates: metrics and fidelity by column name; differences: headline metric minus that of a baseline;
    cost: means over the seeds.
    """

    task: str
    method: str
    metric: str
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    cost: Mapping[str, float]
    degenerate: Degenerate


def rows(frame: pd.DataFrame, confidence: float) -> list[Row]:
    """Summarise the points: the tasks as they come, the methods in the tables' order."""
    tasks = frame.groupby("task", sort=False)
    return [row for _, task_frame in tasks for row in _task(task_frame, confidence)]


def _task(task_frame: pd.DataFrame, confidence: float) -> list[Row]:
    """Every method of one task; its comparisons are corrected for their number."""
    found = [_row(task_frame, method, confidence) for method in ordered(task_frame["method"])]
    differences = corrected([row.differences for row in found])
    return [replace(row, differences=own) for row, own in zip(found, differences, strict=True)]


def _row(task_frame: pd.DataFrame, method: str, confidence: float) -> Row:
    """task_frame: every point of one task, which has one headline metric."""
    runs = task_frame[task_frame["method"] == method]
    measured = [name for name in (*metric_columns(runs), *FIDELITY) if name in runs and runs[name].notna().all()]
    estimates = {name: mean(runs[name].tolist(), confidence) for name in measured}
    cost = {name: _mean_cost(runs[name]) for name in COST if runs[name].notna().all()}
    return Row(
        task=runs["task"].iloc[0],
        method=method,
        metric=runs["metric"].iloc[0],
        estimates=estimates,
        differences=differences(task_frame, method, _baselines(method), confidence),
        cost=cost,
        degenerate=degenerate(runs["degenerate"].tolist()),
    )


def _mean_cost(values: pd.Series) -> float:
    """Counts stay whole: the seeds share one architecture."""
    return int(values.iloc[0]) if values.nunique() == 1 and values.iloc[0] % 1 == 0 else float(values.mean())


def metric_columns(frame: pd.DataFrame) -> list[str]:
    """Columns that hold a task metric: `accuracy`, or `accuracy_mismatched` for another validation split."""
    names = [str(name) for name in frame]
    return [name for name in names if name.partition("_")[0] in METRICS and frame[name].notna().any()]


def _baselines(method: str) -> tuple[str, ...]:
    """What a row is compared with. Soft is compared with none only, so that no comparison is made twice."""
    if method == "teacher":
        return ()
    return BASELINES[: BASELINES.index(method)] if method in BASELINES else BASELINES


def differences(frame: pd.DataFrame, method: str, baselines: Sequence[str], confidence: float) -> dict[str, Difference]:
    """The method's headline score minus that of each baseline that was run, paired by seed."""
    groups = frame.groupby("method")
    by_seed = {name: dict(zip(runs["seed"], runs["score"], strict=True)) for name, runs in groups}
    return {name: paired(by_seed[method], by_seed[name], confidence) for name in baselines if name in by_seed}


def scores(table: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Task -> {method: mean headline score}, flat, as `dvc metrics` shows and compares it."""
    found: dict[str, dict[str, float]] = {}
    for row in table:
        found.setdefault(row.task, {})[row.method] = round(row.estimates[row.metric].value, 6)
    return found


def frame_of(table: Sequence[Row]) -> pd.DataFrame:
    """The table with one column per number; a metric's columns carry its name, so no column mixes metrics.

    Order: what the row is, metrics and differences, fidelity, cost.
    """
    frame = pd.DataFrame([_flat(row) for row in table])
    names = [str(name) for name in frame]
    last = [name for name in names if name.startswith(FIDELITY)]
    last += [name for name in COST if name in names]
    return frame[[name for name in names if name not in last] + last]


def _flat(row: Row) -> dict[str, object]:
    flat: dict[str, object] = {"task": row.task, "method": row.method, "metric": row.metric}
    flat |= {"runs": row.degenerate.of, "degenerate": row.degenerate.runs}
    for name, estimate in row.estimates.items():
        flat |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    for baseline, difference in row.differences.items():
        name, estimate = f"{row.metric}_minus_{baseline}", difference.estimate
        flat |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        flat |= {f"{name}_p": difference.p, f"{name}_p_holm": difference.p_holm, f"{name}_verdict": difference.verdict}
    return flat | dict(row.cost)
