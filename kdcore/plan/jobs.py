"""What a job computes, told before it runs by files alone: rows, config.json, tokenizer.json. No torch here."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kdcore.data.counts import counted
from kdcore.data.prepared import Data
from kdcore.distil.schedule import fine_tuning
from kdcore.distil.shards import parts_of, shard_bounds
from kdcore.errors import UserError
from kdcore.model.cost import HEADS, Shape, forward_flops, shape_in
from kdcore.model.places import on_disk
from kdcore.params.sections import Model, Teacher
from kdcore.plan.training import training

if TYPE_CHECKING:
    from kdcore.distil.student import Recipe


class UntoldError(Exception):
    """A file that would tell is not on this machine, or can't be read."""


@dataclass(frozen=True)
class Passes:
    """bounds: row numbers, of the shards of signals; flops: of each part, a run of its own where there are several."""

    bounds: Sequence[int]
    flops: Sequence[float]


@dataclass(frozen=True)
class Arithmetic:
    """FLOPs of a task's jobs: those that run.json counts, and of signals the teacher's passes.

    Its functions raise UntoldError.
    """

    data: Data
    model: Model
    teacher: Teacher

    @property
    def layers(self) -> int:
        """The teacher's."""
        return self._shape(*self._taught_by).layers

    def fine_tuning(self) -> float:
        """Of a teacher; 0 where it is fine-tuned already."""
        if self.teacher.finetuned is not None:
            return 0.0
        lengths, labelled = self._counted("train", self.teacher.rows)
        phases, shape = fine_tuning(self.teacher.epochs), self._shape(*self._taught_by)
        return sum(training(phases, (), shape, lengths[labelled]).values())

    def signals(self, rows: int | None, itemsize: int) -> dict[str, Passes]:
        """Split -> the teacher's passes over the first `rows` training rows (None: all) and over all that validate.

        itemsize: bytes of a number of its maps.
        """
        shape, heads = self._shape(*self._taught_by), self._heads
        found = {}
        for split, most in (("train", rows), ("validation", None)):
            lengths, _ = self._counted(split, most)
            bounds = shard_bounds(lengths, shape.layers * heads * itemsize)
            parts = [forward_flops(shape, lengths[part[0] : part[-1]]) for part in parts_of(bounds)]
            found[split] = Passes(bounds, parts)
        return found

    def distilling(self, recipes: "Iterable[Recipe]") -> float:
        """Of students; a phase that its cosine_threshold ends sooner computes less."""
        return sum(self._student(recipe) for recipe in recipes)

    def _student(self, recipe: "Recipe") -> float:
        start = (self.model.name, self.model.revision) if recipe.starts_pretrained else self._taught_by
        shape = replace(self._shape(*start), layers=recipe.student.layers)
        lengths, _ = self._counted("train", recipe.student.rows)
        return sum(training(recipe.phases, recipe.weights, shape, lengths).values())

    @property
    def _taught_by(self) -> tuple[str, str | None]:
        """Name and revision of the model that the teacher is, or is made of."""
        own = self.teacher
        return (own.finetuned, own.revision) if own.finetuned else (self.model.name, self.model.revision)

    def _counted(self, split: str, rows: int | None) -> tuple[np.ndarray, np.ndarray]:
        there, tokenizer = self.data.splits[split], _file(*self._taught_by, "tokenizer.json")
        try:
            return counted(self.data, split, min(rows or there, there), tokenizer, self.model.max_length)
        except ValueError as error:  # the command that needs the file says what is wrong
            raise UntoldError(tokenizer) from error

    @property
    def _heads(self) -> int:
        """The teacher's; `_shape` has found them."""
        config = json.loads(_file(*self._taught_by, "config.json").read_text(encoding="utf-8"))
        return next(config[key] for key in HEADS if key in config)

    def _shape(self, name: str, revision: str | None) -> Shape:
        file, outputs = _file(name, revision, "config.json"), len(self.data.task.labels) or 1
        try:
            shape = shape_in(json.loads(file.read_text(encoding="utf-8")), outputs, name)
        except (OSError, ValueError, AttributeError, TypeError, StopIteration, UserError) as error:
            raise UntoldError(file) from error
        if shape is None:
            raise UntoldError(file)
        return shape


def _file(name: str, revision: str | None, file: str) -> Path:
    found = on_disk(name, revision, file)
    if found is None:
        raise UntoldError(name)
    return found
