"""The teacher: fine-tuned here from a pre-trained encoder, or a user's own classifier taken as it is."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from kdcore.artefacts import read_manifest
from kdcore.code import code_digest
from kdcore.console import say
from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.data.tokens import tokenised
from kdcore.distil.card import origin
from kdcore.distil.checkpoint import Record
from kdcore.distil.finished import Finished, write_model
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase
from kdcore.distil.training import Trainer, identity, validator
from kdcore.errors import UserError
from kdcore.model import names, places
from kdcore.model.encoder import Encoder
from kdcore.model.labels import check_scale, labels_of, match_labels
from kdcore.model.loading import load_classifier, load_pretrained
from kdcore.model.names import check_length, tokenizer_of
from kdcore.model.predict import logits_of
from kdcore.params.sections import Model, Shared, Teacher
from kdcore.runs import open_run

RERUN = "dvc repro -f teacher"


def fine_tune(data: Data, model: Model, teacher: Teacher, shared: Shared, seed: int) -> Finished:
    """Fine-tune the pre-trained encoder on the labelled ones of the first `teacher.rows` training rows.

    seed: of new weights, data order and dropout.
    """
    train = teacher.training(shared)
    phases = (Phase("classification", teacher.epochs),)
    what = {
        "data": data.fingerprint,
        "model": names.identity(model.name, model.revision),
        "max_length": model.max_length,
        "rows": data.used(teacher.rows),
        "epochs": teacher.epochs,
        "train": identity(train, seed, phases),
        "code": code_digest(__name__),
    }
    with open_run("teacher", what) as run:
        if not run.finished:
            place = places.resolve(model.name)
            tokenizer = tokenizer_of(place, revision=model.revision)
            examples = tokenised(data, "train", tokenizer, model.max_length, teacher.rows)
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
        return Finished.of(run.result, read_manifest(run.result, RERUN))


def adopt(data: Data, name: str, revision: str | None, model: Model) -> Finished:
    """Take a fine-tuned classifier as it is; its outputs are put in the order of the task's labels, by name.

    Raises UserError where its labels are not the task's.
    """
    what = {"data": data.fingerprint, "model": names.identity(name, revision), "max_length": model.max_length}
    with open_run("teacher", {**what, "code": code_digest(__name__)}) as run:
        if not run.finished:
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
        say(f"teacher: {name} is used as it is")
        return Finished.of(run.result, read_manifest(run.result, RERUN))


def _facts(task: Task, encoder: Encoder, model: Model, made_of: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": task.name,
        "described": asdict(task),
        "method": "teacher",
        "layers": len(encoder.layers),
        "max_length": model.max_length,
        "model": made_of | {"revision": encoder.config._commit_hash},
    }
