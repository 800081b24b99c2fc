"""One training step (dropout, losses, clipping, optimizer) of 3 layers beside plain Hugging Face and beside sgemm.

    python -m benchmarks.step            # batches of 32 × 54 and 32 × 26 tokens, no padding
    python -m benchmarks.step --profile  # and the operations that our step spends its time in

Ours is the project's own loop, with signals from the disk. The Hugging Face step has its batch and the teacher's
signals ready in memory, and no loop around it. Both train the same model with fused AdamW; FLOPs are the student's.
bf16 is this project with `train.precision: bf16`, which rounds what is multiplied.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity
from torch.profiler import profile as watch

from benchmarks.contenders.hugging_face import models
from benchmarks.contenders.ours import set_up, train, write_signals
from benchmarks.contenders.plain import loss_of
from benchmarks.machine import Sgemm, description, finish, sgemm_rates
from benchmarks.material import Material, equal_lengths, save_models
from benchmarks.table import best, markdown, number, ratio, share, spread
from benchmarks.terms import Terms, optimizer_of
from benchmarks.worker import interleaved, working
from kdcore.data.batches import collate, in_order
from kdcore.model.cost import training_flops
from kdcore.model.encoder import Encoder, device

LENGTHS = (54, 26)  # of MRPC, and of the embedded task
SGEMM = "sgemm"
# Who is faster than whom is asked of these, by name.
RIVALS = {"Hugging Face": "kdcore", "Hugging Face, hard labels only": "kdcore, hard labels only"}


@contextmanager
def steps_taken() -> Iterator[list[float]]:
    """The moments at which optimizer steps end, whoever takes them."""
    moments: list[float] = []
    hook = register_optimizer_step_post_hook(lambda *_: moments.append(_now()))
    try:
        yield moments
    finally:
        hook.remove()


def _now() -> float:
    finish()
    return time.perf_counter()


def mean_step(moments: Sequence[float]) -> float:
    """Seconds from step to step; what comes before the first is not of a step."""
    return (moments[-1] - moments[0]) / (len(moments) - 1)


def ours(material: Material, terms: Terms, method: str, tokens: int, steps: int) -> Callable[[], float]:
    """Seconds per step of an epoch of the project's loop."""
    set_up(terms)
    examples = equal_lengths(terms.batch_size * (steps + 1), tokens)
    student = Encoder.load(material.student(terms.layers))
    folder = Path(mkdtemp(dir=material.folder))
    signals = write_signals(Encoder.load(material.teacher), examples, folder, material.teacher)

    def run() -> float:
        with steps_taken() as moments:
            train(student, examples, signals, folder, terms, method)
        return mean_step(moments)

    return run


def plain(material: Material, terms: Terms, method: str, tokens: int, steps: int) -> Callable[[], float]:
    """Seconds per step of plain Hugging Face on one batch."""
    torch.set_num_threads(terms.threads)
    student, loss = _with_all(material, terms, tokens) if method == "all" else _with_labels(material, terms, tokens)
    optimizer = optimizer_of(student, terms)

    def run() -> float:
        with steps_taken() as moments:
            for _ in range(steps + 1):
                loss().backward()
                torch.nn.utils.clip_grad_norm_(student.parameters(), terms.clip)
                optimizer.step()
                optimizer.zero_grad()
        return mean_step(moments)

    return run


def _with_all(material: Material, terms: Terms, tokens: int) -> tuple[Any, Callable[[], torch.Tensor]]:
    """A student and its loss on one batch, the teacher's signals of which are at hand."""
    student, teacher = models(material, terms.layers)
    batch, wanted = _batch(terms.batch_size, tokens), {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        said = teacher(**batch, **wanted)
    return student, lambda: loss_of(
        student(**batch, **wanted), said, batch["attention_mask"], terms.layers, terms.hard_label_weight
    )


def _with_labels(material: Material, terms: Terms, tokens: int) -> tuple[Any, Callable[[], torch.Tensor]]:
    student, _ = models(material, terms.layers)
    student.set_attn_implementation("sdpa")  # the fastest, where no map is wanted
    batch = _batch(terms.batch_size, tokens)
    return student, lambda: student(**batch).loss


def _batch(rows: int, tokens: int) -> dict[str, torch.Tensor]:
    examples = equal_lengths(rows, tokens)
    batch = collate(examples, next(in_order(examples.lengths, rows)))
    found = {**batch.inputs, "labels": batch.labels.long()}
    return {name: values.to(device()) for name, values in found.items()}


def _sgemm(terms: Terms) -> Callable[[], Sgemm]:
    return lambda: sgemm_rates(terms.threads)


def contenders(material: Material, terms: Terms, tokens: int, steps: int) -> dict[str, tuple[Any, ...]]:
    """Maker and arguments of each, at one length."""
    sizes = (tokens, steps)
    return {
        "kdcore": (ours, material, terms, "all", *sizes),
        "Hugging Face": (plain, material, terms, "all", *sizes),
        "kdcore, hard labels only": (ours, material, terms, "none", *sizes),
        "Hugging Face, hard labels only": (plain, material, terms, "none", *sizes),
        "kdcore, bf16": (ours, material, replace(terms, precision="bf16"), "all", *sizes),
        SGEMM: (_sgemm, terms),
    }


def table(seconds: Mapping[str, Sequence[float]], gflop: float, sgemm: float, title: str) -> str:
    """A line per contender: its time, its useful rate, and how many times as fast ours is."""
    lines = []
    for name, each in seconds.items():
        rate = gflop / median(each)
        ahead = f"{ratio(each, seconds[RIVALS[name]]):.2f} ×" if name in RIVALS else ""
        lines.append([name, spread([1e3 * one for one in each]), number(rate), share(rate, sgemm), ahead])
    return markdown([title, "ms per step", "useful GFLOP/s", "of sgemm", "kdcore is"], lines)


def profile(material: Material, terms: Terms, tokens: int, steps: int, top: int = 12) -> str:
    """The operations with the most time of their own in our step, all losses."""
    run = ours(material, terms, "all", tokens, steps)
    run()
    with watch(activities=[ProfilerActivity.CPU]) as watched:
        run()
    events = sorted(watched.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    lines = [
        [f"`{event.key}`", share(event.self_cpu_time_total, whole), str(event.count // (steps + 1))]
        for event in events[:top]
    ]
    return markdown(["operation", "of the step's time", "calls per step"], lines)


def measure(told: argparse.Namespace, terms: Terms, tokens: int) -> None:
    """One length: its table, and with --profile also our operations."""
    with TemporaryDirectory() as folder:
        material = Material(Path(folder))
        save_models(material, (terms.layers,))
        with working(contenders(material, terms, tokens, told.steps)) as workers:
            found: dict[str, list[Any]] = interleaved(workers, told.repeats)
        rates = found.pop(SGEMM)
        lengths = equal_lengths(terms.batch_size, tokens).lengths
        gflop = training_flops(Encoder.load(material.student(terms.layers)).shape, lengths) / 1e9
        title = f"{terms.batch_size} × {tokens} tokens"
        print("", table(found, gflop, median(rate.own for rate in rates), title), "", best(rates), "", sep="\n")
        if told.profile:
            print(profile(material, terms, tokens, told.steps), "", sep="\n")


def main() -> None:
    told = _arguments()
    terms = Terms(epochs_per_layer=0, classification_epochs=1, threads=told.threads)
    print(description(terms.threads))
    for tokens in LENGTHS:
        measure(told, terms, tokens)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6, help="per repeat")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="also where our step's time goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
