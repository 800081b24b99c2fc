"""What a classifier's outputs mean: the task's labels, in the task's order."""

from typing import Any

import numpy as np
import torch

from kdcore.console import warn
from kdcore.data.tasks import Task
from kdcore.errors import UserError, shown
from kdcore.model.encoder import Encoder

SEVERAL = "multi_label_classification"
# problem_type -> what a model is trained for; one that has no problem_type may be any of them.
KINDS = {
    "regression": "a regression",
    "single_label_classification": "a classifier of one label each",
    SEVERAL: "a classifier of several labels each",
}


def labels_of(task: Task) -> dict[str, Any]:
    """The part of a model's config that says what its outputs mean."""
    if task.regression:
        return {"num_labels": 1, "problem_type": "regression", "id2label": {0: "score"}, "label2id": {"score": 0}}
    return {
        "num_labels": len(task.labels),
        "problem_type": "single_label_classification",
        "id2label": dict(enumerate(task.labels)),
        "label2id": {label: index for index, label in enumerate(task.labels)},
    }


def match_labels(encoder: Encoder, task: Task, name: str) -> None:
    """Put the classifier's outputs in the order of the task's labels, by name.

    Names match exactly, or else whatever their case, where that leaves no choice. Raises UserError where the labels,
    or the kind of problem, are not the task's.
    """
    own = [str(encoder.config.id2label[index]) for index in range(encoder.output.out_features)]
    kind, wanted = encoder.config.problem_type, str(labels_of(task)["problem_type"])
    if kind not in (None, wanted):
        trained_as = KINDS.get(str(kind), shown(kind))
        raise UserError(name, f"is {trained_as} (config.json: problem_type), and {task.name} is {KINDS[wanted]}")
    if task.regression and len(own) != 1:
        raise UserError(name, f"{task.name} is a regression and needs one output, found labels {own}")
    if not task.regression:
        _reorder(encoder.output, [own.index(label) for label in _named(own, task, name)])
    for key, value in labels_of(task).items():
        setattr(encoder.config, key, value)


def _named(own: list[str], task: Task, name: str) -> list[str]:
    """The classifier's name of each of the task's labels."""
    if sorted(own) == sorted(task.labels):
        return list(task.labels)
    plain = {label.casefold(): label for label in own}
    wanted = [label.casefold() for label in task.labels]
    if len(plain) < len(own) or sorted(plain) != sorted(wanted):
        raise UserError(
            name,
            f"its labels {own} are not those of {task.name}, {list(task.labels)}: name them alike in the model's "
            "config.json (id2label)",
        )
    return [plain[label] for label in wanted]


@torch.no_grad()
def _reorder(output: torch.nn.Linear, order: list[int]) -> None:
    output.weight.copy_(output.weight[order].clone())
    if output.bias is not None:
        output.bias.copy_(output.bias[order].clone())


def check_scale(scores: np.ndarray, labels: np.ndarray, name: str) -> None:
    """Warn of a regression whose scores (N,) are on another scale than the labels (N,), NaN where there is none."""
    known = labels[~np.isnan(labels)]
    if not len(known) or not len(scores):
        return
    spread, own = np.ptp(known), np.ptp(scores)
    outside = max(known.min() - scores.max(), scores.min() - known.max())  # how far apart the two ranges lie
    if spread and (outside > 0 or not spread / 3 <= own <= spread * 3):
        warn(
            f"{name} gives scores from {scores.min():.3g} to {scores.max():.3g}, the labels go from {known.min():.3g} "
            f"to {known.max():.3g}: on another scale, its scores and the labels pull a student apart"
        )
