"""What speaks against a finished model, with its numbers: constant predictions, chance, a loss that still fell."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from kdcore.console import warn
from kdcore.data.metrics import task_metrics
from kdcore.data.tasks import Task
from kdcore.errors import UserError

RESAMPLES = 100  # of the validation rows; the standard error is then right to within 7 %
FALL = 0.05  # share of the classification loss that the last epoch of a student that is done takes away, at most ...
PACE = 0.5  # ... unless the mean epoch of that phase takes away more than twice as much
FLAT = 0.05  # share of the truth's standard deviation, below which a regression's answers are as good as one
FAR = 2.0  # standard errors of a difference

MORE = (
    "more rows (student.rows), more epochs (distill.epochs_per_layer, distill.classification_epochs), a higher "
    "train.learning_rate or, for pid and sid, `distill.classification: always` may help, and "
    "`dvc repro stages/dvc.yaml:tune` tries what study.tune.knobs lists"
)
ADVICE = {
    "constant": MORE,
    "chance": MORE,
    "flat": MORE,
    "falling": "more epochs (distill.classification_epochs) or a higher train.learning_rate may help",
}
OF_A_TEACHER = {
    "constant": "there is nothing to distil from it",
    "chance": "there is little to distil from it",
    "flat": "there is little to distil from it",
    "falling": "more epochs (teacher.epochs) or a higher teacher.learning_rate may help",
}


def chance(task: Task, labels: np.ndarray) -> float:
    """The headline metric of the best constant prediction on (N,) labels (NaN: none); 0 for a correlation."""
    known, metric = labels[~np.isnan(labels)], task.metrics[0]
    answers = np.eye(max(1, len(task.labels)))
    return max(task_metrics((metric,), np.tile(answer, (len(known), 1)), known)[metric] for answer in answers)


def standard_error(metric: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """Of the metric on (N, K) logits and (N,) labels, had other validation rows been drawn: by a seeded bootstrap."""
    known, random = np.flatnonzero(~np.isnan(labels)), np.random.default_rng(0)
    draws = [random.choice(known, len(known)) for _ in range(RESAMPLES)]
    return float(np.std([task_metrics((metric,), logits[rows], labels[rows])[metric] for rows in draws]))


def spread(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Standard deviations of a regression's answers, (N, 1), and of the truth, (N,) labels (NaN: none)."""
    known = ~np.isnan(labels)
    return {"own": float(logits[known, 0].std()), "truth": float(labels[known].std())}


def warnings(point: Mapping[str, Any]) -> dict[str, str]:
    """What speaks against a model, in words with numbers, by kind: `constant`, `chance`, `flat`, `falling`.

    point: with its score, `degenerate`, `chance`, `standard_error`, `last_losses` and, of a regression, `spread`.
    """
    found = {}
    score = f"{point['metric']} {point['score']:.4f} on validation"
    if point["degenerate"]:
        found["constant"] = f"gives every example the same prediction ({score})"
    elif point["score"] <= point["chance"] + point["standard_error"]:
        found["chance"] = (
            f"is no better than one answer for all: {score}, with a standard error of {point['standard_error']:.4f}, "
            f"where that has {point['chance']:.4f}"
        )
    elif (spread := point.get("spread")) and spread["own"] < FLAT * spread["truth"]:
        found["flat"] = (
            f"gives every example nearly the same number: a standard deviation of {spread['own']:.2g} where the truth "
            f"has {spread['truth']:.2g} ({score})"
        )
    losses = point["last_losses"] or []
    if len(losses) > 1:
        fall, pace = losses[-2] - losses[-1], (losses[0] - losses[-1]) / (len(losses) - 1)
        if fall > FALL * losses[-2] and fall > PACE * pace:
            found["falling"] = (
                f"was still learning fast at the end: the last epoch took its classification loss from "
                f"{losses[-2]:.4f} to {losses[-1]:.4f} ({fall / losses[-2]:.0%}), {len(losses)} epochs took it from "
                f"{losses[0]:.4f}"
            )
    return found


def check(name: str, point: Mapping[str, Any], floor: float | None = None) -> None:
    """Warn of what speaks against a model, with what may help.

    name: in messages. Raises UserError for one that scores below the floor.
    """
    section = "teacher" if point["method"] == "teacher" else "student"
    for kind, text in point["warnings"].items():
        warn(f"{name} {text}; {(OF_A_TEACHER if section == 'teacher' else ADVICE)[kind]}")
    if floor is not None and point["score"] < floor:
        found = f"{name} must reach {floor}, found {point['metric']} {point['score']:.4f} on validation"
        others = "; the others are trained by `dvc repro -k`" if section == "student" else ""
        raise UserError(f"{section}.floor", f"{found}. It stays in the store, for a lower floor{others}")


def below_none(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """The methods of a task, the teacher one of them, whose mean score is far below that of `none`, in words with
    numbers and what may help.

    points: of the task's teachers and students, of every method and seed.
    """
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for point in points:
        by_method.setdefault(point["method"], []).append(point)
    plain = by_method.pop("none", [])
    lines = []
    for method, runs in by_method.items():
        (own, error), (other, spread) = _mean(runs), _mean(plain or runs)
        if other - own > FAR * math.hypot(error, spread):
            task, metric = runs[0]["task"], runs[0]["metric"]
            told = f"{metric} {own:.4f} against {other:.4f}, the mean of {len(runs)} against that of {len(plain)}"
            advice = OF_A_TEACHER["chance"] if method == "teacher" else MORE
            lines.append(f"{task}: {method} is far below none, which learns without the teacher: {told}; {advice}")
    return lines


def _mean(runs: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The mean score and the mean standard error, which seeds on the same rows do not lower."""
    return fmean(run["score"] for run in runs), fmean(run["standard_error"] for run in runs)
