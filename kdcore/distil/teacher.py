"""The teacher: fine-tuned here from a pre-trained encoder, or a user's own classifier taken as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdcore.artefacts import link_folder
from kdcore.console import say, warn
from kdcore.data.examples import Examples, Prepared
from kdcore.data.metrics import task_metrics
from kdcore.data.prepared import fingerprint, load_split, read_task
from kdcore.distil.finished import write_model
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Method, Phase
from kdcore.distil.state import Record
from kdcore.distil.training import Settings, Trainer
from kdcore.distil.validation import validator
from kdcore.errors import UserError
from kdcore.model.encoder import Encoder
from kdcore.model.labels import check_scale, labels_of, match_labels
from kdcore.model.loading import load_classifier, load_pretrained
from kdcore.model.names import check_length, identity, resolve, tokenizer_of
from kdcore.model.predict import logits_of
from kdcore.runs import CODE, code_digest, open_run

OWN_CODE = (*CODE, "distil/teacher")


def fine_tune(
    data: Path,
    out: Path,
    *,
    model: str,
    revision: str | None,
    max_length: int,
    rows: int | None,
    epochs: int,
    settings: Settings,
) -> None:
    """Fine-tune the pre-trained encoder `model` on the labelled ones of the first `rows` training rows."""
    what = {
        "data": fingerprint(data),
        "model": identity(model, revision),
        "max_length": max_length,
        "rows": rows,
        "epochs": epochs,
        "settings": settings.identity(),
        "code": code_digest(OWN_CODE),
    }
    with open_run("teacher", what) as run:
        if not run.finished:
            place = resolve(model)
            prepared = Prepared.open(data, tokenizer_of(place, revision=revision), max_length)
            examples = _labelled(prepared, rows)
            torch.manual_seed(settings.seed)
            encoder = Encoder(load_pretrained(place, revision, labels_of(prepared.task)))
            check_length(encoder.config, max_length, model)
            phases = (Phase("classification", epochs),)
            validate = validator(prepared.task, prepared.split("validation"), settings)
            record = Trainer(
                encoder, examples, phases, Objective(Method.parse("none")), settings, run, validate
            ).train()
            facts = _facts(prepared, encoder, len(examples), settings.seed)
            run.finish(lambda folder: write_model(folder, encoder, prepared.tokenizer, facts, record))
        link_folder(run.result, out)


def _labelled(prepared: Prepared, rows: int | None) -> Examples:
    """The labelled ones of the first `rows` training rows. Raises UserError where there is none."""
    examples = prepared.split("train", rows, "teacher.rows")
    if np.isnan(examples.labels).all():
        raise UserError(
            f"{prepared.task.name}/train",
            f"none of {len(examples)} rows has a label to fine-tune a teacher on: "
            "name one that is fine-tuned already in teacher.finetuned",
        )
    return examples.labelled()


def adopt(data: Path, out: Path, *, name: str, revision: str | None, max_length: int) -> None:
    """Take a fine-tuned classifier as it is; its outputs are put in the order of the task's labels, by name.

    Raises UserError where its labels are not the task's.
    """
    what = {"data": fingerprint(data), "model": identity(name, revision), "max_length": max_length}
    with open_run("teacher", {**what, "code": code_digest(OWN_CODE)}) as run:
        if not run.finished:
            place = resolve(name)
            prepared = Prepared.open(data, tokenizer_of(place, revision=revision), max_length)
            encoder = Encoder(load_classifier(place, revision=revision))
            check_length(encoder.config, max_length, name)
            match_labels(encoder, prepared.task, name)
            if prepared.task.regression:
                some = prepared.split("validation").first(256)
                check_scale(logits_of(encoder, some, 32)[:, 0], some.labels, name)
            facts = _facts(prepared, encoder, None, None)
            run.finish(lambda folder: write_model(folder, encoder, prepared.tokenizer, facts, Record()))
        say(f"teacher: {name} is used as it is")
        link_folder(run.result, out)


def check_floor(point: dict[str, Any], floor: float | None, chance: float) -> None:
    """Warn of a teacher that predicts a constant, or scores no better than one that does (`chance`).

    Raises UserError for a teacher that scores below the floor.
    """
    said = f"{point['metric']} {point['score']:.4f} on validation"
    if point["degenerate"]:
        warn(f"the teacher gives every example the same prediction ({said}): there is nothing to distil from it")
    elif point["score"] <= chance:
        warn(f"the teacher is no better than one answer for all: {said}, where that has {chance:.4f}")
    if floor is not None and point["score"] < floor:
        raise UserError("params.yaml", f"teacher.floor: the teacher must reach {floor}, found {said}")


def chance(data: Path) -> float:
    """The headline metric on validation of the best constant prediction; 0 for a correlation."""
    task, labels = read_task(data), load_split(data, "validation")["label"].dropna().to_numpy(np.float64)
    answers = np.eye(max(1, len(task.labels)))
    return max(
        task_metrics(task.metrics[:1], np.tile(answer, (len(labels), 1)), labels)[task.metrics[0]] for answer in answers
    )


def _facts(prepared: Prepared, encoder: Encoder, rows: int | None, seed: int | None) -> dict[str, Any]:
    return {
        "task": prepared.task.name,
        "method": "teacher",
        "layers": len(encoder.layers),
        "rows": rows,
        "seed": seed,
        "max_length": prepared.max_length,
    }
