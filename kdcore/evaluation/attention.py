"""Attention maps of teacher and students on a few chosen validation examples, layer by matching layer.

Shapes: L student layers, A heads, n tokens of the example, K classes (1 for a regression).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from kdcore.data.batches import Batch, collate
from kdcore.data.examples import Examples, Prepared
from kdcore.data.prepared import load_split
from kdcore.data.tasks import Task
from kdcore.distil.finished import read_run
from kdcore.distil.losses import attention_kl_by_head
from kdcore.distil.signals import Stored, Teaching
from kdcore.errors import UserError
from kdcore.evaluation.choose import choose
from kdcore.evaluation.tokens import readable
from kdcore.model.encoder import Encoder
from kdcore.model.names import tokenizer_of

TEACHER = "teacher"


@dataclass(frozen=True)
class Seen:
    """One model on one example. logits: (K,); maps: (L, A, n, n); kl: (L, A) to the teacher, None for itself."""

    logits: np.ndarray
    maps: np.ndarray
    kl: np.ndarray | None


@dataclass(frozen=True)
class Example:
    """A chosen example: its row in the source, its texts, what is known of it, and what each model makes of it."""

    row: int
    texts: tuple[str, ...]
    label: float | None
    reason: str
    tokens: tuple[str, ...]
    seen: Mapping[str, Seen]


@dataclass(frozen=True)
class Comparison:
    """Teacher first, then the students; layer_map: the teacher layer (1-based) of each student layer."""

    task: Task
    layer_map: tuple[int, ...]
    examples: tuple[Example, ...]


def compare(
    data: Path,
    teacher: Path,
    targets: Path,
    students: Mapping[str, Path],
    logits: Mapping[str, Path],
    count: int,
) -> Comparison:
    """Run the students on `count` chosen validation examples; the teacher's maps come from its signals.

    students: method -> its folder; logits: the teacher and each method -> its table of predictions, by which the
    examples are chosen. Raises UserError where a file is missing, was changed, or does not fit the others.
    """
    facts, _ = read_run(teacher, "dvc repro -f teacher")
    prepared = Prepared.open(data, tokenizer_of(teacher), facts["max_length"])
    examples, frame = prepared.split("validation"), load_split(data, "validation")
    signals = Stored(targets / "validation", teacher)
    layer_map = _layer_map(students) or tuple(range(1, signals.layers + 1))
    read = {name: _logits(path, frame) for name, path in logits.items()}
    chosen = choose(examples.lengths, read[TEACHER], [read[name] for name in students], count)
    models = {name: Encoder.load(folder).eval() for name, folder in students.items()}
    found = []
    for choice in chosen:
        row = frame.iloc[choice.position]
        texts = tuple(text for text in (row["text_a"], row["text_b"]) if pd.notna(text))
        tokens = readable(prepared.tokenizer, texts, prepared.max_length)
        seen = _seen(examples, choice.position, signals, models, layer_map)
        label = None if pd.isna(row["label"]) else float(row["label"])
        found.append(Example(int(row["row"]), texts, label, choice.reason, tokens, seen))
    return Comparison(prepared.task, layer_map, tuple(found))


def _layer_map(students: Mapping[str, Path]) -> tuple[int, ...]:
    """The map that all students share; empty without students."""
    maps = {name: tuple(read_run(folder, "dvc repro -f student")[0]["mapped"]) for name, folder in students.items()}
    if len(set(maps.values())) > 1:
        raise UserError("attention", [f"{name}: matches teacher layers {list(found)}" for name, found in maps.items()])
    return next(iter(maps.values()), ())


def _logits(path: Path, frame: pd.DataFrame) -> np.ndarray:
    """(N, K) of the validation rows, which must be those of the data."""
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(str(path), f"can't be read ({error}); run `dvc repro -f evaluate`") from error
    table = table[table["split"] == "validation"]
    if not np.array_equal(table["row"], frame["row"]):
        raise UserError(str(path), "holds other rows than the data's validation split; run `dvc repro evaluate`")
    return table.filter(regex=r"^logit_\d+$").to_numpy()


@torch.inference_mode()
def _seen(
    examples: Examples, position: int, signals: Stored, models: Mapping[str, Encoder], layer_map: tuple[int, ...]
) -> dict[str, Seen]:
    """Every model on one example, which is a batch of its own: no padding."""
    batch = collate(examples, np.array([position]))
    said = signals.at(batch, layer_map, ())
    maps = np.concatenate([said.attention[layer].numpy() for layer in layer_map])
    students = {name: _student(model, batch, said, layer_map) for name, model in models.items()}
    assert said.logits is not None  # noqa: S101  (they were asked)
    return {TEACHER: Seen(said.logits[0].numpy(), maps, None), **students}


def _student(model: Encoder, batch: Batch, said: Teaching, layer_map: tuple[int, ...]) -> Seen:
    internals = model(batch.to(model.device).inputs, attention=range(1, len(layer_map) + 1))
    own: dict[int, Any] = internals.attention
    pairs = list(enumerate(layer_map, start=1))
    kl = [attention_kl_by_head(own[layer].cpu(), said.attention[mapped], batch.mask) for layer, mapped in pairs]
    maps = np.concatenate([own[layer].exp().cpu().numpy() for layer, _ in pairs])
    assert internals.logits is not None  # noqa: S101  (a whole pass has logits)
    return Seen(internals.logits[0].cpu().numpy(), maps, torch.cat(kl).numpy())
