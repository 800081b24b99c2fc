"""Predictions of teacher and students in; the validation examples that are worth looking at out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, rel_entr, softmax

from kdcore.data.metrics import predictions

LONGEST = 28  # tokens of an example that can still be drawn and read

DIFFER = "the students disagree"
FAR = "the students are far from the teacher"
USUAL = "of about median length"


@dataclass(frozen=True)
class Choice:
    """A chosen example: its position in the split, and why it was chosen."""

    position: int
    reason: str


def compared(asked: Mapping[str, str], methods: Sequence[str]) -> tuple[list[str], list[str]]:
    """The students that are compared, each once, and a line for each that is asked for but was not run.

    asked: key of `attention:` in params.yaml -> method; methods: those of the headline run.
    """
    known = ", ".join(methods)
    left_out = {key: method for key, method in asked.items() if method not in methods}
    notes = [
        f"attention.{key}: {method} is not in `methods` ({known}), so it is left out"
        for key, method in left_out.items()
    ]
    return list(dict.fromkeys(method for method in asked.values() if method in methods)), notes


def choose(lengths: np.ndarray, teacher: np.ndarray, students: Sequence[np.ndarray], count: int) -> list[Choice]:
    """At most `count` examples: half of them where students differ, the rest of about median length.

    lengths: (N,) tokens; teacher and each of students: (N, K) logits. The first half (of an odd count, the larger)
    are examples on which the students predict differently, then those on which a student is farthest from the
    teacher. Without students every example is of the second kind. The same input gives the same choice.
    """
    short = _drawable(lengths, count)
    telling = _telling(short, teacher, students)[: (count + 1) // 2] if students else []
    middle = min(float(np.median(lengths)), LONGEST)
    rest = short[~np.isin(short, [choice.position for choice in telling])]
    usual = rest[np.argsort(np.abs(lengths[rest] - middle), kind="stable")]
    return [*telling, *(Choice(int(position), USUAL) for position in usual[: count - len(telling)])]


def _drawable(lengths: np.ndarray, count: int) -> np.ndarray:
    """Positions of the examples that are short enough to draw; the shortest where those are too few."""
    short = np.flatnonzero(lengths <= LONGEST)
    return short if len(short) >= count else np.sort(np.argsort(lengths, kind="stable")[:count])


def _telling(short: np.ndarray, teacher: np.ndarray, students: Sequence[np.ndarray]) -> list[Choice]:
    """The most telling first."""
    predicted = np.stack([predictions(logits[short]) for logits in students])
    differ = (predicted != predicted[0]).any(0) & (teacher.shape[1] > 1)  # two scores always differ
    distance = np.max([_distance(teacher[short], logits[short]) for logits in students], axis=0)
    order = np.lexsort((-distance, ~differ))
    return [Choice(int(short[place]), DIFFER if differ[place] else FAR) for place in order]


def _distance(teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """(N,) KL(teacher || student) of the class probabilities; for a regression the scores' absolute difference."""
    if teacher.shape[1] == 1:
        return np.abs(teacher - student)[:, 0]
    return rel_entr(softmax(teacher, axis=1), np.exp(log_softmax(student, axis=1))).sum(1)
