"""The scores of models, found in the store or made now: a point (a JSON of numbers) and a table of predictions each.

The numbers of a labelled test split are made apart from them, and only where they are asked for. No torch until
something is scored.
"""

import json
from pathlib import Path
from typing import Any

from kdcore.code import code_digest
from kdcore.data.prepared import Data
from kdcore.distil.finished import Finished
from kdcore.distil.written import Targets
from kdcore.runs import open_run

KEPT = (
    *("task", "method", "layers", "rows", "seed", "teacher_seed", "init", "head", "layer_map", "trains"),
    *("epochs", "last_losses", "selected", "gflop"),
)


def identity(model: Finished, data: Data, teacher: Finished, targets: Targets | None) -> dict[str, Any]:
    """What determines the scores of a model."""
    return {
        "data": data.fingerprint,
        "model": model.fingerprint,
        "teacher": teacher.fingerprint,
        "signals": targets.precision("validation") if targets is not None else None,
        "facts": _kept(model),
        "threads": model.threads,
        "code": code_digest(__name__),
    }


def score_run(model: Finished, data: Data, teacher: Finished, targets: Targets | None, batch_size: int) -> Path:
    """Score a finished model; returns a folder with point.json and predictions.parquet.

    targets: the teacher's signals, which a student is compared with; None for the teacher itself. The evaluation
    is kept in the store like any run.
    """
    with open_run("evaluation", identity(model, data, teacher, targets)) as run:
        if not run.finished:
            from kdcore.evaluation.scoring import write_scores

            run.finish(lambda folder: write_scores(folder, _kept(model), model, data, teacher, targets, batch_size))
        return run.result


def _kept(model: Finished) -> dict[str, Any]:
    """What a point says of the model that is in its run.json."""
    return {key: model.facts.get(key) for key in KEPT}


def read_point(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "point.json").read_text(encoding="utf-8"))


def score_test(model: Finished, data: Data, teacher: Finished, batch_size: int) -> dict[str, Any] | None:
    """The metrics of a finished model on the task's labelled test split; None where it has none, or needs none.

    Nothing else reads that split, and nothing is chosen by these numbers. Kept in the store like any run.
    """
    if data.task.by_teacher or not data.labelled.get("test"):
        return None
    splits = [split for split, labelled in data.labelled.items() if split.startswith("test") and labelled]
    what = {"data": data.fingerprint, "model": model.fingerprint, "teacher": teacher.fingerprint, "splits": splits}
    with open_run("test", {**what, "threads": model.threads, "code": code_digest(__name__)}) as run:
        if not run.finished:
            from kdcore.evaluation.scoring import write_test

            run.finish(lambda folder: write_test(folder, model, data, teacher, splits, batch_size))
        return read_point(run.result)
