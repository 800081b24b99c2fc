"""GLUE's files as gluebenchmark.com gives them. The hub's nyu-mll/glue was made of them; its names are the tasks'."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """How one task's files look.

    folder: in the zip, whose name begins alike; columns: our column -> the file's, where they differ; bare: the
    columns of files that have no header row; source: our split -> the .txt file of those that GLUE made its own from.
    """

    folder: str
    columns: dict[str, str] = field(default_factory=dict)
    bare: tuple[str, ...] = ()
    source: dict[str, str] = field(default_factory=dict)


LAYOUTS: dict[str, Layout] = {
    "cola": Layout("CoLA", bare=("source", "label", "star", "sentence")),  # train and dev; test has a header row
    "sst2": Layout("SST-2"),
    "mrpc": Layout(
        "MRPC",
        {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"},
        source={"train": "msr_paraphrase_train", "test": "msr_paraphrase_test"},
    ),
    "qqp": Layout("QQP", {"label": "is_duplicate"}),
    "stsb": Layout("STS-B", {"label": "score"}),
    "mnli": Layout("MNLI", {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"}),
    "qnli": Layout("QNLI"),
    "rte": Layout("RTE"),
    "wnli": Layout("WNLI"),
}
