"""A classifier's folder, as it says itself what it reads: its task, its length; and its logits for new rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdcore.artefacts import MANIFEST, open_sealed
from kdcore.console import count_of
from kdcore.data.examples import encode
from kdcore.data.tasks import BUILT_IN, LABEL, Task, from_fields
from kdcore.errors import UserError, near, shown
from kdcore.model.config import labels_in, load_config
from kdcore.model.encoder import Encoder
from kdcore.model.families import positions
from kdcore.model.labels import match_labels
from kdcore.model.names import tokenizer_of
from kdcore.model.predict import logits_of

NOTES = "run.json"
USUAL = 512  # tokens per row of a classifier from elsewhere whose config names no number of positions


@dataclass(frozen=True)
class Classifier:
    """A folder, and what it is for.

    max_length: tokens per row at most, longer rows are truncated; columns: text column of the task -> that of the rows.
    """

    folder: Path
    task: Task
    max_length: int
    columns: Mapping[str, str]

    def logits(self, rows: pd.DataFrame, batch_size: int) -> NDArray[np.float32]:
        """(N, K) logits of the rows (text_a, text_b, label), the classes in the order of the task's labels.

        Raises UserError where the model's labels are not the task's.
        """
        encoder = Encoder.load(self.folder)
        match_labels(encoder, self.task, str(self.folder))
        return logits_of(encoder, encode(tokenizer_of(self.folder), rows, self.max_length), batch_size)


def open_classifier(
    folder: Path,
    named: str | None = None,
    columns: Sequence[str] = (),
    prepared: Task | None = None,
    max_length: int | None = None,
) -> Classifier:
    """The classifier in `folder`; what kdcore trained says in run.json what it reads, another needs telling.

    named: a built-in task; columns: the text columns of the rows, else the task's; prepared: the task of rows that are
    prepared; max_length: in place of the length that the model was trained with. Raises UserError where that is not
    enough, or contradicts itself, and where a file of the model was changed.
    """
    if not folder.is_dir():
        raise UserError(str(folder), "no such folder; it must hold a model, e.g. runs/student/movies/sid-s0")
    if (folder / MANIFEST).is_file():
        open_sealed(folder, "dvc repro")
    facts = _facts(folder / NOTES)
    config = load_config(folder)
    if len(columns) > 2 or len({*columns}) < len(columns):
        raise UserError("--text", f"name the one or two columns of texts, found {shown(list(columns))}")
    task = _task(folder, facts, named, columns, prepared, config)
    if columns and len(columns) != len(task.text):
        wanted = f"{count_of(len(task.text), 'text column')}, {', '.join(task.text)}"
        raise UserError("--text", f"{task.name} has {wanted}; found {len(columns)}")
    most = positions(config.to_dict())
    if max_length is not None and most is not None and max_length > most:
        raise UserError("--max-length", f"at most {most} for {folder}, found {max_length}")
    length = max_length or facts.get("max_length") or most or USUAL
    return Classifier(folder, task, length, dict(zip(task.text, columns or task.text, strict=True)))


def _facts(notes: Path) -> dict[str, Any]:
    """What kdcore noted of a model that it trained; nothing where there is no such file, or it is another program's."""
    try:
        facts = json.loads(notes.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and "described" in facts else {}


def _task(
    folder: Path,
    facts: Mapping[str, Any],
    named: str | None,
    columns: Sequence[str],
    prepared: Task | None,
    config: Any,
) -> Task:
    """By the model's own word, by --task, by the rows, or by the model's labels and --text."""
    if "described" in facts:
        try:
            own = from_fields(facts["described"])
        except (LookupError, TypeError, AttributeError) as error:
            raise UserError(str(folder / NOTES), f"does not describe a task as kdcore writes it ({error!r})") from error
        if named not in (None, own.name):
            raise UserError(str(folder), f"is a model for the task {own.name!r}, not {named!r}")
        return own
    if named is not None and (prepared is None or named != prepared.name):
        if named not in BUILT_IN:
            raise UserError(
                "--task", f"must be {' | '.join(BUILT_IN)}, found {named!r}{near(named, BUILT_IN)}; "
                "for a task of your own name its text columns with --text"
            )  # fmt: skip
        return BUILT_IN[named]
    if prepared is not None:
        return prepared
    if not columns:
        raise UserError(
            str(folder), "has no run.json that says its task: name it with --task, or the text columns with --text"
        )
    return Task("own", tuple(columns), LABEL, labels_in(config), ())
