"""A comparison of attention maps in; the JSON that the page's explorer reads out.

Texts, tokens and label names are the data's own: they are kept as they are, and whoever shows them escapes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kdcore.data.tasks import Task
from kdcore.evaluation.attention import Comparison, Example, Seen
from kdcore.report.methods import meaning
from kdcore.report.packed import ENCODING, pack


def document(
    comparison: Comparison,
    seed: int,
    overall: Mapping[str, NDArray[np.floating]],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Everything to be shown of one task.

    overall: student -> KL per layer and head (L, A), the mean over all validation rows; notes: what was left out,
    and why. `total` is the paper's: the sum over matching layers of the mean over heads.
    """
    task, first = comparison.task, comparison.examples[0]
    names = list(first.seen)
    heads = first.seen[names[0]].maps.shape[1]
    return {
        "task": task.name,
        "labels": list(task.labels),
        "layer_map": list(comparison.layer_map),
        "heads": heads,
        "seed": seed,
        "notes": list(notes),
        "maps": ENCODING,
        "models": [_model(name, overall.get(name)) for name in names],
        "examples": [_example(task, example) for example in comparison.examples],
    }


def _model(name: str, kl: NDArray[np.floating] | None) -> dict[str, Any]:
    return {"name": name, "meaning": meaning(name)} | ({} if kl is None else _kl(kl))


def _kl(values: NDArray[np.floating]) -> dict[str, Any]:
    return {"kl": np.round(values, 4).tolist(), "total": total(values)}


def total(kl: NDArray[np.floating]) -> float:
    """The paper's total over matching layers of (L, A) values."""
    return round(float(kl.mean(axis=1).sum()), 4)


def _example(task: Task, example: Example) -> dict[str, Any]:
    label = example.label
    return {
        "row": example.row,
        "texts": list(example.texts),
        "label": label if label is None or task.regression else task.labels[int(label)],
        "reason": example.reason,
        "tokens": list(example.tokens),
        "models": {name: _seen(task, seen) for name, seen in example.seen.items()},
    }


def _seen(task: Task, seen: Seen) -> dict[str, Any]:
    """What one model makes of an example: its prediction, its maps (a text per layer), its KL."""
    said: dict[str, Any]
    if task.regression:
        said = {"prediction": round(float(seen.logits[0]), 4)}
    else:
        shares = softmax(seen.logits.astype(np.float64))
        said = {"prediction": task.labels[int(shares.argmax())], "probabilities": np.round(shares, 4).tolist()}
    said |= {"maps": [pack(layer) for layer in seen.maps]}
    return said | ({} if seen.kl is None else _kl(seen.kl))
