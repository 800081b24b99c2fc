"""Distil one student: its signals, its phases, its loop, and the folder that it leaves."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdcore.data.examples import Examples, Prepared
from kdcore.data.prepared import fingerprint
from kdcore.distil.finished import read_run, write_model
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Classification, Method, Phase, Trains, phases
from kdcore.distil.signals import Stored, precision
from kdcore.distil.training import Settings, Trainer
from kdcore.distil.validation import validator
from kdcore.errors import UserError
from kdcore.model.build import build
from kdcore.model.config import load_config
from kdcore.model.layers import check_windows, layer_map
from kdcore.model.names import identity, resolve, tokenizer_of
from kdcore.runs import CODE, code_digest, open_run


@dataclass(frozen=True)
class Recipe:
    """One student: its coordinates and its own knobs, as in `student:` and `distill:` of params.yaml."""

    method: str
    layers: int
    rows: int | None
    init: str
    layer_map: str | Sequence[int]
    trains: Trains
    temperature: float
    hard_label_weight: float
    kl_weight: float
    cos_weight: float
    epochs_per_layer: int
    cosine_threshold: float
    classification_epochs: int
    classification: Classification

    def phases(self) -> tuple[Phase, ...]:
        return phases(
            Method.parse(self.method).schedule,
            self.layers,
            epochs_per_layer=self.epochs_per_layer,
            classification_epochs=self.classification_epochs,
            cosine_threshold=self.cosine_threshold,
            classification=self.classification,
            trains=self.trains,
        )


@dataclass(frozen=True)
class Sources:
    """Where a student's ingredients are: prepared data, teacher, its signals, and the pre-trained encoder."""

    data: Path
    teacher: Path
    targets: Path
    model: str
    revision: str | None


def distil(
    recipe: Recipe,
    sources: Sources,
    settings: Settings,
    *,
    layers_key: str = "student.layers",
    rows_key: str = "student.rows",
) -> Path:
    """Train the student that the arguments determine, or find it trained; returns its folder in the store.

    layers_key, rows_key: what params.yaml calls the recipe's depth and rows, for messages.
    """
    facts, teacher = read_run(sources.teacher, "dvc repro -f teacher")
    mapped = layer_map(recipe.layer_map, recipe.layers, facts["layers"])
    with open_run("student", _identity(recipe, sources, settings, mapped, teacher)) as run:
        if not run.finished:
            prepared = Prepared.open(sources.data, tokenizer_of(sources.teacher), facts["max_length"])
            examples = _examples(prepared, recipe, rows_key)
            student = build(
                sources.teacher,
                resolve(sources.model),
                layers=recipe.layers,
                init=recipe.init,
                mapped=mapped,
                seed=settings.seed,
                revision=sources.revision,
            )
            if Method.parse(recipe.method).kl and recipe.kl_weight:
                check_windows(student.config, load_config(sources.teacher), mapped)
            objective = _objective(recipe, sources, mapped)
            validate = validator(prepared.task, prepared.split("validation"), settings)
            record = Trainer(student, examples, recipe.phases(), objective, settings, run, validate).train()
            notes = {
                "task": prepared.task.name,
                **asdict(recipe),
                "rows": len(examples),
                "trains": recipe.phases()[-1].trains,  # equal students share a run, whoever asked for it first
                "seed": settings.seed,
                "mapped": mapped,
            }
            run.finish(lambda folder: write_model(folder, student, prepared.tokenizer, notes, record))
        return run.result


def _identity(
    recipe: Recipe, sources: Sources, settings: Settings, mapped: tuple[int, ...], teacher: str
) -> dict[str, Any]:
    """What determines a student, and nothing else: a knob that its method does not use is left out."""
    method, stretch = Method.parse(recipe.method), recipe.phases()
    learns = method.schedule != "none"
    return {
        "data": fingerprint(sources.data),
        "teacher": teacher,
        "pretrained": identity(sources.model, sources.revision) if recipe.init.startswith("pretrained") else None,
        "layers": recipe.layers,
        "rows": recipe.rows,
        "init": recipe.init,
        "layer_map": mapped,
        "phases": [asdict(phase) for phase in stretch],
        "soft": [recipe.temperature, recipe.hard_label_weight] if learns else None,
        "internal": [method.kl * recipe.kl_weight, method.cos * recipe.cos_weight],
        "signals": precision(sources.targets / "train") if method.kl or method.cos else None,
        "settings": settings.identity() | ({"schedule": None} if len(stretch) == 1 else {}),
        "code": code_digest((*CODE, "distil/student")),
    }


def _examples(prepared: Prepared, recipe: Recipe, rows_key: str) -> Examples:
    """The training rows. Raises UserError where `none` would get rows without a label."""
    examples = prepared.split("train", recipe.rows, rows_key)
    unlabelled = int(np.isnan(examples.labels).sum())
    if recipe.method == "none" and unlabelled:
        raise UserError(
            f"{prepared.task.name}/train",
            f"{unlabelled} of {len(examples)} rows have no label, and method none learns from labels only: "
            "take it out of `methods`, or the rows out of the data",
        )
    return examples


def _objective(recipe: Recipe, sources: Sources, mapped: tuple[int, ...]) -> Objective:
    method = Method.parse(recipe.method)
    if method.schedule == "none":
        return Objective(method)
    return Objective(
        method,
        layer_map=mapped,
        signals=Stored(sources.targets / "train", sources.teacher),
        temperature=recipe.temperature,
        hard_label_weight=recipe.hard_label_weight,
        kl_weight=recipe.kl_weight,
        cos_weight=recipe.cos_weight,
    )
