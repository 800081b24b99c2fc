"""Score models on validation data: one point (a JSON of numbers) and one table of predictions per model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdcore import runs
from kdcore.artefacts import write_json
from kdcore.data.examples import Examples, Prepared
from kdcore.data.metrics import degenerate, labelled_metrics
from kdcore.data.prepared import fingerprint as data_fingerprint
from kdcore.data.prepared import load_split
from kdcore.data.tasks import Task
from kdcore.distil.finished import read_run
from kdcore.distil.signals import Stored, precision
from kdcore.evaluation.fidelity import fidelity
from kdcore.model.encoder import Encoder
from kdcore.model.names import tokenizer_of
from kdcore.model.predict import logits_of
from kdcore.runs import code_digest, open_run

CODE = (*runs.CODE, "evaluation/fidelity", "evaluation/score", "data/metrics")
KEPT = ("task", "method", "layers", "rows", "seed", "init", "layer_map", "trains", "epochs", "gflop", "seconds")


def score_run(model: Path, data: Path, teacher: Path, targets: Path | None, batch_size: int) -> Path:
    """Score a finished run; returns a folder with point.json and predictions.parquet.

    targets: the teacher's signals, which a student is compared with; None for the teacher itself. The evaluation
    is kept in the store like any run. Raises UserError where a file that it needs was changed.
    """
    facts, fingerprint = read_run(model, "dvc repro -f student")
    teacher_facts, teacher_fingerprint = read_run(teacher, "dvc repro -f teacher")
    what = {
        "data": data_fingerprint(data),
        "model": fingerprint,
        "teacher": teacher_fingerprint,
        "signals": precision(targets / "validation") if targets is not None else None,
        "facts": {key: facts.get(key) for key in KEPT if key != "seconds"},
        "code": code_digest(CODE),
    }
    with open_run("evaluation", what) as run:
        if not run.finished:
            prepared = Prepared.open(data, tokenizer_of(teacher), teacher_facts["max_length"])
            encoder = Encoder.load(model)
            splits = prepared.validation_splits()
            found = {name: logits_of(encoder, examples, batch_size) for name, examples in splits.items()}
            point = {key: facts.get(key) for key in KEPT} | score(prepared.task, found, splits)
            if targets is not None:
                signals = Stored(targets / "validation", teacher)
                point["fidelity"] = fidelity(encoder, splits["validation"], signals, tuple(facts["mapped"]), batch_size)
            point["parameters"] = encoder.parameter_counts()
            point["bytes"] = (model / "model.safetensors").stat().st_size
            run.finish(lambda folder: _write(folder, point, found, data))
        return run.result


def _write(folder: Path, point: dict[str, Any], logits: dict[str, np.ndarray], data: Path) -> None:
    write_json(folder / "point.json", point)
    tables = [
        load_split(data, split)[["row", "label"]]
        .assign(split=split)
        .join(pd.DataFrame(found, columns=[f"logit_{k}" for k in range(found.shape[1])]))
        for split, found in logits.items()
    ]
    predictions = pd.concat(tables)
    predictions.attrs["data"] = data_fingerprint(data)  # so that other texts are other predictions, whatever the logits
    predictions.to_parquet(folder / "predictions.parquet", index=False)


def read_point(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "point.json").read_text(encoding="utf-8"))


def score(task: Task, logits: dict[str, np.ndarray], splits: dict[str, Examples]) -> dict[str, Any]:
    """The point's metrics: every metric of every split, the headline on `validation`, and degeneracy."""
    scores = {split: labelled_metrics(task.metrics, found, splits[split].labels) for split, found in logits.items()}
    headline = task.metrics[0]
    return {
        "metric": headline,
        "score": scores["validation"][headline],
        "scores": scores,
        "degenerate": degenerate(logits["validation"]),
    }
