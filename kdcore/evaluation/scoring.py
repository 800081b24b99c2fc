"""Score a finished model: its logits on each split, their metrics, its fidelity to its teacher, its predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdcore.artefacts import write_json
from kdcore.data.examples import Examples
from kdcore.data.metrics import degenerate, labelled_metrics, predictions
from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.data.tokens import tokenised
from kdcore.distil.finished import Finished
from kdcore.distil.written import Targets
from kdcore.evaluation import sanity
from kdcore.evaluation.classification import classification
from kdcore.evaluation.fidelity import fidelity
from kdcore.model.predict import logits_of


def write_scores(
    folder: Path,
    facts: Mapping[str, Any],
    model: Finished,
    data: Data,
    teacher: Finished,
    targets: Targets | None,
    batch_size: int,
) -> None:
    """Write point.json, the facts and the scores on validation rows, and predictions.parquet into the folder."""
    splits = [split for split in data.splits if split.startswith("validation")]
    frames = {split: data.frame(split, columns=("row", "label")) for split in splits}
    examples = {split: tokenised(data, split, teacher.tokenizer, teacher.max_length) for split in splits}
    encoder = model.encoder()
    logits = {split: logits_of(encoder, rows, batch_size) for split, rows in examples.items()}
    if data.task.by_teacher:
        truth = logits["validation"] if targets is None else targets.validation.logits
        examples["validation"] = examples["validation"].answered(predictions(truth))
    point = dict(facts) | score(data.task, logits, examples)
    if targets is not None:
        mapped = tuple(model.facts["mapped"])
        targets.check("validation", mapped)
        point["fidelity"] = fidelity(encoder, examples["validation"], targets.validation, mapped, batch_size)
    point["warnings"] = sanity.warnings(point)
    point["parameters"] = encoder.parameter_counts()
    point["bytes"] = (model.folder / "model.safetensors").stat().st_size
    write_json(folder / "point.json", point)
    table = pd.concat(
        frame.assign(split=split).join(
            pd.DataFrame(logits[split], columns=[f"logit_{k}" for k in range(logits[split].shape[1])])
        )
        for split, frame in frames.items()
    )
    table.attrs["data"] = data.fingerprint  # other texts are other predictions, whatever the logits
    table.to_parquet(folder / "predictions.parquet", index=False)


def write_test(
    folder: Path, model: Finished, data: Data, teacher: Finished, splits: Sequence[str], batch_size: int
) -> None:
    """Write point.json, the metrics on the labelled rows of these splits, into the folder."""
    every = {split: tokenised(data, split, teacher.tokenizer, teacher.max_length) for split in splits}
    examples = {split: rows.labelled() for split, rows in every.items()}
    encoder = model.encoder()
    logits = {split: logits_of(encoder, rows, batch_size) for split, rows in examples.items()}
    write_json(folder / "point.json", score(data.task, logits, examples, "test"))


def score(
    task: Task, logits: dict[str, np.ndarray], splits: dict[str, Examples], headline: str = "validation"
) -> dict[str, Any]:
    """The point's metrics: every metric of every split; the headline metric on the split `headline`, what it is held
    against there, and degeneracy."""
    metric = task.metrics[0]
    scores = {split: labelled_metrics(task.metrics, logits[split], rows.labels) for split, rows in splits.items()}
    point = {
        "metric": metric,
        "score": scores[headline][metric],
        "scores": scores,
        "examples": {split: int((~np.isnan(rows.labels)).sum()) for split, rows in splits.items()},
        "chance": sanity.chance(task, splits[headline].labels),
        "standard_error": sanity.standard_error(metric, logits[headline], splits[headline].labels),
        "degenerate": degenerate(logits[headline]),
    }
    if task.regression:
        point["spread"] = sanity.spread(logits[headline], splits[headline].labels)
    elif not task.by_teacher:
        point["classification"] = {split: classification(logits[split], rows.labels) for split, rows in splits.items()}
    return point
