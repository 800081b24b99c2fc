"""Predictions of the headline run in; how its students repeat the teacher's errors out.

Shapes: N validation examples. The JSON of a task says per method and seed how often teacher and student are right, and
tests what can be tested: over seeds (agreement, repeated errors), and over examples for each seed (score, McNemar).
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdcore.data.metrics import predictions, task_metrics
from kdcore.data.tasks import Task
from kdcore.report.statistics import Difference, Estimate, McNemar, bootstrap, holm, mcnemar, mean, paired

COUNTS = ("both_right", "only_teacher_right", "only_student_right", "both_wrong")
SHARES = ("agreement", "repeated_errors")
TESTS = ("against_teacher", "against_soft")


@dataclass(frozen=True)
class Said:
    """What the models of one task say about its validation data."""

    task: Task
    labels: NDArray[np.number]  # (N,) class ids
    teacher: NDArray[np.floating]  # (N, K) logits
    students: Mapping[str, Mapping[int, NDArray[np.floating]]]  # method -> seed -> (N, K) logits


def analyse(said: Said, confidence: float) -> dict[str, Any]:
    """The error analysis of one task, as JSON has it. A regression has none, and says why."""
    if said.task.regression:
        return {"skipped": "a regression predicts numbers, which are neither right nor wrong"}
    right = int((predictions(said.teacher) == said.labels).sum())
    methods = {method: _method(said, method, confidence) for method in said.students}
    _correct(found["minus_soft"][name] for found in methods.values() for name in SHARES)
    _correct(run.get(name) for found in methods.values() for run in found["runs"] for name in TESTS)
    return {
        "examples": len(said.labels),
        "metric": said.task.metrics[0],
        "teacher": {
            "right": right,
            "wrong": len(said.labels) - right,
            "score": _estimate(_score(said, said.teacher, confidence)),
        },
        "methods": methods,
    }


def _correct(tests: Iterable[dict[str, Any] | None]) -> None:
    """Put Holm's correction beside each p, for the number of these tests; None is no test."""
    made = [test for test in tests if test]
    for test, p in zip(made, holm([test["p"] for test in made]), strict=True):
        test["p_holm"] = p


def _method(said: Said, method: str, confidence: float) -> dict[str, Any]:
    runs = {seed: _run(said, logits) for seed, logits in said.students[method].items()}
    return {
        "runs": [{"seed": seed, **run, **_examples(said, method, seed, confidence)} for seed, run in runs.items()],
        "mean": {name: _over_seeds(runs, name, confidence) for name in SHARES},
        "minus_soft": {name: _minus_soft(said, method, runs, name, confidence) for name in SHARES},
    }


def _run(said: Said, logits: NDArray[np.floating]) -> dict[str, Any]:
    """Counts of right and wrong, agreement, and the share of the teacher's errors that are repeated word for word."""
    teacher, student = predictions(said.teacher), predictions(logits)
    taught, learned = teacher == said.labels, student == said.labels
    cells = (taught & learned, taught & ~learned, ~taught & learned, ~taught & ~learned)
    same = teacher == student
    return {name: int(cell.sum()) for name, cell in zip(COUNTS, cells, strict=True)} | {
        "agreement": float(same.mean()),
        "repeated_errors": float(same[~taught].mean()) if (~taught).any() else None,
    }


def _over_seeds(runs: Mapping[int, Mapping[str, Any]], name: str, confidence: float) -> dict[str, Any] | None:
    """None for the errors of a teacher that makes none."""
    values = [run[name] for run in runs.values()]
    return None if None in values else _estimate(mean(values, confidence))


def _minus_soft(
    said: Said, method: str, runs: Mapping[int, Mapping[str, Any]], name: str, confidence: float
) -> dict[str, Any] | None:
    if method == "soft" or "soft" not in said.students:
        return None
    soft = {seed: _run(said, logits)[name] for seed, logits in said.students["soft"].items()}
    if None in soft.values():
        return None
    return _difference(paired({seed: run[name] for seed, run in runs.items()}, soft, confidence))


def _examples(said: Said, method: str, seed: int, confidence: float) -> dict[str, Any]:
    """One run: its score over other examples that might have been drawn, and its exact tests on these ones."""
    logits = said.students[method][seed]
    others = {"against_teacher": said.teacher}
    if method != "soft" and "soft" in said.students:
        others["against_soft"] = said.students["soft"][seed]
    tests = {
        name: _test(mcnemar(said.labels, predictions(logits), predictions(other), confidence))
        for name, other in others.items()
    }
    return {"score": _estimate(_score(said, logits, confidence)), **tests}


def _score(said: Said, logits: NDArray[np.floating], confidence: float) -> Estimate:
    """The headline metric with its bootstrap interval over validation examples."""
    name = said.task.metrics[0]
    return bootstrap(lambda labels, found: task_metrics([name], found, labels)[name], said.labels, logits, confidence)


def _estimate(estimate: Estimate) -> dict[str, Any]:
    kept = ("value", "low", "high", "note")
    return {name: value for name, value in asdict(estimate).items() if name in kept and value != ""}


def _difference(difference: Difference) -> dict[str, Any]:
    return _estimate(difference.estimate) | {"p": difference.p, "verdict": difference.verdict}


def _test(test: McNemar) -> dict[str, Any]:
    """The first classifier is the student: `higher` says that it is right where the other is wrong more often."""
    return {"only_student": test.only_first, "only_other": test.only_second, "p": test.p, "verdict": test.verdict}
