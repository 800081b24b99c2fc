"""What every contender works on, in one folder: the same teacher, the same student at its start, the same token ids."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdcore.data import embedded, prepared, tasks
from kdcore.data.examples import Examples, encode
from kdcore.data.prepare import prepare
from kdcore.model.build import build
from kdcore.model.layers import layer_map
from kdcore.model.loading import load_pretrained
from kdcore.model.names import tokenizer_of
from kdcore.params.sections import Data

MAX_LENGTH = 128
TEACHER_LAYERS = 6  # of the embedded MiniLM


@dataclass(frozen=True)
class Material:
    """A folder with teacher/, student-<layers>/ and examples.npz."""

    folder: Path

    @property
    def teacher(self) -> Path:
        return self.folder / "teacher"

    def student(self, layers: int) -> Path:
        return self.folder / f"student-{layers}"

    def examples(self) -> Examples:
        return load_examples(self.folder / "examples.npz")


def lay_out(folder: Path, glue: Path | None, rows: int | None, depths: tuple[int, ...] = (3,)) -> Material:
    """The first `rows` training rows of MRPC in `glue`, or of the embedded task; a teacher with a new head; students.

    How fast a teacher runs does not depend on what it has learnt, so it is not fine-tuned.
    """
    material = Material(folder)
    save_models(material, depths)
    tokenizer = tokenizer_of(material.teacher)
    examples = encode(tokenizer, prepared.Data.open(_prepared(folder, glue)).frame("train")[:rows], MAX_LENGTH)
    save_examples(examples, folder / "examples.npz")
    return material


def mapped(layers: int, teacher_layers: int = TEACHER_LAYERS) -> tuple[int, ...]:
    """The teacher's layer, from 1, that each layer of a student of this depth is compared with."""
    return layer_map("uniform", layers, teacher_layers)


def save_models(material: Material, depths: tuple[int, ...]) -> None:
    place = embedded.find(embedded.MODEL)
    torch.manual_seed(0)
    load_pretrained(place, None, {"num_labels": 2}).save_pretrained(material.teacher)
    tokenizer_of(place).save_pretrained(material.teacher)
    save_students(material, depths)


def save_students(material: Material, depths: tuple[int, ...]) -> None:
    for layers in depths:
        student = build(material.teacher, "", layers=layers, init="teacher", mapped="uniform", seed=0)
        student.model.save_pretrained(material.student(layers))


def _prepared(folder: Path, glue: Path | None) -> Path:
    """The task as the pipeline prepares it."""
    name = "movies" if glue is None else "mrpc"
    source = {"source": "embedded" if glue is None else "local", "path": str(glue or "none")}
    data = Data.model_validate(source | {"hub": "none", "revision": "none", "columns": {}})
    prepare(tasks.find(name, {}), data, folder / name)
    return folder / name


def save_examples(examples: Examples, path: Path) -> None:
    types = np.zeros_like(examples.tokens) if examples.types is None else examples.types
    np.savez(path, tokens=examples.tokens, types=types, start=examples.start, labels=examples.labels, pad=examples.pad)


def load_examples(path: Path) -> Examples:
    found = np.load(path)
    return Examples(found["tokens"], found["types"], found["start"], found["labels"], int(found["pad"]))


def equal_lengths(rows: int, tokens: int) -> Examples:
    """Random token ids, every example as long as the others; labels take turns."""
    return of_lengths(np.full(rows, tokens))


def of_lengths(lengths: np.ndarray) -> Examples:
    """Random token ids, examples of these lengths; labels take turns."""
    random = np.random.default_rng(0)
    start = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    ids = random.integers(1000, 20_000, start[-1], dtype=np.int32)  # whole words of BERT's vocabulary
    return Examples(ids, np.zeros_like(ids), start, (np.arange(len(lengths)) % 2).astype(np.float64), 0)


def as_rows(examples: Examples) -> list[dict[str, Any]]:
    """The examples as Hugging Face's collators take them."""
    assert examples.types is not None
    spans = list(zip(examples.start[:-1], examples.start[1:], strict=True))
    return [
        {
            "input_ids": examples.tokens[first:last].tolist(),
            "token_type_ids": examples.types[first:last].tolist(),
            "attention_mask": [1] * int(last - first),
            "labels": int(label),
        }
        for (first, last), label in zip(spans, examples.labels, strict=True)
    ]
