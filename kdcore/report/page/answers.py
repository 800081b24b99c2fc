"""table.csv of the headline run in; every difference between two methods, in words and as marks on one axis, out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kdcore.report.markdown import starred
from kdcore.report.statistics import NO_DIFFERENCE
from kdcore.report.tables import BASELINES

SIGNS = {"higher": "▲", "lower": "▼", NO_DIFFERENCE: "="}


@dataclass(frozen=True)
class Answer:
    """One method minus one baseline on the headline metric, paired by seed.

    star: `*` where the verdict stands after Holm's correction; at, low_at, high_at, zero_at: places on an axis of
    0 … 100 that all answers of a task share; low and high are None where the seeds give no interval.
    """

    method: str
    baseline: str
    value: float
    low: float | None
    high: float | None
    verdict: str
    sign: str
    star: str
    at: float = 0.0
    low_at: float = 0.0
    high_at: float = 0.0
    zero_at: float = 0.0


def against_soft(found: Sequence[Answer]) -> dict[str, list[str]]:
    """The verdict on internal against standard distillation: verdict -> the methods that it is about."""
    said: dict[str, list[str]] = {}
    for answer in found:
        if answer.baseline == "soft":
            said.setdefault(answer.verdict + answer.star, []).append(answer.method)
    return said


def answers(table: pd.DataFrame, confidence: float) -> list[Answer]:
    """table: the rows of one task. Internal methods against soft come first: they are the paper's question."""
    found = sorted(_differences(table, confidence), key=lambda answer: answer.baseline != "soft")
    return _placed(found)


def _differences(table: pd.DataFrame, confidence: float) -> Iterator[Answer]:
    metric = table["metric"].iloc[0]
    for row in table.to_dict("records"):
        for baseline in BASELINES:
            name = f"{metric}_minus_{baseline}"
            verdict = row.get(f"{name}_verdict")
            if isinstance(verdict, str):
                low, high = (_number(row[f"{name}_{end}"]) for end in ("low", "high"))
                sign = SIGNS.get(verdict, "–")  # not tested
                star = starred("", _number(row[f"{name}_p_holm"]), confidence)
                yield Answer(str(row["method"]), baseline, float(row[name]), low, high, verdict, sign, star)


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _placed(found: Sequence[Answer]) -> list[Answer]:
    ends = [0.0, *(end for a in found for end in (a.value, a.low, a.high) if end is not None)]
    least, span = min(ends), (max(ends) - min(ends)) or 1.0

    def place(value: float | None, otherwise: float) -> float:
        return round(4 + 92 * ((otherwise if value is None else value) - least) / span, 2)

    return [
        Answer(
            a.method, a.baseline, a.value, a.low, a.high, a.verdict, a.sign, a.star,
            at=place(a.value, 0), low_at=place(a.low, a.value), high_at=place(a.high, a.value), zero_at=place(0.0, 0),
        )
        for a in found
    ]  # fmt: skip
