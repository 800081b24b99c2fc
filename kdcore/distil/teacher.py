"""The teacher: fine-tuned from a pre-trained encoder, or a user's own classifier taken as it is.

Either is found in the store, or made now. No torch until it is made.
"""

from typing import Any

from kdcore.artefacts import read_manifest
from kdcore.code import code_digest
from kdcore.console import say
from kdcore.data.prepared import Data
from kdcore.distil.finished import Finished
from kdcore.distil.schedule import fine_tuning, identity
from kdcore.model import places
from kdcore.params.sections import Model, Shared, Teacher
from kdcore.runs import open_run

RERUN = "dvc repro -f teacher"


def identity_of(data: Data, model: Model, teacher: Teacher, shared: Shared, seed: int) -> dict[str, Any]:
    """What determines the teacher that params.yaml asks for, whichever of the two it is."""
    if teacher.finetuned is not None:
        return adopted(data, teacher.finetuned, teacher.revision, model, shared)
    return fine_tuned(data, model, teacher, shared, seed)


def fine_tuned(data: Data, model: Model, teacher: Teacher, shared: Shared, seed: int) -> dict[str, Any]:
    """What determines a teacher that is fine-tuned here."""
    return {
        "data": data.fingerprint,
        "model": places.identity(model.name, model.revision),
        "max_length": model.max_length,
        "rows": data.used(teacher.rows),
        "epochs": teacher.epochs,
        "train": identity(teacher.training(shared), seed, fine_tuning(teacher.epochs)),
        "code": code_digest(__name__),
    }


def adopted(data: Data, name: str, revision: str | None, model: Model, shared: Shared) -> dict[str, Any]:
    """What determines a teacher that is taken as it is."""
    what = {"data": data.fingerprint, "model": places.identity(name, revision), "max_length": model.max_length}
    return {**what, "threads": shared.threads, "code": code_digest(__name__)}


def fine_tune(data: Data, model: Model, teacher: Teacher, shared: Shared, seed: int) -> Finished:
    """Fine-tune the pre-trained encoder on the labelled ones of the first `teacher.rows` training rows.

    seed: of new weights, data order and dropout.
    """
    with open_run("teacher", fine_tuned(data, model, teacher, shared, seed)) as run:
        if not run.finished:
            from kdcore.distil import teacher_training

            train = teacher.training(shared)
            teacher_training.fine_tune(data, model, teacher.rows, fine_tuning(teacher.epochs), train, seed, run)
        return Finished.of(run.result, read_manifest(run.result, RERUN))


def adopt(data: Data, name: str, revision: str | None, model: Model, shared: Shared) -> Finished:
    """Take a fine-tuned classifier as it is; its outputs are put in the order of the task's labels, by name.

    Raises UserError where its labels are not the task's.
    """
    with open_run("teacher", adopted(data, name, revision, model, shared)) as run:
        if not run.finished:
            from kdcore.distil import teacher_training

            teacher_training.adopt(data, name, revision, model, shared.threads, run)
        say(f"teacher: {name} is used as it is")
        return Finished.of(run.result, read_manifest(run.result, RERUN))
