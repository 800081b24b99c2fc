"""Train a student: its rows, its signals, its phases, its loop, and the folder that it leaves."""

from dataclasses import asdict
from typing import Any

import numpy as np

from kdcore.data.examples import Examples
from kdcore.data.metrics import predictions
from kdcore.data.tokens import tokenised
from kdcore.distil.folder import write_model
from kdcore.distil.methods import need
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import identity
from kdcore.distil.student import Recipe
from kdcore.distil.training import Trainer, validator
from kdcore.distil.written import RERUN
from kdcore.errors import UserError
from kdcore.model import places
from kdcore.model.build import build
from kdcore.model.config import load_config
from kdcore.model.encoder import Encoder
from kdcore.model.layers import check_windows
from kdcore.model.names import check_vocabulary
from kdcore.runs import Run


def train(recipe: Recipe, run: Run) -> None:
    """Train the recipe's student from the run's last checkpoint, or from the start, and finish the run."""
    teacher, train, seed = recipe.teacher, recipe.train, recipe.seed
    examples = _examples(recipe)
    encoder = _untrained(recipe)
    objective = _objective(recipe, len(examples))
    validation = tokenised(recipe.data, "validation", teacher.tokenizer, teacher.max_length)
    if recipe.data.task.by_teacher:
        validation = validation.answered(predictions(recipe.targets.validation.logits))
    validate = validator(recipe.data.task, validation, train)
    facts = _facts(recipe, len(examples))
    record = Trainer(encoder, examples, recipe.phases, objective, train, seed, run, validate, facts).train()
    run.finish(lambda folder: write_model(folder, encoder, teacher.tokenizer, facts, record))


def _examples(recipe: Recipe) -> Examples:
    """Its training rows. Raises UserError where some have no label, and it learns from labels only."""
    data, teacher = recipe.data, recipe.teacher
    examples = tokenised(data, "train", teacher.tokenizer, teacher.max_length, recipe.student.rows)
    unlabelled = int(np.isnan(examples.labels).sum())
    if recipe.labels_only and unlabelled:
        raise UserError(
            f"{data.task.name}/train",
            f"{unlabelled} of {len(examples)} rows have no label, and method none learns from labels only: "
            "take it out of `methods`, or the rows out of the data",
        )
    return examples


def _untrained(recipe: Recipe) -> Encoder:
    """The student before its first step. Raises UserError where it can't be built so, or can't be compared."""
    student, model, teacher = recipe.student, recipe.model, recipe.teacher
    if recipe.starts_pretrained:
        check_vocabulary(model.name, model.revision, teacher.folder)
    encoder = build(
        teacher.folder,
        places.resolve(model.name),
        layers=student.layers,
        init=student.init,
        head=student.head,
        mapped=recipe.mapped,
        seed=recipe.seed,
        dropout=recipe.train.dropout,
        revision=model.revision,
    )
    if need(recipe.weights, "attention"):
        check_windows(encoder.config, load_config(teacher.folder), recipe.mapped)
    return encoder


def _objective(recipe: Recipe, rows: int) -> Objective:
    """What it minimises. Raises UserError where there are signals of fewer rows, or not of the layers that it maps."""
    targets, distill = recipe.targets, recipe.distill
    if not recipe.labels_only and len(targets.train) < rows:
        raise UserError(
            str(targets.folder / "train"),
            f"holds signals of {len(targets.train)} rows, and {rows} are to be learned from "
            f"(student.rows); run `{RERUN}`",
        )
    if any(phase.internal for phase in recipe.phases):
        targets.check("train", recipe.mapped)
    targets.check("validation", recipe.mapped)  # where it will be scored
    return Objective(
        signals=None if recipe.labels_only else targets.train,
        layer_map=recipe.mapped,
        weights=recipe.weights,
        temperature=distill.temperature,
        hard_label_weight=distill.hard_label_weight,
    )


def _facts(recipe: Recipe, rows: int) -> dict[str, Any]:
    """What run.json says of it, beside what is measured."""
    data, teacher, stretch = recipe.data, recipe.teacher, recipe.phases
    return {
        "task": data.task.name,
        "described": asdict(data.task),
        "max_length": teacher.max_length,
        "method": recipe.method,
        **recipe.student.model_dump(exclude={"floor"}),
        **recipe.distill.model_dump(),
        "rows": rows,
        "trains": stretch[-1].trains,  # equal students share a run, whoever asked for it first
        "seed": recipe.seed,
        "teacher_seed": teacher.facts["seed"],
        "mapped": recipe.mapped,
        "train": identity(recipe.train, recipe.seed, stretch),
        "teacher": {
            "layers": teacher.layers,
            "fine_tuned": teacher.facts["seed"] is not None,
            "model": teacher.facts["model"],
        },
        "data": data.origin,
    }
