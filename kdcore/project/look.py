"""A classifier and files of rows -> what a project needs to know of them, and what is chosen for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdcore.console import count_of, say
from kdcore.data import checks
from kdcore.data.cells import Cells
from kdcore.data.checks import text_columns
from kdcore.data.formats import cells_in
from kdcore.data.labels import spelt
from kdcore.data.tables import select
from kdcore.data.tasks import LABEL, usual_metrics
from kdcore.errors import UserError, shown
from kdcore.model.config import labels_in, load_config
from kdcore.model.families import positions
from kdcore.model.foreign import check_adapter
from kdcore.model.labels import KINDS, SEVERAL
from kdcore.model.names import tokenizer_of
from kdcore.model.places import resolve
from kdcore.params.sections import Params

LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
SAMPLE = 5000  # rows whose tokens are counted
MOST = 0.99  # of the texts that are not to be cut
NARROW = 128  # hidden size below which threads wait for each other longer than they compute
SHARE = 0.1  # of the train rows that validates where no other rows do


@dataclass(frozen=True)
class Classifier:
    """name: a folder or a hub name; finetuned: whether it is a classifier, and no encoder that is to become one;
    width: its hidden size."""

    name: str
    finetuned: bool
    layers: int
    width: int
    labels: tuple[str, ...]
    longest: int | None

    @classmethod
    def at(cls, name: str) -> "Classifier":
        """Raises UserError where no model can be read there, or it is of a kind that can't be distilled."""
        place = resolve(name)
        if isinstance(place, Path):
            check_adapter(place)
        config = load_config(place)
        if config.problem_type == SEVERAL:
            raise UserError(
                name, f"is {KINDS[SEVERAL]} (config.json: problem_type); one of one label each is distilled"
            )
        kinds = config.architectures or ["ForSequenceClassification"]
        finetuned = any("ForSequenceClassification" in kind for kind in kinds)
        shape = (config.num_hidden_layers, config.hidden_size)
        return cls(name, finetuned, *shape, labels_in(config), positions(config.to_dict()))


@dataclass(frozen=True)
class Rows:
    """text: one column or two; label: its column, or None; count: how many rows are trained on; found: the labels that
    differ; sample: the texts of the first rows, by column."""

    text: tuple[str, ...]
    label: str | None
    count: int
    found: Sequence[Any]
    sample: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, cells: Cells, text: tuple[str, ...], label: str | None, share: float) -> "Rows":
        """Read once, part by part. share: of the rows that can be scored, how many validate."""
        count, scored, found, sample = 0, 0, dict[str, Any](), [list[Any]() for _ in text]
        for part in cells.parts([*dict.fromkeys((*text, label or text[0]))]):
            judged = [cell for cell in part.columns[label or text[0]] if not checks.absent(cell)]
            count, scored = count + part.count, scored + len(judged)
            found |= {str(cell): cell for cell in judged} if label else {}
            for own, name in zip(sample, text, strict=True):
                own += part.columns[name][: SAMPLE - len(own)]
        if label and not found:
            raise UserError("--label", f"no row has a label in the column {label!r}; rows without any are --unlabelled")
        return cls(text, label, count - (max(1, round(share * scored)) if share else 0), [*found.values()], sample)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that are there, in the order of the alphabet; none where they are scores."""
        return () if _scores(self.found) else tuple(sorted(map(str, self.found)))


def look_at_rows(train: Path, validation: Path | None, text: Sequence[str], label: str | None) -> Rows:
    """label: None where no row has one.

    Raises UserError where a file can't be read, has too few rows, or its columns are not those that are named.
    """
    files = {path: cells_in(path) for path in (train, validation) if path is not None}
    least = 2 if validation is None else 1  # one of them validates
    for path, cells in files.items():
        if (count := cells.look(())) < least:
            raise UserError(str(path), f"must have at least {count_of(least, 'row')}, found {count}")
    known = (label,) if label else ()
    _check_columns(files, (*text, *known))
    chosen = tuple(text) or text_columns(files[train], label or LABEL)
    if len(chosen) not in (1, 2):
        raise UserError("--text", f"name the one or two columns of texts, found {shown(list(chosen))} in {train}")
    _check_columns(files, (*chosen, *known))
    if label in chosen:
        raise UserError("--label", f"must be another column than the text, found {label!r}")
    if len({*chosen}) < len(chosen):
        raise UserError("--text", f"must name two columns, found {chosen[0]!r} twice")
    return Rows.of(files[train], chosen, label, SHARE if validation is None else 0.0)


def _check_columns(files: Mapping[Path, Cells], names: Sequence[str]) -> None:
    for path, cells in files.items():
        select(cells.header, dict(zip(names, names, strict=True)), (), str(path))


def _scores(cells: Sequence[Any]) -> bool:
    """Whether labels are numbers of which one has a fraction, and so no classes."""
    try:
        numbers = [checks.number(cell) for cell in cells]
    except ValueError:
        return False
    return any(number % 1 for number in numbers)


def choose(task: str, teacher: Classifier, rows: Rows, layers: int | None) -> dict[str, Any]:
    """Dotted key of params.yaml -> value, each said in a line that tells why.

    Raises UserError for a student that is deeper than its teacher, and for an encoder without labels to tune it on.
    """
    if rows.label is None and not teacher.finetuned:
        raise UserError("--unlabelled", f"{teacher.name} is an encoder, and has to be fine-tuned on rows with labels")
    depth = layers or max(1, teacher.layers // 2)
    if depth > teacher.layers:
        raise UserError("--layers", f"must be at most {teacher.layers}, the teacher's layers, found {depth}")
    labels = teacher.labels if teacher.finetuned else rows.labels
    if teacher.finetuned and rows.label:
        labels = spelt(teacher.labels, rows.found, teacher.name, rows.label)
    known: dict[str, Any] = {"label": rows.label} if rows.label else {}
    known |= {"labels": list(labels)} if labels else {}
    known["metrics"] = list(usual_metrics(labels, rows.label is not None))
    use = "used as it is" if teacher.finetuned else "an encoder, which is fine-tuned first"
    say(f"teacher: {teacher.name}, {count_of(teacher.layers, 'layer')}, {use}")
    say(f"rows: {rows.count:,} to train; text: {' and '.join(rows.text)}; label: {rows.label or 'none'}")
    if rows.label is None:
        say(f"scores: by the teacher's answers ({known['metrics'][0]}), as no row has a label")
    theirs = "teacher has" if teacher.finetuned and labels == teacher.labels else "rows have"
    say(f"labels: {', '.join(labels) or 'numbers'}, as the {theirs} them")
    say(f"student: {count_of(depth, 'layer')}" + ("" if layers else ", half of the teacher's"))
    alone = {"train.threads": 1} if teacher.width < NARROW else {}
    if alone:
        say(f"threads: 1, as a model that is {teacher.width} wide is slower on more")
    starts = {"study.ablation.inits": ["teacher", "random"]} if teacher.finetuned else {}  # no other encoder is known
    return {
        **({} if rows.label else _taught()),
        **alone,
        **starts,
        "tasks": [task],
        f"task.{task}": {"text": list(rows.text), **known},
        "model.name": teacher.name,
        "model.max_length": _length(teacher, rows),
        "teacher.finetuned": teacher.name if teacher.finetuned else None,
        "student.layers": depth,
        "study.depth.layers": _depths(teacher.layers),
        "study.data_size.rows": sorted({max(1, rows.count // part) for part in (8, 4, 2, 1)}),
    }


def _taught() -> dict[str, list[str]]:
    """The methods of the headline and of the studies of its tasks, less `none`, which learns from labels only."""
    usual = Params(tasks=("any",)).model_dump(include={"methods", "study"})
    lists = {"methods": usual["methods"]}
    lists |= {f"study.{name}.methods": grid["methods"] for name, grid in usual["study"].items() if "methods" in grid}
    lists.pop("study.glue.methods")  # GLUE's tasks have labels
    return {key: [method for method in methods if method != "none"] for key, methods in lists.items()}


def _length(teacher: Classifier, rows: Rows) -> int:
    """The shortest usual length that cuts few texts."""
    tokenizer = tokenizer_of(resolve(teacher.name))
    texts = [["" if checks.absent(cell) else str(cell) for cell in cells] for cells in rows.sample]
    counts = np.array([len(ids) for ids in tokenizer(*texts)["input_ids"]])
    wanted = next((length for length in LENGTHS if length >= np.quantile(counts, MOST)), LENGTHS[-1])
    length = min(wanted, teacher.longest or wanted)
    cut = f"{np.sum(counts > length):,} of {len(counts):,} are cut"
    say(f"max_length: {length} tokens; the longest text has {counts.max()}, {cut}")
    return length


def _depths(layers: int) -> list[int]:
    """Depths below the teacher's, five at most."""
    return sorted({max(1, round(layers * part / 6)) for part in range(1, 6)} - {layers}) or [1]
