"""A teacher in; out: how long it and students of each depth take to answer, by torch and by ONNX Runtime, on the CPU.

How long a student takes is decided by its shape, not by its weights: students are built here, none needs to be trained.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdcore.console import count_of, say, warn
from kdcore.data.batches import Batch, collate
from kdcore.data.examples import Examples
from kdcore.data.prepared import Data
from kdcore.data.tokens import tokenised
from kdcore.distil.finished import Finished
from kdcore.distil.folder import versions
from kdcore.export import by_onnx, check_installed, write_float32, write_int8
from kdcore.model.build import build
from kdcore.model.encoder import Encoder

REQUESTS = {1: 200, 32: 40}  # rows of a request -> how many requests
WARM_UP = 5  # requests that are not counted
RUNTIMES = ("torch", "ONNX float32", "ONNX int8")
BUSY = 0.1  # share of the processors' time that others may take before it is said
STAT = Path("/proc/stat")  # of Linux; elsewhere nobody knows

Answer = Callable[[Batch], object]


def latency(
    data: Data, teacher: Finished, depths: Iterable[int], requests: Mapping[int, int] = REQUESTS
) -> dict[str, Any]:
    """The machine, and p50_ms, p95_ms and rows_per_second by depth, runtime, number of threads and rows of a request.

    `others` is the share of the processors' time that other work took meanwhile, None where it is not known; much is
    said in a warning.

    A request is token ids to logits, of validation rows that are drawn at random; each goes to all models, one after
    another, so that whatever else the machine does meets all. depths: of students; those that the teacher has not are
    left out. Raises UserError where the extra `export` is not installed.
    """
    check_installed()
    examples = tokenised(data, "validation", teacher.tokenizer, teacher.max_length)
    usual = torch.get_num_threads()
    measured = []
    with tempfile.TemporaryDirectory() as scratch:
        models = _models(teacher, sorted({depth for depth in depths if depth < teacher.layers}))
        folders = _saved(models, Path(scratch), examples)
        before = _used()
        try:
            for threads in sorted({1, usual}):
                torch.set_num_threads(threads)
                answers = _answers(folders, threads)
                for size, count in requests.items():
                    say(f"{data.task.name}: requests of {size}, {count_of(threads, 'thread')}")
                    for key, seconds in _seconds(answers, examples, size, count).items():
                        measured.append(_row(key, threads, size, seconds))
        finally:
            torch.set_num_threads(usual)
    others = _others(before, _used())
    if others is not None and others > BUSY:
        warn(f"{data.task.name}: other work took {others:.0%} of the processors' time: latencies are too long")
    return {
        "task": data.task.name,
        "machine": machine(usual),
        "others": others,
        "parameters": {str(layers): model.parameter_counts()["encoder_and_pooler"] for layers, model in models.items()},
        "rows": len(examples),
        "tokens": round(float(examples.lengths.mean()), 1),
        "requests": {str(size): count for size, count in requests.items()},
        "measured": measured,
    }


def _used() -> tuple[float, float, float] | None:
    """Seconds: now; of work by all processors since the start, with what was stolen from them; by this process."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, *rest = map(int, STAT.read_text(encoding="utf-8").split("\n")[0].split()[1:9])
    return time.monotonic(), (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK"), time.process_time()


def _others(before: tuple[float, float, float] | None, after: tuple[float, float, float] | None) -> float | None:
    """The share of the processors' time between two of `_used` that other processes and other machines took."""
    if before is None or after is None:
        return None
    passed, worked, own = (late - early for early, late in zip(before, after, strict=True))
    return round(max(0.0, worked - own) / (passed * (os.cpu_count() or 1)), 3)


def machine(threads: int) -> dict[str, Any]:
    """What decides a latency beside the model: the processor, its threads, the libraries."""
    import onnxruntime

    known, names = versions(), ("processor", "python", "torch", "transformers", "products")
    return {name: known[name] for name in names} | {"threads": threads, "onnxruntime": onnxruntime.__version__}


def _models(teacher: Finished, depths: Iterable[int]) -> dict[int, Encoder]:
    """By depth; that of the teacher's own depth is the teacher."""
    return {
        depth: build(teacher.folder, "", layers=depth, init="teacher", mapped="uniform", seed=0).cpu()
        for depth in depths
    } | {teacher.layers: Encoder.load(teacher.folder).cpu()}


def _saved(models: Mapping[int, Encoder], scratch: Path, examples: Examples) -> dict[int, Path]:
    """Depth -> a folder with the classifier and, in it, its ONNX files."""
    folders = {}
    for depth, encoder in models.items():
        say(f"ONNX files of {count_of(depth, 'layer')}")
        folders[depth] = scratch / str(depth)
        folders[depth].mkdir()
        encoder.save(folders[depth])
        float32, int8 = (folders[depth] / f"{name}.onnx" for name in RUNTIMES[1:])
        write_float32(folders[depth], examples, float32)
        write_int8(float32, int8)
    return folders


def _answers(folders: Mapping[int, Path], threads: int) -> dict[tuple[int, str], Answer]:
    """By depth and runtime."""
    found: dict[tuple[int, str], Answer] = {}
    for depth, folder in folders.items():
        found[depth, RUNTIMES[0]] = _by_torch(folder)
        found |= {(depth, name): by_onnx(folder / f"{name}.onnx", threads) for name in RUNTIMES[1:]}
    return found


def _by_torch(folder: Path) -> Answer:
    encoder = Encoder.load(folder).cpu().eval()

    @torch.inference_mode()
    def answer(batch: Batch) -> object:
        return encoder(batch.inputs).logits

    return answer


def _seconds(
    answers: Mapping[tuple[int, str], Answer], examples: Examples, size: int, count: int
) -> dict[tuple[int, str], np.ndarray]:
    """(count,) seconds of each model."""
    random = np.random.default_rng(0)
    taken = {key: np.empty(count) for key in answers}
    for request in range(-WARM_UP, count):
        batch = collate(examples, random.choice(len(examples), size, replace=size > len(examples)))
        for key, answer in answers.items():
            started = time.perf_counter()
            answer(batch)
            if request >= 0:
                taken[key][request] = time.perf_counter() - started
    return taken


def _row(key: tuple[int, str], threads: int, size: int, seconds: np.ndarray) -> dict[str, Any]:
    p50, p95 = np.percentile(1000 * seconds, [50, 95])
    return {
        "layers": key[0],
        "runtime": key[1],
        "threads": threads,
        "batch": size,
        "p50_ms": round(float(p50), 4),
        "p95_ms": round(float(p95), 4),
        "rows_per_second": round(1000 * size / float(p50), 2),
    }
