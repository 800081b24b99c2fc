"""Distil one student: its signals, its phases, its loop, and the folder that it leaves."""

from dataclasses import asdict
from typing import Any

import numpy as np

from kdcore.artefacts import read_manifest
from kdcore.code import code_digest
from kdcore.data.metrics import predictions
from kdcore.data.prepared import Data
from kdcore.data.tokens import tokenised
from kdcore.distil import signals
from kdcore.distil.finished import Finished, write_model
from kdcore.distil.methods import Method, compare_maps
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import phases
from kdcore.distil.signals import Targets
from kdcore.distil.training import Trainer, identity, validator
from kdcore.errors import UserError
from kdcore.model import names, places
from kdcore.model.build import build
from kdcore.model.config import load_config
from kdcore.model.layers import check_windows, layer_map
from kdcore.params.sections import Distill, Model, Student, Train
from kdcore.runs import open_run

RERUN = "dvc repro -f student"


def recipe(
    method: str,
    seed: int,
    student: Student,
    distill: Distill,
    train: Train,
    model: Model,
    data: Data,
    teacher: Finished,
    targets: Targets,
) -> dict[str, Any]:
    """What determines the student, and nothing else: a knob that its method does not use is left out."""
    parsed = Method.parse(method)
    stretch = phases(parsed.schedule, student.layers, distill)
    pretrained = student.init.startswith("pretrained")
    return {
        "data": data.fingerprint,
        "teacher": teacher.fingerprint,
        "pretrained": names.identity(model.name, model.revision) if pretrained else None,
        "layers": student.layers,
        "rows": data.used(student.rows),
        "init": student.init,
        "layer_map": layer_map(student.layer_map, student.layers, teacher.layers),
        "phases": [asdict(phase) for phase in stretch],
        "soft": None if parsed.schedule == "none" else [distill.temperature, distill.hard_label_weight],
        "internal": parsed.minimised(distill.weights),
        "signals": targets.precision("train") if parsed.losses else None,
        "train": identity(train, seed, stretch),
        "code": code_digest(__name__),
    }


def distil(
    method: str,
    seed: int,
    student: Student,
    distill: Distill,
    train: Train,
    model: Model,
    data: Data,
    teacher: Finished,
    targets: Targets,
) -> Finished:
    """Train the student that the arguments determine, or find it trained in the store."""
    parsed = Method.parse(method)
    labels_only = parsed.schedule == "none"
    weights = parsed.minimised(distill.weights)
    mapped = layer_map(student.layer_map, student.layers, teacher.layers)
    stretch = phases(parsed.schedule, student.layers, distill)
    what = recipe(method, seed, student, distill, train, model, data, teacher, targets)
    with open_run("student", what) as run:
        if not run.finished:
            examples = tokenised(data, "train", teacher.tokenizer, teacher.max_length, student.rows)
            unlabelled = int(np.isnan(examples.labels).sum())
            if labels_only and unlabelled:
                raise UserError(
                    f"{data.task.name}/train",
                    f"{unlabelled} of {len(examples)} rows have no label, and method none learns from labels only: "
                    "take it out of `methods`, or the rows out of the data",
                )
            encoder = build(
                teacher.folder,
                places.resolve(model.name),
                layers=student.layers,
                init=student.init,
                mapped=mapped,
                seed=seed,
                revision=model.revision,
            )
            if compare_maps(weights):
                check_windows(encoder.config, load_config(teacher.folder), mapped)
            if not labels_only and len(targets.train) < len(examples):
                raise UserError(
                    str(targets.folder / "train"),
                    f"holds signals of {len(targets.train)} rows, and {len(examples)} are to be learned from "
                    f"(student.rows); run `{signals.RERUN}`",
                )
            for split in ("train", "validation") if parsed.losses else ("validation",):  # where it will be scored
                targets.check(split, mapped)
            objective = Objective(
                signals=None if labels_only else targets.train,
                layer_map=mapped,
                weights=weights,
                temperature=distill.temperature,
                hard_label_weight=distill.hard_label_weight,
            )
            validation = tokenised(data, "validation", teacher.tokenizer, teacher.max_length)
            if data.task.by_teacher:
                validation = validation.answered(predictions(targets.validation.logits))
            validate = validator(data.task, validation, train)
            facts = {
                "task": data.task.name,
                "described": asdict(data.task),
                "max_length": teacher.max_length,
                "method": method,
                **student.model_dump(exclude={"floor"}),
                **distill.model_dump(),
                "rows": len(examples),
                "trains": stretch[-1].trains,  # equal students share a run, whoever asked for it first
                "seed": seed,
                "teacher_seed": teacher.facts["seed"],
                "mapped": mapped,
                "train": what["train"],
                "teacher": {
                    "layers": teacher.layers,
                    "fine_tuned": teacher.facts["seed"] is not None,
                    "model": teacher.facts["model"],
                },
                "data": data.origin,
            }
            record = Trainer(encoder, examples, stretch, objective, train, seed, run, validate, facts).train()
            run.finish(lambda folder: write_model(folder, encoder, teacher.tokenizer, facts, record))
        return Finished.of(run.result, read_manifest(run.result, RERUN))
