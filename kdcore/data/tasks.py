"""The tasks as data: text columns, labels, metrics. GLUE and movies are built in; params.yaml adds more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from kdcore.data.metrics import METRICS, without_labels
from kdcore.errors import UserError, near

if TYPE_CHECKING:
    from kdcore.params.sections import TaskEntry

LABEL = "label"  # the column of labels, unless another is named
NEEDED = ("train", "validation")  # splits that every task has; the others may be absent
SPLITS = (*NEEDED, "test", "validation_mismatched", "test_mismatched")
RESERVED = "raw"  # data/raw holds the user's own files, so no prepared task may take that folder


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


@dataclass(frozen=True)
class Task:
    """One task.

    text: the source's one or two text columns; label: its label column; labels: names by id, none for a
    regression; metrics: the headline metric first; splits: our split name -> the source's split name.
    """

    name: str
    text: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    splits: dict[str, str] = field(default_factory=lambda: _same("train", "validation", "test"))

    @property
    def regression(self) -> bool:
        """Whether the label is a number and not a class."""
        return not self.labels

    @property
    def by_teacher(self) -> bool:
        """Whether the teacher's answers count as the truth where models are scored, so that no row needs a label."""
        return any(METRICS[name].by_teacher for name in self.metrics)

    @property
    def embedded(self) -> bool:
        """Whether its rows come with kdcore: its texts may then be shown wherever its results are."""
        return self.name == "movies"

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the source must have, the label last."""
        return (*self.text, self.label)

    def optional(self, split: str) -> tuple[str, ...]:
        """The columns that a split may lack: test sets are published without labels."""
        return (self.label,) if self.by_teacher or split.startswith("test") else ()


MNLI_SPLITS = _same("train", "validation_mismatched", "test_mismatched") | {
    "validation": "validation_matched",
    "test": "test_matched",
}
PAIR = ("sentence1", "sentence2")
ENTAILS = ("entailment", "not_entailment")

GLUE: dict[str, Task] = {
    task.name: task
    for task in (
        Task("cola", ("sentence",), "label", ("unacceptable", "acceptable"), ("matthews",)),
        Task("sst2", ("sentence",), "label", ("negative", "positive"), ("accuracy",)),
        Task("mrpc", PAIR, "label", ("not_equivalent", "equivalent"), ("accuracy", "f1")),
        Task("qqp", ("question1", "question2"), "label", ("not_duplicate", "duplicate"), ("accuracy", "f1")),
        Task("stsb", PAIR, "label", (), ("pearson", "spearman")),
        Task(
            "mnli",
            ("premise", "hypothesis"),
            "label",
            ("entailment", "neutral", "contradiction"),
            ("accuracy",),
            MNLI_SPLITS,
        ),
        Task("qnli", ("question", "sentence"), "label", ENTAILS, ("accuracy",)),
        Task("rte", PAIR, "label", ENTAILS, ("accuracy",)),
        Task("wnli", PAIR, "label", ("not_entailment", "entailment"), ("accuracy",)),
    )
}


@dataclass(frozen=True)
class Layout:
    """How the files of one task of GLUE look as gluebenchmark.com gives them; the hub's nyu-mll/glue was made of them.

    folder: in the zip, whose name begins alike; columns: our column -> the file's, where they differ; bare: the
    columns of files that have no header row; source: our split -> the .txt file of those that GLUE made its own from;
    held_out: the file that lists which rows of `source` validate, by the columns `ids`.
    """

    folder: str
    columns: dict[str, str] = field(default_factory=dict)
    bare: tuple[str, ...] = ()
    source: dict[str, str] = field(default_factory=dict)
    held_out: str = ""
    ids: tuple[str, ...] = ()


LAYOUTS: dict[str, Layout] = {
    "cola": Layout("CoLA", bare=("source", "label", "star", "sentence")),  # train and dev; test has a header row
    "sst2": Layout("SST-2"),
    "mrpc": Layout(
        "MRPC",
        {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"},
        source={"train": "msr_paraphrase_train", "test": "msr_paraphrase_test"},
        held_out="dev_ids.tsv",
        ids=("#1 ID", "#2 ID"),
    ),
    "qqp": Layout("QQP", {"label": "is_duplicate"}),
    "stsb": Layout("STS-B", {"label": "score"}),
    "mnli": Layout("MNLI", {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"}),
    "qnli": Layout("QNLI"),
    "rte": Layout("RTE"),
    "wnli": Layout("WNLI"),
}

MOVIES = Task("movies", ("text",), "label", ("negative", "positive"), ("accuracy",), _same("train", "validation"))
BUILT_IN: dict[str, Task] = {MOVIES.name: MOVIES, **GLUE}


def usual_metrics(labels: Sequence[str], labelled: bool) -> tuple[str, ...]:
    """The metrics of a user's own task that names none.

    labels: by id, none for a regression; labelled: whether any row has one.
    """
    if not labelled:
        return (without_labels(labels),)
    return ("accuracy", "f1_macro") if labels else ("pearson", "spearman")


def find(name: str, own: Mapping[str, TaskEntry]) -> Task:
    """The task of that name, built in or described under `task:`; raises UserError for any other name."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name in own:
        described = own[name]
        return Task(name, described.text, described.label or LABEL, described.labels, described.metrics)
    known = dict.fromkeys([*BUILT_IN, *own])
    raise UserError("tasks", f"unknown task {name!r}{near(name, known) or ', known are ' + ', '.join(known)}")


def to_json(task: Task) -> str:
    """The text of task.json; equal tasks give equal text."""
    return json.dumps(asdict(task), indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Task:
    """The inverse of to_json; raises ValueError, KeyError or TypeError for anything else."""
    return from_fields(json.loads(text))


def from_fields(fields: Mapping[str, Any]) -> Task:
    """The task whose `asdict` was written as JSON and read again."""
    return Task(**{**fields, **{key: tuple(fields[key]) for key in ("text", "labels", "metrics")}})
