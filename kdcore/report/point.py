"""One result point: what its JSON must hold, and how it becomes one flat row."""

import math
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, model_validator


class Fidelity(BaseModel):
    """Distance of a student to the teacher on validation data; `agreement` is None for a regression."""

    model_config = ConfigDict(frozen=True)
    agreement: FiniteFloat | None = None
    soft_label_kl: FiniteFloat | None = None
    score_mse: FiniteFloat | None = None
    attention_kl: list[list[FiniteFloat]]  # per student layer, per head
    cls_cosine: list[FiniteFloat]  # per student layer


class Parameters(BaseModel):
    """Counts of weights; the paper's axis leaves the embeddings out."""

    model_config = ConfigDict(frozen=True)
    encoder_and_pooler: int
    total: int


class Point(BaseModel):
    """One evaluated run. The teacher has neither a fidelity nor a student's choices."""

    model_config = ConfigDict(frozen=True)
    task: str
    method: str
    layers: int
    rows: int | None = None
    seed: int | None = None
    init: str | None = None
    layer_map: str | list[int] | None = None
    trains: str | None = None
    metric: str
    score: FiniteFloat
    scores: dict[str, dict[str, FiniteFloat]]
    degenerate: bool
    fidelity: Fidelity | None = None
    parameters: Parameters
    bytes: int
    seconds: FiniteFloat | None = None  # None: the teacher was fine-tuned elsewhere
    gflop: FiniteFloat | None = None
    epochs: int | None = None

    @model_validator(mode="after")
    def _headline_is_among_the_scores(self) -> Self:
        found = self.scores.get("validation", {}).get(self.metric)
        if found is None or not math.isclose(found, self.score, abs_tol=1e-6):
            raise ValueError(f"score is {self.score}, but scores.validation.{self.metric} is {found}")
        return self


def _fidelity(fidelity: Fidelity) -> dict[str, float | None]:
    """Layers and heads become their mean, and the paper's total over matching layers."""
    per_layer = [float(np.mean(heads)) for heads in fidelity.attention_kl]
    return {
        "agreement": fidelity.agreement,
        "soft_label_kl": fidelity.soft_label_kl,
        "score_mse": fidelity.score_mse,
        "attention_kl": float(np.mean(per_layer)),
        "attention_kl_total": float(np.sum(per_layer)),
        "cls_cosine": float(np.mean(fidelity.cls_cosine)),
    }


def row(point: Point) -> dict[str, Any]:
    """Flatten a point. Every metric gets a column of its own, as no column may mix two of them."""
    row = point.model_dump(exclude={"scores", "fidelity", "parameters"})
    for split, metrics in point.scores.items():
        suffix = "" if split == "validation" else "_" + split.removeprefix("validation_")
        row |= {f"{metric}{suffix}": value for metric, value in metrics.items()}
    row |= {"encoder_and_pooler": point.parameters.encoder_and_pooler, "total": point.parameters.total}
    return row | (_fidelity(point.fidelity) if point.fidelity else {})
