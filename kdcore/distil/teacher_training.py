"""Make a teacher: fine-tune a pre-trained encoder, or put a classifier's outputs in the order of the task's labels."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.data.tokens import tokenised
from kdcore.distil.card import origin
from kdcore.distil.checkpoint import Record
from kdcore.distil.folder import write_model
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase
from kdcore.distil.training import Trainer, validator
from kdcore.errors import UserError
from kdcore.model import places
from kdcore.model.encoder import Encoder
from kdcore.model.labels import check_scale, labels_of, match_labels
from kdcore.model.loading import load_classifier, load_pretrained
from kdcore.model.names import check_length, tokenizer_of
from kdcore.model.predict import logits_of
from kdcore.params.sections import Model, Train
from kdcore.runs import Run


def fine_tune(
    data: Data, model: Model, rows: int | None, phases: tuple[Phase, ...], train: Train, seed: int, run: Run
) -> None:
    """Fine-tune the model on the labelled ones of the first `rows` training rows, and finish the run."""
    place = places.resolve(model.name)
    tokenizer = tokenizer_of(place, revision=model.revision)
    examples = tokenised(data, "train", tokenizer, model.max_length, rows)
    if np.isnan(examples.labels).all():
        raise UserError(
            f"{data.task.name}/train",
            f"none of {len(examples)} rows has a label to fine-tune a teacher on: "
            "name one that is fine-tuned already in teacher.finetuned",
        )
    examples = examples.labelled()
    torch.manual_seed(seed)
    encoder = Encoder(load_pretrained(place, model.revision, labels_of(data.task)))
    check_length(encoder.config, model.max_length, model.name)
    validate = validator(data.task, tokenised(data, "validation", tokenizer, model.max_length), train)
    facts = _facts(data.task, encoder, model, origin(model.name, model.revision))
    facts |= {"rows": len(examples), "seed": seed}
    record = Trainer(encoder, examples, phases, Objective(), train, seed, run, validate, facts).train()
    run.finish(lambda folder: write_model(folder, encoder, tokenizer, facts, record))


def adopt(data: Data, name: str, revision: str | None, model: Model, threads: int, run: Run) -> None:
    """Check a fine-tuned classifier, order its outputs by the task's labels, and finish the run.

    threads: that all of its signals and scores are computed with. Raises UserError where its labels are not the task's.
    """
    torch.set_num_threads(threads)
    place = places.resolve(name)
    tokenizer = tokenizer_of(place, revision=revision)
    encoder = Encoder(load_classifier(place, revision=revision))
    check_length(encoder.config, model.max_length, name)
    match_labels(encoder, data.task, name)
    if data.task.regression:
        some = tokenised(data, "validation", tokenizer, model.max_length).first(256)
        check_scale(logits_of(encoder, some, 32)[:, 0], some.labels, name)
    facts = _facts(data.task, encoder, model, origin(name, revision)) | {"rows": None, "seed": None}
    run.finish(lambda folder: write_model(folder, encoder, tokenizer, facts, Record()))


def _facts(task: Task, encoder: Encoder, model: Model, made_of: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": task.name,
        "described": asdict(task),
        "method": "teacher",
        "layers": len(encoder.layers),
        "max_length": model.max_length,
        "model": made_of | {"revision": encoder.config._commit_hash},
    }
