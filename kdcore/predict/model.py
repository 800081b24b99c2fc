"""A finished model's folder: which task it is for, and its logits for new rows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdcore.artefacts import MANIFEST
from kdcore.data import tasks
from kdcore.data.examples import encode
from kdcore.data.tasks import Task
from kdcore.distil.finished import Finished
from kdcore.errors import UserError
from kdcore.model.encoder import Encoder
from kdcore.model.labels import match_labels
from kdcore.model.names import check_length, tokenizer_of
from kdcore.model.predict import logits_of


def task_of(model: Path, own: Mapping[str, Any], named: str | None) -> Task:
    """The task that the model was trained for, or the one that is named, for a model from elsewhere.

    Raises UserError where neither says, or a file of the model was changed.
    """
    if not model.is_dir():
        raise UserError(str(model), "no such folder; it must hold a model, e.g. runs/student/movies/sid-s0")
    if (model / MANIFEST).is_file():
        Finished.open(model, "dvc repro")
    notes = model / "run.json"
    trained = json.loads(notes.read_text(encoding="utf-8"))["task"] if notes.is_file() else None
    if trained is None and named is None:
        raise UserError(str(model), "has no run.json that says its task: name it with --task")
    if trained and named and trained != named:
        raise UserError(str(model), f"is a model for the task {trained!r}, not {named!r}")
    return tasks.find(named or trained or "", own)


def logits(model: Path, task: Task, rows: pd.DataFrame, max_length: int, batch_size: int) -> NDArray[np.float32]:
    """(N, K) logits of the rows (text_a, text_b, label), the classes in the order of the task's labels.

    Raises UserError where the model's labels are not the task's.
    """
    encoder = Encoder.load(model)
    match_labels(encoder, task, str(model))
    check_length(encoder.config, max_length, model)
    return logits_of(encoder, encode(tokenizer_of(model), rows, max_length), batch_size)
