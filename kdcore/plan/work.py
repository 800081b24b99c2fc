"""What the stages compute and write for one task, given the lengths of its rows: on encoders without weights.

FLOPs are those that run.json counts, of real tokens only; bytes are those of the files.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kdcore.data.tokens import rows_made, token_bytes
from kdcore.distil.methods import INTERNAL, Method, need
from kdcore.distil.schedule import Phase, fine_tuning, phases
from kdcore.distil.shards import parts_of, shard_bounds
from kdcore.distil.targets import kept_layers
from kdcore.model.cost import Shape, attention_bytes, forward_flops
from kdcore.model.encoder import Encoder
from kdcore.model.layers import layer_map
from kdcore.params.overrides import of_task, values, with_changes
from kdcore.params.sections import Distill, Params, Student, Train
from kdcore.plan.lengths import Lengths
from kdcore.plan.shapes import encoder_of, for_task
from kdcore.plan.training import Flops, added, training
from kdcore.studies import Study, cells

HEADER = 128  # bytes of a .npy file before its numbers
WEIGHT, MOMENTS = 4, 8  # bytes per parameter: float32; AdamW's two
CHECKPOINTS = 3  # the newest two are kept while a third is written


@dataclass(frozen=True)
class Planned:
    """One student, whatever its seed. name: the one that its results go by."""

    name: str
    method: Method
    student: Student
    distill: Distill
    train: Train

    @property
    def phases(self) -> tuple[Phase, ...]:
        return phases(self.method.schedule, self.student.layers, self.distill)

    @property
    def epochs(self) -> int:
        """The most that its phases may use."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def losses(self) -> Collection[str]:
        """The internal losses that it minimises."""
        return self.method.minimised(self.distill.weights)

    def flops(self, shape: Shape, lengths: np.ndarray) -> Flops:
        """All epochs, over rows of these lengths."""
        return training(self.phases, self.losses, shape, lengths)


def students(params: Params, study: Study | None, task: str) -> list[Planned]:
    """The students of the headline run, or of a study's grid, as the task has them."""
    sections = {"student": params.student, "distill": params.distill, "train": params.train}
    tuned = study.tuned(params.study[study.name]) if study else ()
    asked: list[tuple[str, str, dict[str, Any]]] = [(method, method, {}) for method in params.methods]
    if study:
        asked = [(cell.name, cell.method, dict(cell.sets)) for cell in cells(study, params.study[study.name])]
    planned = []
    for name, method, sets in asked:
        own = values(of_task(task, params.task.get(task), method, tuned))
        planned.append(Planned(name, Method.parse(method), **with_changes(sections, own | sets)))
    return planned


@dataclass(frozen=True)
class Work:
    """A line of the plan: what a stage does with these rows, over all of its runs; epochs None: one pass."""

    stage: str
    what: str
    runs: int
    rows: int
    epochs: int | None
    flops: Flops

    @property
    def total(self) -> float:
        return sum(self.flops.values())


def live(one: Planned, mapped: Sequence[int], teacher: Shape, lengths: np.ndarray, stored: bool = False) -> Flops:
    """What the teacher computes beside a student that compares hidden states, or maps that are not stored: its layers
    up to the top match."""
    maps, hidden = need(one.losses, "attention") and not stored, need(one.losses, "hidden")
    if not maps and not hidden:
        return {}
    tops = [(phase, max(mapped[layer - 1] for layer in phase.internal)) for phase in one.phases if phase.internal]
    whole = mapped if hidden else ()
    flops = sum(forward_flops(teacher, lengths, top, whole) * phase.epochs for phase, top in tops)
    return {"maps" if maps else "forward": flops}


@dataclass(frozen=True)
class SignalBytes:
    """What targets write for one split; rest: [CLS] vectors, logits, lengths; parts: runs that compute them."""

    maps: int
    rest: int
    parts: int = 1


def signal_bytes(
    teacher: Encoder, lengths: np.ndarray, dtype: str, stored: bool, kept: int | None = None
) -> SignalBytes:
    """The files of one split, to the byte, but for its manifest. kept: how many layers' signals; None: every one's."""
    every, heads, size = len(teacher.layers), teacher.config.num_attention_heads, np.dtype(dtype).itemsize
    layers, bounds = kept or every, shard_bounds(lengths, every * heads * size)
    maps = attention_bytes(lengths, layers, heads, size) + (len(bounds) - 1) * HEADER if stored else 0
    row = layers * teacher.config.hidden_size * size + teacher.output.out_features * 4 + 4
    parts = len(parts_of(bounds))
    copies = [1] if parts == 1 else [1, parts]  # maps of parts are linked, the rest is written again
    return SignalBytes(maps, sum(len(lengths) * row + 3 * HEADER * files for files in copies), parts)


def parameters(encoder: Encoder) -> int:
    return encoder.parameter_counts()["total"]


class TaskPlan:
    """The cost of one task."""

    def __init__(
        self,
        params: Params,
        planned: Sequence[Planned],
        config: Any,
        asked: tuple[int | None, Collection[int]],
        lengths: Lengths,
        free: int,
        seeds: int | None = None,
    ) -> None:
        """config: of the teacher; asked: of how many training rows (None: all) and of which of its layers targets keep
        the signals; free: bytes of disk; seeds: how many of each student, None for as many as `params.seeds`.

        Raises UserError where the run itself would.
        """
        self.params, self.students, self.lengths = params, planned, lengths
        self.config, self.seeds = for_task(config, lengths.task), seeds or len(params.seeds)
        self.teachers = len(params.teacher.seeds)
        self._encoders: dict[int, Encoder] = {}
        depth = self.config.num_hidden_layers
        self.mapped = {one.name: layer_map(one.student.layer_map, one.student.layers, depth) for one in planned}
        # Lengths of the rows that the teacher is fine-tuned on; none where it is fine-tuned already.
        first = lengths.train[: 0 if params.teacher.finetuned else params.teacher.rows]
        self._tuned = len(first)
        self.taught = first[lengths.labelled[: len(first)]]
        rows, layers = asked[0], sorted(asked[1])
        self.splits = {"train": lengths.train[:rows], "validation": lengths.validation["validation"]}
        self.map_bytes: dict[str, int] = {}  # at least needed, wherever the maps then come from
        self.stored: dict[str, bool] = {}
        self.kept: dict[str, int] = {}  # layers whose maps are stored
        self.note = ""  # what else is to be said of where they come from
        self.signals: dict[str, SignalBytes] = {}
        how = params.targets
        for split, tokens in self.splits.items():
            each = attention_bytes(tokens, 1, self.config.num_attention_heads, np.dtype(how.dtype).itemsize)
            self.map_bytes[split] = len(layers) * each
            kept = kept_layers(how.store, depth, layers, each, free, how.disk_gb)
            kept = kept or (tuple(layers) if how.store == "disk" else ())
            self.kept[split], self.stored[split] = len(kept), bool(kept)
            one = signal_bytes(self.teacher, tokens, how.dtype, self.stored[split], len(kept))
            self.signals[split] = SignalBytes(self.teachers * one.maps, self.teachers * one.rest, one.parts)
            free -= self.signals[split].maps + self.signals[split].rest

    def encoder(self, layers: int) -> Encoder:
        if layers not in self._encoders:
            self._encoders[layers] = encoder_of(self.config, layers)
        return self._encoders[layers]

    @property
    def teacher(self) -> Encoder:
        return self.encoder(self.config.num_hidden_layers)

    @cached_property
    def works(self) -> list[Work]:
        """A line per stage, in the order of the run; students have one each."""
        works = []
        if len(self.taught):
            epochs = self.params.teacher.epochs
            flops = added([training(fine_tuning(epochs), (), self.teacher.shape, self.taught)], self.teachers)
            works.append(Work("teacher", "fine-tuned", self.teachers, len(self.taught), epochs, flops))
        signals = [
            {"maps" if self.stored[split] else "forward": forward_flops(self.teacher.shape, tokens)}
            for split, tokens in self.splits.items()
        ]
        rows, flops = sum(map(len, self.splits.values())), added(signals, self.teachers)  # type: ignore[arg-type]
        works.append(Work("targets", "signals", self.teachers, rows, None, flops))
        for one in self.students:
            learned = self.lengths.train[: one.student.rows]
            flops = added([one.flops(self.encoder(one.student.layers).shape, learned)], self.seeds)
            works.append(Work("student", one.name, self.seeds, len(learned), one.epochs, flops))
        return [*works, *self._live(), self._epoch_scores(), self._evaluation()]

    def _live(self) -> Iterator[Work]:
        """The teacher beside the students that compare what is not stored."""
        train, stored, teacher = self.lengths.train, self.stored["train"], self.teacher.shape
        parts = [live(one, self.mapped[one.name], teacher, train[: one.student.rows], stored) for one in self.students]
        if beside := sum(map(bool, parts)):
            runs, rows = self.seeds * beside, len(self.splits["train"])
            yield Work("student", "live teacher", runs, rows, None, added(parts, self.seeds))

    def _epoch_scores(self) -> Work:
        """The scores after each epoch, in history.csv."""
        rows = self.splits["validation"][: self.params.train.history_rows]
        taught = self.teachers * self.params.teacher.epochs if len(self.taught) else 0
        flops = taught * forward_flops(self.teacher.shape, rows) + self.seeds * sum(
            one.epochs * forward_flops(self.encoder(one.student.layers).shape, rows) for one in self.students
        )
        return Work("student", "scores by epoch", self._models, len(rows), None, {"forward": flops})

    def _evaluation(self) -> Work:
        """Every model's predictions of all validation splits, and each student's maps beside the teacher's."""
        validation, splits = self.splits["validation"], self.lengths.validation.values()
        parts = [added([{"forward": forward_flops(self.teacher.shape, rows)} for rows in splits], self.teachers)]
        for one in self.students:
            encoder = self.encoder(one.student.layers).shape
            stored = self.stored["validation"] and not need(INTERNAL, "hidden")
            compared = [encoder] if stored else [encoder, self.teacher.shape]
            own: list[Flops] = [{"forward": forward_flops(encoder, rows)} for rows in splits]
            own += [{"maps": forward_flops(model, validation)} for model in compared]
            parts.append(added(own, self.seeds))
        return Work("evaluate", "scores, fidelity", self._models, sum(map(len, splits)), None, added(parts))

    @property
    def _models(self) -> int:
        return self.teachers + self.seeds * len(self.students)

    @property
    def checkpoints(self) -> int:
        """Bytes for the largest model that trains: one trains at a time, and what is finished has none."""
        trained = [self.encoder(one.student.layers) for one in self.students]
        trained += [self.teacher] if len(self.taught) else []
        return CHECKPOINTS * (WEIGHT + MOMENTS) * max(map(parameters, trained))

    @property
    def models(self) -> int:
        """Bytes of the weights that teacher and students leave."""
        students = sum(parameters(self.encoder(one.student.layers)) for one in self.students)
        return WEIGHT * (self.teachers * parameters(self.teacher) + self.seeds * students)

    @property
    def tokens(self) -> int:
        """Bytes of the rows' token ids."""
        train, rows = self.lengths.train, max(len(self.splits["train"]), self._tuned)
        splits = [train[: rows_made(rows, len(train))], *self.lengths.validation.values()]
        typed = getattr(self.config, "type_vocab_size", 1) > 1
        return sum(token_bytes(int(one.sum()), len(one), self.config.vocab_size - 1, typed) for one in splits)

    @property
    def disk(self) -> int:
        signals = sum(size.maps + size.rest for size in self.signals.values())
        return self.tokens + signals + self.checkpoints + self.models
