"""Predictions in; the examples on which methods differ out, as rows of a table.

Shapes: N validation examples.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdcore.data.metrics import predictions
from kdcore.report.errors import Said

MOST = 30  # examples of one task


def examples(said: Said, rows: pd.DataFrame, most: int = MOST) -> pd.DataFrame:
    """One row per telling example: its text, its label, what the teacher and most seeds of each method predict.

    rows: the prepared validation data, in the order of the predictions. Beside each method stands how many of its
    seeds are right, e.g. 2/3.
    """
    chosen = telling(said, most)
    found: dict[str, Any] = {
        "task": said.task.name,
        **{name: rows[name].iloc[chosen].tolist() for name in ("row", "text_a", "text_b")},
        "label": _names(said, said.labels[chosen]),
        "teacher": _names(said, predictions(said.teacher)[chosen]),
    }
    for method, runs in said.students.items():
        right = right_seeds(said, method)[chosen]
        found[method] = _names(said, usual(said, method)[chosen])
        found[f"{method}_right"] = [f"{count}/{len(runs)}" for count in right]
    return pd.DataFrame(found)


def _names(said: Said, ids: NDArray[np.number]) -> list[str]:
    return [said.task.labels[int(one)] for one in ids]


def telling(said: Said, most: int) -> list[int]:
    """Positions of at most `most` examples on which the methods differ, the largest difference first.

    A method's count for an example is the number of seeds that get it right; the difference is that between the
    methods with the highest and the lowest count. Ties stand in the order of the data.
    """
    counts = [right_seeds(said, method) / len(runs) for method, runs in said.students.items()]
    gap = np.ptp(np.stack(counts), axis=0)
    order = np.argsort(-gap, kind="stable")
    return [int(position) for position in order[:most] if gap[position] > 0]


def right_seeds(said: Said, method: str) -> NDArray[np.int64]:
    """(N,) how many of the method's seeds get each example right."""
    return np.sum([predictions(logits) == said.labels for logits in said.students[method].values()], axis=0)


def usual(said: Said, method: str) -> NDArray[np.int64]:
    """(N,) the class that most of the method's seeds predict; of equally frequent ones the lowest id."""
    votes = np.stack([predictions(logits) for logits in said.students[method].values()])
    classes = range(len(said.task.labels))
    return np.stack([(votes == one).sum(0) for one in classes]).argmax(0)
