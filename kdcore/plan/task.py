"""One task's part of a plan: what each stage computes, writes and holds, given the lengths of the task's rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kdcore.distil.schedule import Phase
from kdcore.distil.targets import keeps_maps
from kdcore.model.encoder import Encoder
from kdcore.model.layers import layer_map
from kdcore.plan import memory, space, work
from kdcore.plan.lengths import Lengths
from kdcore.plan.memory import Memory
from kdcore.plan.shapes import encoder_of, for_task
from kdcore.plan.space import SignalBytes
from kdcore.plan.students import Student
from kdcore.plan.work import Part, Work


@dataclass(frozen=True)
class Asked:
    """What is planned: students and seeds, and the sections of params.yaml as they are there.

    rows: of which targets keep the signals; study: None for the headline run; layers_key, rows_key: what params.yaml
    calls the students' own, for messages.
    """

    students: Sequence[Student]
    seeds: int
    rows: int | None
    teacher: Any
    targets: Any
    train: Any
    batch_size: int
    study: str | None = None
    layers_key: str = "student.layers"
    rows_key: str = "student.rows"


class TaskPlan:
    """The cost of one task."""

    def __init__(self, asked: Asked, config: Any, found: Lengths, free: int) -> None:
        """config: of the teacher; free: bytes of disk. Raises UserError where the run itself would."""
        self.asked, self.found = asked, found
        self.config = for_task(config, found.task)
        self._encoders: dict[int, Encoder] = {}
        self.mapped = {
            student.name: layer_map(student.recipe.layer_map, student.recipe.layers, self.config.num_hidden_layers)
            for student in asked.students
        }
        self.taught = self._taught()
        self.splits = {"train": found.first(asked.rows, asked.rows_key), "validation": found.validation["validation"]}
        self.stored: dict[str, bool] = {}
        self.signals: dict[str, SignalBytes] = {}
        self._place_signals(free)

    def _taught(self) -> np.ndarray:
        """Lengths of the rows that the teacher is fine-tuned on; none where it is fine-tuned already."""
        if self.asked.teacher.finetuned is not None:
            return np.arange(0)
        rows = self.found.first(self.asked.teacher.rows, "teacher.rows")
        return rows[self.found.labelled[: len(rows)]]

    def _place_signals(self, free: int) -> None:
        how = self.asked.targets
        for split, lengths in self.splits.items():
            need = space.signal_bytes(self.teacher, lengths, how.dtype, stored=True).maps
            self.stored[split] = keeps_maps(how.store, need, free, how.disk_gb)
            self.signals[split] = space.signal_bytes(self.teacher, lengths, how.dtype, self.stored[split])
            free -= self.signals[split].maps + self.signals[split].rest

    def encoder(self, layers: int) -> Encoder:
        if layers not in self._encoders:
            self._encoders[layers] = encoder_of(self.config, layers)
        return self._encoders[layers]

    @property
    def teacher(self) -> Encoder:
        return self.encoder(self.config.num_hidden_layers)

    def rows_of(self, student: Student) -> np.ndarray:
        """Lengths of the rows that a student learns from."""
        return self.found.first(student.recipe.rows, self.asked.rows_key)

    # Arithmetic

    @cached_property
    def works(self) -> list[Work]:
        asked, size = self.asked, self.asked.train.batch_size
        works = []
        if len(self.taught):
            works.append(work.fine_tuning(self.teacher, self.taught, asked.teacher.epochs, size))
        splits = {split: (lengths, self.stored[split]) for split, lengths in self.splits.items()}
        works.append(work.extraction(self.teacher, splits, asked.batch_size))
        for student in asked.students:
            encoder = self.encoder(student.recipe.layers)
            works.append(
                work.distilling(student.name, student.recipe, encoder, self.rows_of(student), asked.seeds, size)
            )
        return [*works, *self._live(), self._epoch_scores(), self._evaluation()]

    def _live(self) -> Iterator[Work]:
        """The teacher beside the students that compare maps, where those are not stored."""
        parts: list[Part] = []
        runs = 0
        for student in () if self.stored["train"] else self.asked.students:
            mapped, rows = self.mapped[student.name], self.rows_of(student)
            one = work.live(student.recipe, mapped, self.teacher, rows, self.asked.train.batch_size)
            parts += [work.times(part, self.asked.seeds) for part in one]
            runs += self.asked.seeds if one else 0
        if parts:
            yield Work("student", "live teacher", runs, len(self.splits["train"]), None, tuple(parts))

    def _epoch_scores(self) -> Work:
        """The scores after each epoch, in history.csv."""
        rows = self.found.validation["validation"][: self.asked.train.history_rows]
        size, parts = self.asked.train.batch_size, []
        if len(self.taught):
            parts.append(work.times(work.forward(self.teacher, rows, size, "forward"), self.asked.teacher.epochs))
        for student in self.asked.students:
            one = work.forward(self.encoder(student.recipe.layers), rows, size, "forward")
            epochs = sum(phase.epochs for phase in student.recipe.phases())
            parts.append(work.times(one, epochs * self.asked.seeds))
        return Work("student", "scores by epoch", self._models, len(rows), None, tuple(parts))

    def _evaluation(self) -> Work:
        validation, size = self.found.validation, self.asked.batch_size
        parts = work.scoring(self.teacher, validation, size)
        for student in self.asked.students:
            encoder = self.encoder(student.recipe.layers)
            one = work.scoring(encoder, validation, size)
            one += work.fidelity(encoder, self.teacher, self.splits["validation"], self.stored["validation"], size)
            parts += [work.times(part, self.asked.seeds) for part in one]
        rows = sum(map(len, validation.values()))
        return Work("evaluate", "scores, fidelity", self._models, rows, None, tuple(parts))

    @property
    def _models(self) -> int:
        return 1 + self.asked.seeds * len(self.asked.students)

    # Bytes

    @property
    def checkpoints(self) -> int:
        """Of the largest model that trains: one trains at a time, and what is finished has none."""
        trained = [self.encoder(student.recipe.layers) for student in self.asked.students]
        trained += [self.teacher] if len(self.taught) else []
        return space.CHECKPOINTS * (space.WEIGHT + space.MOMENTS) * max(map(space.parameters, trained))

    @property
    def models(self) -> int:
        """The weights that teacher and students leave."""
        students = sum(space.parameters(self.encoder(student.recipe.layers)) for student in self.asked.students)
        return space.WEIGHT * (space.parameters(self.teacher) + self.asked.seeds * students)

    @property
    def disk(self) -> int:
        return self.checkpoints + self.models + sum(size.maps + size.rest for size in self.signals.values())

    @cached_property
    def peaks(self) -> list[Memory]:
        """The most that each command holds; of the students, the one that holds most."""
        asked, kl = self.asked, any(work.compares_maps(student.recipe) for student in self.asked.students)
        longest = int(max(len(r) and r.max() for r in (self.taught, *map(self.rows_of, asked.students))))
        kept = memory.kept(self.config, longest, kl)
        micro = work.batches(asked.train.batch_size, asked.train.accumulate)
        found = []
        if len(self.taught):
            activations = micro * kept.at_most((Phase("classification", 1),), len(self.teacher.layers))
            found.append(memory.of_training("teacher", self.teacher, activations))
        tokens = int(max(lengths.max() for lengths in self.splits.values()))
        stored = any(size.maps for size in self.signals.values())
        beside = memory.kept(self.config, tokens, compares=False)
        found.append(memory.of_extraction(self.teacher, asked.batch_size, beside, tokens, stored))
        students = [self._student_memory(student, kept, micro, longest) for student in asked.students]
        return [*found, max(students, key=lambda one: one.total)]

    def _student_memory(self, student: Student, kept: memory.Kept, rows: int, longest: int) -> Memory:
        recipe, encoder = student.recipe, self.encoder(student.recipe.layers)
        phases, compares = recipe.phases(), work.compares_maps(recipe)
        activations = rows * kept.at_most(phases, recipe.layers, compares)
        matched = max(len(phase.internal) for phase in phases) if compares else 0
        signals = memory.map_bytes(self.config, matched, rows, longest)
        if compares and not self.stored["train"]:
            signals += space.WEIGHT * space.parameters(self.teacher) + signals  # its own copy of the maps
        return memory.of_training(f"student {student.name}", encoder, activations, signals)
