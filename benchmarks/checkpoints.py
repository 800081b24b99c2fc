"""What checkpoints take of training: a student of 3 layers of the embedded MiniLM by `sid`, on the embedded task.

    python -m benchmarks.checkpoints    # far more checkpoints than usual are written, so that there are some to time

A checkpoint is weights, both moments of AdamW and the random states, written, flushed and sealed with its checksums.
The share of training that they take follows from their seconds and from `train.checkpoint_seconds` of params.yaml.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from ruamel.yaml import YAML

from benchmarks.contenders import ours
from benchmarks.machine import description
from benchmarks.material import Material, lay_out
from benchmarks.table import markdown, megabytes, number, spread
from benchmarks.terms import Terms
from kdcore.distil.methods import Method
from kdcore.distil.training import Trainer
from kdcore.model.encoder import Encoder
from kdcore.runs import Run

METHOD = Method.parse("sid")


@dataclass(frozen=True)
class Timed(Run):
    """A run that notes the seconds and bytes of its checkpoints."""

    seconds: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        start = time.perf_counter()
        super().save(step, write)
        self.seconds.append(time.perf_counter() - start)
        newest = max((self.folder / "checkpoints").iterdir())
        self.sizes.append(sum(file.stat().st_size for file in newest.iterdir()))


@dataclass(frozen=True)
class Measured:
    """One training: its seconds in all, its optimizer steps, and each checkpoint's seconds and bytes."""

    whole: float
    steps: int
    checkpoints: list[float]
    sizes: list[int]

    @property
    def step(self) -> float:
        """Seconds of a step, without checkpoints."""
        return (self.whole - sum(self.checkpoints)) / self.steps


def measure(material: Material, terms: Terms, every: float) -> Measured:
    """Train once, with a checkpoint after every so many seconds."""
    ours.set_up(terms)
    examples, student = material.examples(), Encoder.load(material.student(terms.layers))
    signals = ours.write_signals(Encoder.load(material.teacher), examples, material.folder, material.teacher)
    objective = ours.objective(METHOD, signals, terms)
    settings = ours.settings(terms).model_copy(update={"checkpoint_seconds": every})
    run, phases = Timed(material.folder / "run"), ours.phases_of(METHOD, terms)
    trainer = Trainer(student, examples, phases, objective, settings, 0, run, lambda _: 0.0)
    start = time.perf_counter()
    trainer.train()
    return Measured(time.perf_counter() - start, trainer.position.step, run.seconds, run.sizes)


def overhead(seconds: Sequence[float], every: float) -> float:
    """The share of training time that checkpoints take where one is written `every` seconds after the one before."""
    return median(seconds) / (every + median(seconds))


def table(found: Measured, every: float) -> str:
    """every: `train.checkpoint_seconds` of a run. A kill redoes what came after the last checkpoint that is whole."""
    redone = every + found.step + max(found.checkpoints)
    lines = [
        ["size of a checkpoint", megabytes(max(found.sizes))],
        [f"seconds of a checkpoint, of {len(found.checkpoints)}", spread(found.checkpoints)],
        [f"seconds of an optimizer step, mean of {found.steps}", number(found.step)],
        [f"share of training time, a checkpoint every {every:g} s", f"{overhead(found.checkpoints, every):.1%}"],
        ["done again after a kill, at most", f"{redone:.0f} s, {redone / found.step:.0f} steps"],
    ]
    return markdown(["", "sid, 3 layers"], lines)


def main() -> None:
    told = _arguments()
    terms = Terms(threads=told.threads)
    usual = YAML(typ="safe").load(Path("params.yaml"))["train"]["checkpoint_seconds"]
    with TemporaryDirectory(dir=told.folder) as folder:
        material = lay_out(Path(folder), None, told.rows, (terms.layers,))
        print(description(terms.threads))
        print(f"{told.rows} rows, a checkpoint every {told.every:g} s", "", sep="\n")
        print(table(measure(material, terms, told.every), usual))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400, help="as in params.yaml")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between the checkpoints that are timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk that runs are written to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
