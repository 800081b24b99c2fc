"""The teacher: fine-tuned here from a pre-trained encoder, or a user's own classifier taken as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kdcore.artefacts import link_folder
from kdcore.console import say, warn
from kdcore.data.examples import Examples, Prepared, rows_used
from kdcore.data.metrics import task_metrics
from kdcore.data.prepared import fingerprint, load_split, read_task
from kdcore.data.tasks import Task
from kdcore.distil.finished import write_model
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Method, Phase
from kdcore.distil.state import Record
from kdcore.distil.training import Settings, Trainer
from kdcore.distil.validation import validator
from kdcore.errors import UserError
from kdcore.model.encoder import Encoder, load_classifier
from kdcore.model.names import check_length, identity, resolve, tokenizer_of
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
        "rows": rows_used(data, rows),
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
            encoder = Encoder(load_classifier(place, revision=revision, **labels_of(prepared.task)))
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
    examples = prepared.split("train", rows)
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
        raise UserError("teacher.floor", f"the teacher must reach {floor}, found {said}")


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


def labels_of(task: Task) -> dict[str, Any]:
    """The part of a model's config that says what its outputs mean."""
    if task.regression:
        return {"num_labels": 1, "problem_type": "regression", "id2label": {0: "score"}, "label2id": {"score": 0}}
    return {
        "num_labels": len(task.labels),
        "problem_type": "single_label_classification",
        "id2label": dict(enumerate(task.labels)),
        "label2id": {label: index for index, label in enumerate(task.labels)},
    }


def match_labels(encoder: Encoder, task: Task, name: str) -> None:
    """Put the classifier's outputs in the order of the task's labels; names match whatever their case."""
    own = [str(encoder.config.id2label[index]).casefold() for index in range(encoder.output.out_features)]
    wanted = [label.casefold() for label in task.labels]
    if task.regression and len(own) != 1:
        raise UserError(name, f"{task.name} is a regression and needs one output, found labels {own}")
    if not task.regression:
        if sorted(own) != sorted(wanted):
            raise UserError(
                name,
                f"its labels {list(encoder.config.id2label.values())} are not those of {task.name}, "
                f"{list(task.labels)}: name them alike in the model's config.json (id2label)",
            )
        _reorder(encoder.output, [own.index(label) for label in wanted])
    for key, value in labels_of(task).items():
        setattr(encoder.config, key, value)


def _reorder(output: nn.Linear, order: list[int]) -> None:
    with torch.no_grad():
        output.weight.copy_(output.weight[order].clone())
        if output.bias is not None:
            output.bias.copy_(output.bias[order].clone())
