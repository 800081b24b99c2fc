"""The long frame of points in; one row per recipe (a method with more choices), compared with others, out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from kdcore.report.series import per_run
from kdcore.report.statistics import Degenerate, Difference, Estimate, corrected, degenerate, mean, paired

Choices = tuple[str, ...]  # e.g. ("sid", "uniform", "teacher"), in the order of the columns that they come from
Against = Mapping[str, Callable[[Choices], Choices]]  # name of a comparison -> what a recipe is compared with


@dataclass(frozen=True)
class Recipe:
    """One recipe on one task, over its seeds. differences: headline metric minus that of each other recipe."""

    task: str
    metric: str
    choices: Choices
    score: Estimate
    differences: Mapping[str, Difference]
    degenerate: Degenerate
    gflop: float


def recipes(frame: pd.DataFrame, by: Sequence[str], against: Against, confidence: float) -> list[Recipe]:
    """Summarise the students; `by`: the columns that make a recipe. The order is that of the points."""
    students = frame[frame["method"] != "teacher"]
    tasks = students.groupby("task", sort=False)
    return [recipe for _, group in tasks for recipe in _task(_runs(group, by), against, confidence)]


def _task(runs: Mapping[Choices, pd.DataFrame], against: Against, confidence: float) -> list[Recipe]:
    """Every recipe of one task; its comparisons are corrected for their number."""
    found = [_recipe(choices, runs, against, confidence) for choices in runs]
    differences = corrected([recipe.differences for recipe in found])
    return [replace(recipe, differences=own) for recipe, own in zip(found, differences, strict=True)]


def _runs(frame: pd.DataFrame, by: Sequence[str]) -> dict[Choices, pd.DataFrame]:
    """The runs of each recipe, of the points of one task."""
    return {tuple(map(str, choices)): runs for choices, runs in frame.groupby(list(by), sort=False)}


def _recipe(choices: Choices, task: Mapping[Choices, pd.DataFrame], against: Against, confidence: float) -> Recipe:
    runs = task[choices]
    others = {name: other(choices) for name, other in against.items()}
    return Recipe(
        task=runs["task"].iloc[0],
        metric=runs["metric"].iloc[0],
        choices=choices,
        score=mean(runs["score"].tolist(), confidence),
        differences={
            name: paired(_by_seed(runs), _by_seed(task[other]), confidence)
            for name, other in others.items()
            if other in task and other != choices
        },
        degenerate=degenerate(runs["degenerate"].tolist()),
        gflop=float(runs["gflop"].mean()),
    )


def _by_seed(runs: pd.DataFrame) -> dict[int, float]:
    return dict(zip(runs["seed"], runs["score"], strict=True))


def frame_of(table: Sequence[Recipe], by: Sequence[str]) -> pd.DataFrame:
    """The table with one column per number. A comparison that a recipe has not got is empty."""
    return pd.DataFrame([_flat(recipe, by) for recipe in table])


def _flat(recipe: Recipe, by: Sequence[str]) -> dict[str, Any]:
    flat: dict[str, Any] = {"task": recipe.task, "metric": recipe.metric, **dict(zip(by, recipe.choices, strict=True))}
    flat |= {"runs": recipe.degenerate.of, "degenerate": recipe.degenerate.runs}
    flat |= {"score": recipe.score.value, "low": recipe.score.low, "high": recipe.score.high, "gflop": recipe.gflop}
    for name, difference in recipe.differences.items():
        estimate = difference.estimate
        flat |= {f"minus_{name}": estimate.value, f"minus_{name}_low": estimate.low}
        flat |= {f"minus_{name}_high": estimate.high, f"minus_{name}_p": difference.p}
        flat |= {f"minus_{name}_p_holm": difference.p_holm, f"minus_{name}_verdict": difference.verdict}
    return flat


def per_recipe(frame: pd.DataFrame, by: Sequence[str], confidence: float) -> pd.DataFrame:
    """series.per_run for each recipe in place of each method, with its choices beside: a row per student."""
    students = frame[frame["method"] != "teacher"]
    parts = [
        per_run(runs, confidence).assign(**dict(zip(by, choices, strict=True)), recipe=" ".join(choices))
        for _, group in students.groupby("task", sort=False)
        for choices, runs in _runs(group, by).items()
    ]
    return pd.concat(parts, ignore_index=True)
