"""How long the attention maps of a row take on this machine: to write, to read for a batch, and to compute for it.

By the code that does so in a run: extraction, and the source of a student's signals. Reading is timed by itself; in a
run a thread reads ahead while the GPU trains, so what a student waits for it is at most this.
"""

import contextlib
import io
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdcore.artefacts import seal
from kdcore.data.batches import Batch, collate, shuffled
from kdcore.data.examples import Examples
from kdcore.distil.extraction import extract
from kdcore.distil.finished import Finished
from kdcore.distil.precision import AUTOCAST
from kdcore.distil.signals import Stored
from kdcore.model.encoder import Encoder
from kdcore.params.sections import Train

BATCHES = 8  # that are timed together
ROUNDS = 3  # of which the fastest counts: other work only ever takes time


@dataclass(frozen=True)
class Pace:
    """kept: the layers whose maps are written; mapped: those that are read, or computed; batch_size: of extraction;
    train: of students, for the size of their batches and their precision; place: a folder of the disk, which is made.
    """

    teacher: Finished
    examples: Examples
    kept: Sequence[int]
    mapped: Sequence[int]
    dtype: str
    batch_size: int
    train: Train
    place: Path

    @property
    def device(self) -> str:
        device = self._encoder.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

    def seconds(self, cold: bool) -> tuple[float, float, float]:
        """Of one row: written, beyond the pass that logits and [CLS] vectors need anyhow; read; and live.

        cold: whether the maps are read from the disk itself, as those are that do not fit into memory.
        """
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self._write("first", maps=True)  # what only the first pass pays
            stored = self._write("stored", maps=True)
            written = max(0.0, stored - self._write("live", maps=False))
        live, rounds = Stored(self.place / "live", self.teacher.folder), []
        for number in range(ROUNDS + 1):
            source = Stored(self.place / "stored", self.teacher.folder)
            if cold:
                _forget(self.place / "stored")
            took = self._asked(source), self._asked(live)
            rounds += [took] if number else []
        read, computed = map(min, zip(*rounds, strict=True))
        rows = len(self._sample)
        return written / rows, read / rows, computed / rows

    @cached_property
    def _encoder(self) -> Encoder:
        return self.teacher.encoder()

    @cached_property
    def _sample(self) -> Examples:
        drawn = np.random.default_rng(0).permutation(len(self.examples))
        return self.examples.take(np.sort(drawn[: BATCHES * self._rows]))

    @property
    def _rows(self) -> int:
        """Of a student's batch."""
        return -(-self.train.batch_size // self.train.accumulate)

    @cached_property
    def _batches(self) -> list[Batch]:
        batches = shuffled(self._sample.lengths, self._rows, seed=0, epoch=0)
        return [collate(self._sample, rows).to(self._encoder.device) for rows in batches]

    def _write(self, name: str, maps: bool) -> float:
        folder = self.place / name
        folder.mkdir(parents=True)
        how: dict[str, Any] = {"dtype": self.dtype, "batch_size": self.batch_size}
        with self._timed() as took:
            facts = extract(
                self._encoder, self._sample, folder, attention=maps, layers=self.kept if maps else (), **how
            )
        seal(folder, **facts)
        return took[0]

    def _asked(self, source: Stored) -> float:
        """Seconds for the maps and [CLS] vectors of all batches."""
        dtype = AUTOCAST[self.train.precision]
        with torch.autocast(self._encoder.device.type, dtype, enabled=dtype is not None), self._timed() as took:
            for batch in self._batches:
                source.at(batch, self.mapped, self.mapped, logits=False)
        return took[0]

    @contextlib.contextmanager
    def _timed(self) -> Iterator[list[float]]:
        """The seconds of the block, once it is over, with all that it gave the GPU to do."""
        took: list[float] = []
        self._synchronise()
        started = time.perf_counter()
        yield took
        self._synchronise()
        took.append(time.perf_counter() - started)

    def _synchronise(self) -> None:
        if self._encoder.device.type == "cuda":
            torch.cuda.synchronize(self._encoder.device)


def _forget(folder: Path) -> None:
    """Have the system read the maps of a folder from the disk again, where it can be told so."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.glob("attention-*.npy"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
