"""Everything that a GPU has to be asked, in one command and at most ten minutes: tables for docs/performance.md.

    python -m benchmarks.gpu                # the environment, four shapes, the tests marked gpu
    python -m benchmarks.gpu --only MiniLM --no-tests    # one shape alone
    python -m benchmarks.gpu --tiny         # the same with tiny shapes, on any machine: does the script run?
    PYTHONPATH=build/peers python -m benchmarks.gpu    # TextBrewer too

Models have random weights and rows random words, so nothing is downloaded. Of each shape come the plain Hugging Face
loop, the same loop compiled, TextBrewer where it is installed, and this project's loop from stored signals: as it is,
with each of its ways to keep a GPU busy undone in turn, and with all of them undone. All take turns in one process,
after a run of each that is not timed. A run is timed from its third step on, and the GPU is waited for only where the
timing begins and ends. What the minutes do not suffice for is left out, and said.
"""

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch.autograd import DeviceType
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.contenders import ours, plain
from benchmarks.contenders.hugging_face import models
from benchmarks.launches import Count, as_on_a_gpu, counting, like_a_gpu
from benchmarks.machine import description, finish
from benchmarks.material import Material, of_lengths, save_students
from benchmarks.table import markdown, megabytes, number, ratio, share, spread
from benchmarks.terms import Terms
from kdcore.data.batches import collate, shuffled
from kdcore.data.examples import Examples
from kdcore.distil import training
from kdcore.distil.signals import Stored
from kdcore.distil.training import Trainer
from kdcore.model.encoder import Encoder, device
from kdcore.params.sections import Precision
from kdcore.plan.lengths import spread as spread_lengths

ROOT = Path(__file__).parents[1]
WARM = 2  # steps before the timing begins
LOOP = "Hugging Face loop"
KDCORE = "kdcore {}"


@dataclass(frozen=True)
class Shape:
    """Two BERTs and the rows that they see.

    width, heads: of both; tokens: of a row, in the mean; longest: of any row, and of every row where it is `tokens`;
    batch: rows of one; compiled: whether the loop is compiled too, which takes minutes.
    """

    name: str
    width: int
    heads: int
    teacher_layers: int
    layers: int
    tokens: int
    longest: int
    batch: int
    compiled: bool = False

    @property
    def varies(self) -> bool:
        return self.tokens != self.longest

    def examples(self, steps: int) -> Examples:
        rows = self.batch * steps
        return of_lengths(
            spread_lengths(rows, self.tokens, self.longest) if self.varies else np.full(rows, self.tokens)
        )

    def save(self, folder: Path) -> Material:
        material = Material(folder)
        config = BertConfig(
            hidden_size=self.width,
            num_attention_heads=self.heads,
            num_hidden_layers=self.teacher_layers,
            intermediate_size=4 * self.width,
        )
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(material.teacher)
        save_students(material, (self.layers,))
        return material


MINILM, BERT = (384, 12, 6, 3), (768, 12, 12, 6)
SHAPES = (
    Shape("MiniLM 6 → 3, 32 × 54 tokens", *MINILM, 54, 54, 32, compiled=True),
    Shape("BERT 12 → 6, 32 rows as QQP's", *BERT, 31, 128, 32, compiled=True),
    Shape("BERT 12 → 6, 256 rows as QQP's", *BERT, 31, 128, 256),
    Shape("BERT 12 → 6, 32 × 128 tokens", *BERT, 128, 128, 32),
)
TINY = (
    Shape("tiny 2 → 1, 4 × 6 tokens", 16, 2, 2, 1, 6, 6, 4, compiled=True),
    Shape("tiny 2 → 1, 4 rows of several lengths", 16, 2, 2, 1, 6, 12, 4),
)


# How the loop is told to keep a GPU busy, and what undoes each.


def _looking(_: Trainer) -> None:
    """Every pass looks whether anything is padded; undone by `measured`, which holds the patch."""


def _reading(loop: Trainer) -> None:
    loop.readings.many = 1


def _inline(loop: Trainer) -> None:
    loop.ahead = 0


def _all(loop: Trainer) -> None:
    _reading(loop)
    _inline(loop)


OPTIONS: Mapping[str, Callable[[Trainer], None]] = {
    "": lambda _: None,
    ", padding looked at": _looking,
    ", every step read": _reading,
    ", batches made in their turn": _inline,
    ", all three": _all,
}
LOOKING = (_looking, _all)


@contextmanager
def unknown_padding() -> Iterator[None]:
    """Batches that do not say whether they are padded."""
    with patch.object(training, "collate", lambda *args: replace(collate(*args), padded=None)):
        yield


@contextmanager
def any_precision() -> Iterator[None]:
    """accelerate keeps a process to the precision that it had first."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        yield
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@dataclass(frozen=True)
class Timing:
    """Of one run: seconds and examples of its timed steps, and the most bytes that it had on the GPU (0 without)."""

    seconds: float
    steps: int
    examples: int
    memory: int

    @property
    def step(self) -> float:
        return self.seconds / self.steps

    @property
    def rate(self) -> float:
        return self.examples / self.seconds


def timed(run: Callable[[], Any], batch: int) -> Timing:
    """The steps of `run` after the first WARM ones; whoever takes them, all of `batch` examples."""
    started, steps = 0.0, 0

    def taken(*_: Any) -> None:
        nonlocal started, steps
        steps += 1
        if steps == WARM:
            finish()
            started = time.perf_counter()

    there = device()
    if there.type == "cuda":
        torch.cuda.reset_peak_memory_stats(there)
    hook = register_optimizer_step_post_hook(taken)
    try:
        run()
        finish()
        seconds = time.perf_counter() - started
    finally:
        hook.remove()
    memory = torch.cuda.max_memory_allocated(there) if there.type == "cuda" else 0
    return Timing(seconds, steps - WARM, (steps - WARM) * batch, memory)


@dataclass(frozen=True)
class Bench:
    """A shape laid out: its models on the disk, its rows, and the teacher's signals."""

    shape: Shape
    material: Material
    examples: Examples
    signals: Stored
    terms: Terms

    def ours(
        self, method: str, change: Callable[[Trainer], None] = lambda _: None, precision: Precision = "no"
    ) -> None:
        terms = replace(self.terms, precision=precision)
        student = Encoder.load(self.material.student(self.shape.layers))
        with unknown_padding() if change in LOOKING else nullcontext(), any_precision(), redirect_stdout(StringIO()):
            ours.train(student, self.examples, self.signals, self.material.folder, terms, method, change)

    def batches(self) -> list[dict[str, torch.Tensor]]:
        """The batches that our loop sees in its first epoch, as the peers take them."""
        found = [collate(self.examples, rows) for rows in shuffled(self.examples.lengths, self.shape.batch, 0, 0)]
        return [{**batch.inputs, "labels": batch.labels.long()} for batch in found]

    def plain(self, precision: Precision = "no") -> Callable[[], None]:
        terms = replace(self.terms, precision=precision)
        return lambda: plain.train(*models(self.material, self.shape.layers), self.batches(), terms)

    def compiled(self) -> Callable[[], None]:
        """Teacher, student and losses as one function, compiled once: the models stay."""
        student, teacher = models(self.material, self.shape.layers)
        losses = torch.compile(plain.losses_of, dynamic=self.shape.varies)
        return lambda: plain.train(student, teacher, self.batches(), self.terms, losses)

    def textbrewer(self) -> None:
        from benchmarks.contenders import textbrewer

        student, teacher = models(self.material, self.shape.layers)
        textbrewer.train(student, teacher, self.batches(), self.terms)

    def contenders(self) -> dict[str, Callable[[], None]]:
        """The dearest to know first."""
        made: dict[str, Callable[[], None]] = {LOOP: self.plain()}
        for method in ("all", "sid"):
            made[KDCORE.format(method)] = lambda method=method: self.ours(method)  # type: ignore[misc]
        for name, change in list(OPTIONS.items())[1:]:
            made[KDCORE.format("all") + name] = lambda change=change: self.ours("all", change)  # type: ignore[misc]
        made["TextBrewer"] = self.textbrewer
        made[f"{LOOP}, bf16"] = self.plain("bf16")
        for method in ("all", "sid"):
            made[f"{KDCORE.format(method)}, bf16"] = lambda method=method: self.ours(method, precision="bf16")  # type: ignore[misc]
        if self.shape.compiled:
            made[f"{LOOP}, compiled"] = self.compiled()
        return made


@contextmanager
def laid_out(shape: Shape, steps: int, threads: int) -> Iterator[Bench]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        terms = Terms(
            epochs=1,
            epochs_per_layer=1,
            classification_epochs=1,
            layers=shape.layers,
            teacher_layers=shape.teacher_layers,
            batch_size=shape.batch,
            threads=threads,
        )
        material, examples = shape.save(folder), shape.examples(steps)
        ours.set_up(terms)
        signals = ours.write_signals(Encoder.load(material.teacher), examples, folder, material.teacher)
        yield Bench(shape, material, examples, signals, terms)


def measured(bench: Bench, repeats: int, until: float) -> dict[str, list[Timing]]:
    """Repeats in turns; no contender starts after `until`. One whose package is absent, or that fails, is left out."""
    found: dict[str, list[Timing]] = {}
    left = bench.contenders()
    for repeat in range(repeats):
        for name, run in list(left.items()):
            if time.monotonic() > until:
                if name not in found:
                    print(f"{name}: left out, no time is left", flush=True)
                    del left[name]
                continue
            try:
                if not repeat:
                    run()  # compilers and allocators do what they do once
                found.setdefault(name, []).append(timed(run, bench.shape.batch))
            except Exception as error:  # a peer's own, a compiler that is missing: the others go on
                said = " ".join(str(error).split())[:120]
                print(f"{name}: left out, {type(error).__name__}: {said}", flush=True)
                del left[name]
                found.pop(name, None)
    return found


def table(shape: Shape, found: Mapping[str, Sequence[Timing]]) -> str:
    """A line per contender; the last column is of the plain loop's rate in the same turns."""
    lines = []
    for name, timings in found.items():
        rates = [timing.rate for timing in timings]
        loop = [timing.rate for timing in found.get(LOOP, ())]
        turns = min(len(rates), len(loop))
        ahead = f"{ratio(rates[:turns], loop[:turns]):.2f} ×" if turns else ""
        memory = max(timing.memory for timing in timings)
        steps = [1e3 * timing.step for timing in timings]
        lines.append([name, spread(steps), number(median(rates)), ahead, megabytes(memory) if memory else ""])
    return markdown([shape.name, "ms per step", "examples/s", "of the loop", "GPU memory"], lines)


@dataclass(frozen=True)
class Profile:
    """A step of `all`: its operations and waits as launches.py counts them, kernels, and the share of time they take.

    warned: the waits that CUDA itself tells of. The last three are None without a GPU.
    """

    count: Count
    kernels: float | None
    busy: float | None
    warned: float | None


def profiled(bench: Bench) -> Profile:
    """Without a GPU, a CPU goes its ways."""
    cuda = device().type == "cuda"
    with nullcontext() if cuda else as_on_a_gpu(), counting() as counts:
        bench.ours("all", like_a_gpu)
    count = counts[WARM + 1]
    if not cuda:
        return Profile(count, None, None, None)
    with _told() as waits:
        timed(lambda: bench.ours("all"), bench.shape.batch)
    with profile(activities=[ProfilerActivity.CUDA]) as watched:
        timing = timed(lambda: bench.ours("all"), bench.shape.batch)
    spans = [event.time_range for event in watched.events() if event.device_type == DeviceType.CUDA]
    begin = max(span.end for span in spans) - 1e6 * timing.seconds
    within = [span for span in spans if span.start >= begin]
    busy = sum(span.elapsed_us() for span in within) / 1e6 / timing.seconds
    return Profile(count, len(within) / timing.steps, busy, float(np.median(np.diff(waits))))


@contextmanager
def _told() -> Iterator[list[int]]:
    """How many waits CUDA has told of at the end of each step."""
    told: list[int] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hook = register_optimizer_step_post_hook(lambda *_: told.append(len(caught)))
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield told
        finally:
            torch.cuda.set_sync_debug_mode("default")
            hook.remove()


def profile_table(found: Mapping[str, Profile]) -> str:
    header = ["a step of `all`", "operations", "waits", "kernels", "GPU busy", "waits by CUDA's own count"]
    lines = [
        [
            name,
            number(one.count.operations.total()),
            number(one.count.waits.total()),
            "" if one.kernels is None else number(one.kernels),
            "" if one.busy is None else share(one.busy, 1.0),
            "" if one.warned is None else number(one.warned),
        ]
        for name, one in found.items()
    ]
    return markdown(header, lines)


def tests() -> str:
    """The last line of the tests marked gpu."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "tests/parity/test_gpu.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).strip().splitlines() or ["no output"]
    broken = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return "\n".join([*broken, f"tests marked gpu: {lines[-1]}"])


def main() -> None:
    told = _arguments()
    until = time.monotonic() + 60 * told.minutes
    shapes = [shape for shape in (TINY if told.tiny else SHAPES) if told.only in shape.name]
    profiles: dict[str, Profile] = {}
    print(description(told.threads), flush=True)
    if told.tests:
        print(tests(), flush=True)
    for place, shape in enumerate(shapes):
        now = time.monotonic()
        with laid_out(shape, told.steps, told.threads) as bench:
            profiles[shape.name] = profiled(bench)
            found = measured(bench, told.repeats, now + (until - now) / (len(shapes) - place))
        print("", table(shape, found), sep="\n", flush=True)
    print("", profile_table(profiles), sep="\n", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, for a machine without a GPU")
    parser.add_argument("--only", default="", help="shapes whose name holds this")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no contender starts")
    parser.add_argument("--steps", type=int, default=24, help="of an epoch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--no-tests", dest="tests", action="store_false", help="without the tests marked gpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
