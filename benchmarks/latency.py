"""How long a classifier takes to answer: torch beside its ONNX files, in turns, at batch 1 and 32, one and all threads.

    python -m benchmarks.latency movies runs/teacher/movies/s0 runs/student/movies/sid-s0 served

Each folder is a finished model (torch) or what `kdcore export` wrote (both of its ONNX files). The texts are the task's
validation rows in data/<task>. A request is token ids → logits on the CPU; p50 and p95 are over requests, and rows/s
is of the batches.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.machine import description
from benchmarks.table import markdown, number
from kdcore.data.batches import Batch, collate
from kdcore.data.examples import Examples, encode
from kdcore.data.prepared import Data
from kdcore.export import FLOAT32, INT8
from kdcore.model.encoder import Encoder
from kdcore.model.names import tokenizer_of

REQUESTS = 200  # per model, batch size and number of threads
BATCHES = (1, 32)

Answer = Callable[[Batch], object]


def by_torch(folder: Path) -> Answer:
    encoder = Encoder.load(folder).cpu().eval()

    @torch.inference_mode()
    def answer(batch: Batch) -> object:
        return encoder(batch.inputs).logits

    return answer


def by_onnx(path: Path, threads: int) -> Answer:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda batch: session.run(["logits"], {name: batch.inputs[name].numpy() for name in names})


def answerers(folders: list[Path], threads: int) -> dict[str, Answer]:
    """By name, in the order of the command line."""
    found: dict[str, Answer] = {}
    for folder in folders:
        files = [file for file in (FLOAT32, INT8) if (folder / file).is_file()]
        for file in files:
            found[f"{folder}, {'int8' if file == INT8 else 'float32'} by ONNX Runtime"] = by_onnx(
                folder / file, threads
            )
        if not files:
            found[f"{folder}, torch"] = by_torch(folder)
    return found


def seconds(models: dict[str, Answer], examples: Examples, size: int) -> dict[str, np.ndarray]:
    """(REQUESTS,) seconds of each model; every request goes to all of them, one after another."""
    random = np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in models}
    for request in range(REQUESTS + 10):  # the first ten warm up
        batch = collate(examples, random.choice(len(examples), size, replace=False))
        for name, answer in models.items():
            started = time.perf_counter()
            answer(batch)
            if request >= 10:
                taken[name].append(time.perf_counter() - started)
    return {name: np.asarray(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", help="a prepared task, data/<task>")
    parser.add_argument("folders", nargs="+", type=Path)
    asked = parser.parse_args()
    tokenizer = tokenizer_of(next(folder for folder in asked.folders if (folder / "tokenizer.json").is_file()))
    examples = encode(tokenizer, Data.open(Path("data") / asked.task).frame("validation"), max_length=128)
    everything = torch.get_num_threads()
    columns = [f"batch {size}, {what}" for size in BATCHES for what in ("p50 ms", "p95 ms", "rows/s")]
    lines = []
    for threads in sorted({1, everything}):
        torch.set_num_threads(threads)
        models = answerers(asked.folders, threads)
        measured = {size: seconds(models, examples, size) for size in BATCHES}
        for name in models:
            cells = [name, str(threads)]
            for size in BATCHES:
                taken = measured[size][name]
                p50, p95 = np.percentile(1000 * taken, [50, 95])
                cells += [number(p50), number(p95), number(size / float(np.median(taken)))]
            lines.append(cells)
    print(description(everything))
    print(
        f"{len(examples):,} validation rows, {examples.lengths.mean():.1f} tokens on average; {REQUESTS} requests each"
    )
    print(markdown(["model", "threads", *columns], lines))


if __name__ == "__main__":
    main()
