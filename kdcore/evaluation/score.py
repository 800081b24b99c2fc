"""Score models on validation data: one point (a JSON of numbers) and one table of predictions per model.

The numbers of a labelled test split are made apart from them, and only where they are asked for.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdcore.artefacts import write_json
from kdcore.code import code_digest
from kdcore.data.examples import Examples
from kdcore.data.metrics import degenerate, labelled_metrics, predictions
from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.data.tokens import tokenised
from kdcore.distil.finished import Finished
from kdcore.distil.signals import Targets
from kdcore.evaluation import sanity
from kdcore.evaluation.classification import classification
from kdcore.evaluation.fidelity import fidelity
from kdcore.model.encoder import Encoder
from kdcore.model.predict import logits_of
from kdcore.runs import open_run

KEPT = (
    *("task", "method", "layers", "rows", "seed", "teacher_seed", "init", "layer_map", "trains"),
    *("epochs", "last_losses", "selected", "gflop", "seconds"),
)


def score_run(model: Finished, data: Data, teacher: Finished, targets: Targets | None, batch_size: int) -> Path:
    """Score a finished model; returns a folder with point.json and predictions.parquet.

    targets: the teacher's signals, which a student is compared with; None for the teacher itself. The evaluation
    is kept in the store like any run.
    """
    what = {
        "data": data.fingerprint,
        "model": model.fingerprint,
        "teacher": teacher.fingerprint,
        "signals": targets.precision("validation") if targets is not None else None,
        "facts": {key: model.facts.get(key) for key in KEPT if key != "seconds"},
        "code": code_digest(__name__),
    }
    with open_run("evaluation", what) as run:
        if not run.finished:
            splits = [split for split in data.splits if split.startswith("validation")]
            frames = {split: data.frame(split, columns=("row", "label")) for split in splits}
            examples = {split: tokenised(data, split, teacher.tokenizer, teacher.max_length) for split in splits}
            encoder = Encoder.load(model.folder)
            logits = {split: logits_of(encoder, rows, batch_size) for split, rows in examples.items()}
            if data.task.by_teacher:
                truth = logits["validation"] if targets is None else targets.validation.logits
                examples["validation"] = examples["validation"].answered(predictions(truth))
            point = {key: model.facts.get(key) for key in KEPT} | score(data.task, logits, examples)
            if targets is not None:
                mapped = tuple(model.facts["mapped"])
                targets.check("validation", mapped)
                point["fidelity"] = fidelity(encoder, examples["validation"], targets.validation, mapped, batch_size)
            point["warnings"] = sanity.warnings(point)
            point["parameters"] = encoder.parameter_counts()
            point["bytes"] = (model.folder / "model.safetensors").stat().st_size
            tables = [
                frame.assign(split=split).join(
                    pd.DataFrame(logits[split], columns=[f"logit_{k}" for k in range(logits[split].shape[1])])
                )
                for split, frame in frames.items()
            ]

            def write(folder: Path) -> None:
                write_json(folder / "point.json", point)
                table = pd.concat(tables)
                table.attrs["data"] = data.fingerprint  # other texts are other predictions, whatever the logits
                table.to_parquet(folder / "predictions.parquet", index=False)

            run.finish(write)
        return run.result


def read_point(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "point.json").read_text(encoding="utf-8"))


def score_test(model: Finished, data: Data, teacher: Finished, batch_size: int) -> dict[str, Any] | None:
    """The metrics of a finished model on the task's labelled test split; None where it has none, or needs none.

    Nothing else reads that split, and nothing is chosen by these numbers. Kept in the store like any run.
    """
    if data.task.by_teacher or not data.labelled.get("test"):
        return None
    splits = [split for split, labelled in data.labelled.items() if split.startswith("test") and labelled]
    what = {"data": data.fingerprint, "model": model.fingerprint, "teacher": teacher.fingerprint, "splits": splits}
    with open_run("test", {**what, "code": code_digest(__name__)}) as run:
        if not run.finished:
            every = {split: tokenised(data, split, teacher.tokenizer, teacher.max_length) for split in splits}
            examples = {split: rows.labelled() for split, rows in every.items()}
            encoder = Encoder.load(model.folder)
            logits = {split: logits_of(encoder, rows, batch_size) for split, rows in examples.items()}
            scored = score(data.task, logits, examples, "test")
            run.finish(lambda folder: write_json(folder / "point.json", scored))
        return read_point(run.result)


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
    if not task.regression and not task.by_teacher:
        point["classification"] = {split: classification(logits[split], rows.labels) for split, rows in splits.items()}
    return point
