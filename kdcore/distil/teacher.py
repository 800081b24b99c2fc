"""The teacher: fine-tuned from a pre-trained encoder, or a user's own classifier taken as it is.

Either is found in the store, or made now. No torch until it is made.
"""

from kdcore.artefacts import read_manifest
from kdcore.code import code_digest
from kdcore.console import say
from kdcore.data.prepared import Data
from kdcore.distil.finished import Finished
from kdcore.distil.schedule import Phase, identity
from kdcore.model import places
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
        "model": places.identity(model.name, model.revision),
        "max_length": model.max_length,
        "rows": data.used(teacher.rows),
        "epochs": teacher.epochs,
        "train": identity(train, seed, phases),
        "code": code_digest(__name__),
    }
    with open_run("teacher", what) as run:
        if not run.finished:
            from kdcore.distil import teacher_training

            teacher_training.fine_tune(data, model, teacher.rows, phases, train, seed, run)
        return Finished.of(run.result, read_manifest(run.result, RERUN))


def adopt(data: Data, name: str, revision: str | None, model: Model) -> Finished:
    """Take a fine-tuned classifier as it is; its outputs are put in the order of the task's labels, by name.

    Raises UserError where its labels are not the task's.
    """
    what = {"data": data.fingerprint, "model": places.identity(name, revision), "max_length": model.max_length}
    with open_run("teacher", {**what, "code": code_digest(__name__)}) as run:
        if not run.finished:
            from kdcore.distil import teacher_training

            teacher_training.adopt(data, name, revision, model, run)
        say(f"teacher: {name} is used as it is")
        return Finished.of(run.result, read_manifest(run.result, RERUN))
