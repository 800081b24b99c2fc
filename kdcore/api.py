"""Distilling from Python: the stages, the runs and the store of the pipeline, without params.yaml and DVC.

Shapes: B examples, T tokens of the longest, A heads, H hidden size, K classes (1 for a regression).
"""

import copy
import io
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
from transformers.utils import logging

from kdcore import interrupt, rounding
from kdcore.artefacts import check_folder, new_folder, seal, write_bytes
from kdcore.code import code_digest
from kdcore.console import say, speaking_of, warn
from kdcore.data import checks, tasks
from kdcore.data.batches import Batch
from kdcore.data.cells import Cells
from kdcore.data.checks import text_columns
from kdcore.data.formats import READERS, cells_of, own_file
from kdcore.data.labels import spelt
from kdcore.data.prepare import prepare
from kdcore.data.prepared import Data
from kdcore.data.tables import Block
from kdcore.data.tasks import LABEL, Task
from kdcore.data.tokens import tokenised
from kdcore.distil import student as stage
from kdcore.distil.card import Scores
from kdcore.distil.choice import chosen
from kdcore.distil.finished import Finished
from kdcore.distil.folder import copy_model
from kdcore.distil.signals import Live, Teaching
from kdcore.distil.standing import called
from kdcore.distil.targets import write_targets
from kdcore.distil.teacher import adopt
from kdcore.distil.written import Targets
from kdcore.errors import UserError, near, one_line, shown
from kdcore.evaluation import sanity
from kdcore.evaluation.score import read_point, score_run
from kdcore.export import export
from kdcore.model import names, places
from kdcore.model.config import DECODING, labels_in, load_config
from kdcore.model.encoder import Encoder
from kdcore.model.families import positions
from kdcore.model.layers import layer_map
from kdcore.params import rules, sections
from kdcore.params.sections import Section
from kdcore.params.text import complaints
from kdcore.params.values import Length, Method, Seed
from kdcore.predict.model import open_classifier
from kdcore.predict.rows import as_prepared
from kdcore.predict.table import table
from kdcore.runs import open_run


class Dataset(Protocol):
    """What is asked of a `datasets.Dataset`; the library itself is imported where a hub is read, and nowhere else."""

    def select_columns(self, columns: list[str]) -> Any: ...


Rows: TypeAlias = pd.DataFrame | Dataset | str | Path  # a path is that of a csv, tsv, json(l) or parquet file

SOURCE = "kdcore.distil"  # in messages
NAME = "own"  # of the task
BATCH = 64  # rows per forward pass where nothing is trained
ADVICE = (
    "more rows (rows), more epochs (epochs_per_layer, classification_epochs), a higher learning_rate or, for pid and "
    'sid, classification="always" may help'
)


class Choice(Section):
    """What params.yaml has as lists, or in the section `model`."""

    method: Method = "sid"
    seed: Seed = 0
    max_length: Length = sections.Model().max_length


SECTIONS: dict[str, type[Section]] = {
    "choice": Choice,
    "student": sections.Student,
    "distill": sections.Distill,
    "train": sections.Train,
    "targets": sections.Targets,
}
KNOBS: dict[str, Any] = {knob: value for kind in SECTIONS.values() for knob, value in kind()}


@contextmanager
def _errors_only() -> Iterator[None]:
    """transformers says errors only, as in a command: it warns of texts that are too long before they are cut."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@dataclass(frozen=True)
class Student:
    """A distilled student and its scores on the validation rows.

    path: its folder in the store, an ordinary Hugging Face one; metric: the name of `score` and `teacher_score`;
    fidelity: how closely it follows the teacher (docs/report.md says what each term is); warnings: what speaks against
    it, by kind (docs/method.md); max_length: tokens per text; data: the folder of the prepared rows in the store.
    """

    path: Path
    task: Task
    metric: str
    score: float
    teacher_score: float
    fidelity: Mapping[str, Any]
    warnings: Mapping[str, str]
    max_length: int
    data: Path = field(compare=False)

    @_errors_only()
    def predict(self, texts: Sequence[Any]) -> pd.DataFrame:
        """One row per text: `prediction`, the label's name, and p_<label>; a regression's number alone.

        texts: strings, or pairs of them for a task of pairs. Raises UserError with every text that is none.
        """
        rows = as_prepared(_by_column(self.task, texts))
        return table(self.task, open_classifier(self.path).logits(rows, BATCH)).drop(columns="row")

    def save(self, folder: str | Path) -> Path:
        """Copy the student to `folder`, which transformers loads like any other; its model card has the scores.

        Raises UserError where something is there that kdcore did not make.
        """
        place = Path(folder)
        check_folder(place, self.path)
        with new_folder(place) as aside:
            copy_model(self.path, aside, self._scores())
        return place

    @_errors_only()
    def export(self, folder: str | Path, int8: bool = True) -> dict[str, Any]:
        """Write the student as ONNX to `folder`, as `kdcore export` does; returns what was measured (export.json).

        Raises UserError as `kdcore.export.export` does, and where something is there that kdcore did not make.
        """
        place = Path(folder)
        check_folder(place, self.path, self.data)
        rows = tokenised(Data.open(self.data), "validation", names.tokenizer_of(self.path), self.max_length)
        return export(self.path, self.task, rows, place, int8, BATCH, self._scores())

    def _scores(self) -> Scores:
        return Scores({self.metric: self.score}, self.teacher_score, self.fidelity.get("agreement"))

    def _repr_html_(self) -> str:
        """A small table, for notebooks."""
        terms = {term: value for term, value in self.fidelity.items() if isinstance(value, float)}
        facts = {self.metric: self.score, f"{self.metric} of the teacher": self.teacher_score, **terms}
        return pd.DataFrame({"student": facts}).to_html(float_format="{:.4f}".format)


def distil(
    classifier: str | Path,
    *,
    train: Rows,
    validation: Rows,
    layers: int = KNOBS["layers"],
    method: str = KNOBS["method"],
    seed: int = KNOBS["seed"],
    rows: int | None = KNOBS["rows"],
    text: str | Sequence[str] | None = None,
    label: str | None = LABEL,
    metrics: Sequence[str] | None = None,
    revision: str | None = None,
    pretrained: str | Path | None = None,
    **knobs: Any,
) -> Student:
    """Distil a fine-tuned classifier into one of `layers` layers; what was distilled before is found in the store.

    classifier: a folder or a hub name (`revision`: its commit), whose id2label names the labels; train, validation: a
    pandas DataFrame, a datasets.Dataset, or a csv, tsv, json(l) or parquet file; text: one text column or two, by
    default all that hold texts; label: the column of names or ids, with null where a training row has none, or None
    where no row has one; metrics: the first is `score` (as `kdcore init` has them: accuracy and f1_macro; pearson and
    spearman for a regression; by the teacher's answers without labels); pretrained: the encoder that
    `init="pretrained"` starts from; knobs: any of `student`, `distill`, `train` and `targets` in params.yaml, and
    `max_length`.

    Raises UserError with everything that is wrong with the knobs, with the rows, or with the classifier. Ctrl-C in
    the training loop writes a checkpoint, from which the same call goes on.
    """
    rounding.set_aside()
    own = _sections({"layers": layers, "method": method, "seed": seed, "rows": rows, **knobs})
    name, start = str(classifier), str(pretrained or classifier)
    config = load_config(places.resolve(name), revision)
    layer_map(own["student"].layer_map, layers, config.num_hidden_layers)
    starts_elsewhere = own["student"].init.startswith("pretrained")
    if starts_elsewhere and pretrained is None:
        raise UserError(SOURCE, f"init: {own['student'].init!r} needs `pretrained`, the encoder that it starts from")
    length = _length(own["choice"].max_length if "max_length" in knobs else None, config)
    model = sections.Model(name=start, max_length=length)
    with _errors_only(), _caller_left_alone():
        data = _prepared(config, train, validation, text, label, metrics)
        teacher = adopt(data, name, revision, model, own["train"])
        above = read_point(score_run(teacher, data, teacher, None, BATCH))
        sanity.check("the teacher", above)
        mapped = layer_map(own["student"].layer_map, layers, teacher.layers)
        targets = _targets(data, teacher, own["targets"], rows, mapped, own["train"])
        ingredients = (own["student"], own["distill"], own["train"], model, data, teacher, targets)
        with speaking_of(called(method, layers, seed)):
            made = stage.distil(stage.Recipe(method, seed, *ingredients))
        point = read_point(score_run(made, data, teacher, targets, BATCH))
        _check(called(method, layers, seed), point, own["student"].floor)
    scores = (point["metric"], point["score"], above["score"], point["fidelity"], point["warnings"])
    return Student(made.folder, data.task, *scores, teacher.max_length, data.folder)


def _by_column(task: Task, texts: Any) -> list[list[str]]:
    """Texts, or pairs of them, by column of the task; raises UserError with every one that is none."""
    single = len(task.text) == 1
    one, many = ("text", "texts") if single else ("pair of texts", "pairs of texts")
    cells = texts.tolist() if isinstance(texts, np.ndarray) else texts
    if isinstance(cells, str | bytes | Mapping | pd.DataFrame) or not isinstance(cells, Iterable):
        raise UserError("predict", f"texts: must be a list of {many}, found {type(texts).__name__}")
    rows = [(cell,) for cell in cells] if single else [*cells]
    found, whole = checks.Column([] if rows else [f"must have at least 1 {one}, found 0"]), list[int]()
    for at, row in enumerate(rows):
        if isinstance(row, list | tuple) and len(row) == len(task.text):
            whole.append(at)
        else:
            found.problems.append(f"texts: row {at + 1}: must be a {one}, found {shown(row)}")
    columns = {name: [rows[at][place] for at in whole] for place, name in enumerate(task.text)}
    for column in task.text:
        checks.texts(task, Block(columns, whole, "texts"), column, found)
    if found.problems:
        raise UserError("predict", found.problems)
    return [*columns.values()]


def _check(name: str, point: Mapping[str, Any], floor: float | None) -> None:
    """Warn of what speaks against a student, with the knobs that may help, as they are called here.

    Raises UserError for one that scores below the floor.
    """
    for text in point["warnings"].values():
        warn(f"{name} {text}; {ADVICE}")
    if floor is not None and point["score"] < floor:
        found = f"{name} must reach {floor}, found {point['metric']} {point['score']:.4f} on validation"
        raise UserError(SOURCE, f"floor: {found}. It stays in the store, for a lower floor")


def capture(model: Any, batch: Mapping[str, Tensor]) -> Teaching:
    """The attention maps, before dropout, and the [CLS] vectors of every layer, by 1-based layer, and the logits.

    model: a sequence classifier of transformers, which is left as it is, or its folder; batch: input_ids and
    attention_mask (B, T), token_type_ids where the model has them. `attention`: (B, A, T, T) probabilities of the
    model in eval mode, the rows of padding 0; `cls`: (B, H); `logits`: (B, K).

    Raises UserError for what is no sequence classifier, for an architecture whose internals can't be captured, and for
    a batch without token ids.
    """
    rounding.set_aside()
    ids = batch.get("input_ids")
    if not isinstance(ids, Tensor) or ids.dim() != 2:
        raise UserError("kdcore.capture", f"batch: input_ids must be a tensor (B, T), found {shown(ids)}")
    encoder = Encoder.load(model) if isinstance(model, str | Path) else Encoder(copy.deepcopy(_classifier(model)))
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids") if key in batch}
    inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
    size = len(inputs["input_ids"])
    whole = Batch(np.arange(size), inputs, torch.full((size,), torch.nan)).to(encoder.device)
    every = range(1, len(encoder.layers) + 1)
    return Live(encoder).at(whole, every, every)


def _classifier(model: Any) -> Any:
    """The model, where it is a sequence classifier of transformers."""
    config = getattr(model, "config", None)
    kinds: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if type(config) not in kinds or not isinstance(model, kinds[type(config)]):
        allowed = "a sequence classifier of transformers, or its folder"
        raise UserError("kdcore.capture", f"model: must be {allowed}, found {type(model).__name__}")
    if asked := [key for key in DECODING if getattr(config, key, False)]:
        raise UserError("kdcore.capture", f"model: its config's {asked[0]} asks for a decoder")
    return model


def _length(asked: int | None, config: Any) -> int:
    """Tokens per text: what was asked for, else the default, where the classifier takes as many."""
    usual = KNOBS["max_length"]
    most = positions(config.to_dict()) or usual
    if asked is None and most < usual:
        say(f"max_length: {most} tokens, as many as the classifier takes")
    return asked or min(usual, most)


def _sections(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The sections with these knobs, the others by default; raises UserError with all that is wrong."""
    known = f", known are {', '.join(KNOBS)}"
    problems = [f"{knob}: unknown knob{near(knob, KNOBS) or known}" for knob in knobs if knob not in KNOBS]
    made: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        try:
            made[name] = kind.model_validate({k: v for k, v in knobs.items() if k in kind.model_fields})
        except ValidationError as error:
            problems += (problem.removeprefix(f"{name}.") for problem in complaints(error, name, kind))
    if "choice" in made:
        problems += rules.broken(made | {"methods": (made["choice"].method,)})
    if problems:
        raise UserError(SOURCE, problems)
    return made


@contextmanager
def _caller_left_alone() -> Iterator[None]:
    """Training sets torch's threads and its generator, and takes Ctrl-C as a request; afterwards all is as before.

    Within the block torch computes as in a command, whatever the caller told it.
    """
    threads, dtype, precision = torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    try:
        with ExitStack() as usual:
            usual.enter_context(torch.random.fork_rng(range(torch.cuda.device_count())))
            usual.enter_context(torch.inference_mode(False))
            usual.enter_context(torch.enable_grad())
            for kind in ("cpu", "cuda"):
                usual.enter_context(torch.autocast(kind, enabled=False))
            yield
    except interrupt.Interrupted as stopped:
        said = f"stopped by {stopped}: {stopped.kept}"
        raise (KeyboardInterrupt if stopped.signum == signal.SIGINT else SystemExit)(said) from stopped
    finally:
        interrupt.forget()
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)


# Rows of any kind -> prepared data


@dataclass(frozen=True)
class RawFile:
    """The bytes of one split's file, of a format of READERS."""

    split: str
    kind: str
    content: bytes

    @property
    def name(self) -> str:
        return f"{self.split}.{self.kind}"

    @cached_property
    def cells(self) -> Cells:
        return cells_of(self.kind, self.content, self.name)


def _prepared(
    config: Any,
    train: Rows,
    validation: Rows,
    text: str | Sequence[str] | None,
    label: str | None,
    metrics: Sequence[str] | None,
) -> Data:
    """The rows as a prepared task of the store, whose labels are the classifier's."""
    labels = labels_in(config)
    named = labels != tuple(f"LABEL_{index}" for index in range(len(labels)))
    chosen = (text,) if isinstance(text, str) else tuple(text or ())
    needed = (*chosen, *([label] if label else []))
    files = [
        _raw_file(split, rows, needed, bool(chosen), named)
        for split, rows in (("train", train), ("validation", validation))
    ]
    if label and label in files[0].cells.header:
        labels = spelt(labels, files[0].cells.column(label), "classifier", label)
    given = {
        "text": chosen or _texts(files[0], label or LABEL),
        "label": label or LABEL,
        "labels": list(labels),
        "metrics": metrics or tasks.usual_metrics(labels, bool(label)),
    }
    try:
        described = {NAME: sections.TaskEntry.model_validate(given)}
    except ValidationError as error:
        raise UserError(SOURCE, list(complaints(error, f"task.{NAME}", sections.TaskEntry))) from error
    if problems := rules.broken({"task": described}):
        raise UserError(SOURCE, problems)
    task = tasks.find(NAME, described)
    what = {
        "task": tasks.to_json(task),
        "files": {file.name: sha256(file.content).hexdigest() for file in files},
        "code": code_digest("kdcore.data.prepare"),
    }
    with open_run("data", what) as run:
        if not run.finished:
            raw = run.folder / "raw"
            for file in files:
                write_bytes(raw / NAME / file.name, file.content)
            section = sections.Data(source="local", path=str(raw))
            run.finish(lambda folder: prepare(task, section, folder / NAME))
        return Data.open(run.result / NAME)


def _raw_file(split: str, rows: Rows, needed: Sequence[str], alone: bool, named: bool) -> RawFile:
    """A file as it is, unpacked; rows in memory as parquet: the columns that are needed alone, or all of them.

    named: whether the classifier's labels have names. Those of a Dataset's own classes then stand for their ids.
    """
    if isinstance(rows, str | Path):
        return RawFile(split, *own_file(places.local(rows)))
    there = [*rows.columns] if isinstance(rows, pd.DataFrame) else getattr(rows, "column_names", None)
    if not isinstance(there, list) or not (isinstance(rows, pd.DataFrame) or hasattr(rows, "features")):
        allowed = f"a pandas DataFrame, a datasets.Dataset, or a file ({', '.join(READERS)})"
        raise UserError(split, f"must be {allowed}, found {type(rows).__name__}")
    if missing := [column for column in needed if column not in there]:
        known = f", has {shown(there)}"
        raise UserError(split, [f"has no column {column!r}{near(column, there) or known}" for column in missing])
    try:
        cells = _arrow(rows, needed if alone else [column for column in there if isinstance(column, str)], named)
    except (ValueError, TypeError) as error:  # pyarrow's are either
        raise UserError(split, f"can't be written as parquet: {one_line(error, 200)}") from error
    buffer = io.BytesIO()
    pq.write_table(cells, buffer)
    return RawFile(split, "parquet", buffer.getvalue())


def _arrow(rows: "pd.DataFrame | Dataset", columns: Sequence[str], named: bool) -> pa.Table:
    if isinstance(rows, pd.DataFrame):
        chosen = [place for place, name in enumerate(rows.columns) if name in columns]
        cells = [pa.array(rows.iloc[:, place].astype(object), from_pandas=True) for place in chosen]
        return pa.table(cells, names=[rows.columns[place] for place in chosen])
    taken = rows.select_columns(list(columns)).with_format("arrow")
    return taken[:].replace_schema_metadata(taken.features.arrow_schema.metadata if named else None)


def _texts(file: RawFile, label: str) -> tuple[str, ...]:
    """The columns that hold texts, not numbers only, and are not the label; raises UserError where `text` must say."""
    found = text_columns(file.cells, label)
    if len(found) not in (1, 2):
        raise UserError(SOURCE, f"text: name the one or two columns of texts, found {shown(list(found))}")
    say(f"texts: {' and '.join(found)}")
    return found


def _targets(
    data: Data,
    teacher: Finished,
    section: sections.Targets,
    rows: int | None,
    mapped: tuple[int, ...],
    train: sections.Train,
) -> Targets:
    """The teacher's signals of the first `rows` training rows, written where they are not in the store."""
    if choice := chosen(data, teacher, section, rows, mapped, BATCH, train):
        section = choice.applied(section)
    owners = {"data": data.fingerprint, "teacher": teacher.fingerprint}
    what = {**owners, "rows": data.used(rows), "mapped": mapped}
    with open_run("signals", what | section.model_dump()) as run:
        folder = run.folder / "targets"
        write_targets(data, teacher, folder, section, rows, BATCH, mapped)
        if choice:
            seal(folder, choice=choice.facts)
        return Targets.open(folder, data, teacher)
