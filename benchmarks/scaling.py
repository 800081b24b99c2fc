"""What the teacher's signals cost, and how memory and time grow with rows and with depth.

    python -m benchmarks.scaling --glue path/to/glue

Extraction beside inference on the same batches; peak memory at 1 × and 8 × the rows, every figure from a process of
its own, with the maps' size beside the smallest possible one; seconds of an epoch of `all` by rows and by depth, and
the share of them that reading signals takes.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import jobs
from benchmarks.machine import description
from benchmarks.material import Material, lay_out
from benchmarks.table import markdown, megabytes, number, ratio, spread
from benchmarks.terms import Terms
from benchmarks.worker import Worker, interleaved, working
from kdcore.model.cost import attention_bytes
from kdcore.model.encoder import Encoder

DEPTHS = (1, 2, 3, 4, 5)
TIMES = (1, 2, 4, 8)  # as many rows; the curve by depth runs on the second of them
INFERENCE = ("kdcore, logits alone", "Hugging Face, logits alone")  # both with fused attention


def extraction_table(material: Material, terms: Terms, rows: int, repeats: int) -> str:
    """One shard's worth of rows at most, so that extraction sees the batches of inference."""
    own, plain = INFERENCE
    makers = {
        own: (jobs.inference, material, terms, rows),
        plain: (jobs.hugging_face, material, terms, rows, False),
        "Hugging Face, eager attention, maps dropped": (jobs.hugging_face, material, terms, rows, True),
        "signals without maps": (jobs.extraction, material, terms, rows, False, False),
        "signals": (jobs.extraction, material, terms, rows, True, False),
        "signals and their checksums": (jobs.extraction, material, terms, rows, True, True),
    }
    with working(makers) as workers:
        return rates_table(interleaved(workers, repeats), rows)


def rates_table(seconds: Mapping[str, Sequence[float]], rows: int) -> str:
    """Examples per second, and their share of what inference gives: of our own, and of Hugging Face's."""
    rates = {name: [rows / one for one in each] for name, each in seconds.items()}
    lines = [
        [name, spread(rate), *(f"{ratio(rate, rates[inference]):.1%}" for inference in INFERENCE)]
        for name, rate in rates.items()
    ]
    return markdown([f"{rows} rows", "examples/s", *(f"of {inference}" for inference in INFERENCE)], lines)


def memory_table(material: Material, terms: Terms, fewest: int, most: int) -> str:
    """Extraction, then an epoch from what it wrote, at the fewest and the most rows."""
    lines = []
    for rows in (fewest, most):
        worker = Worker(jobs.writing, material, terms, rows)
        size = worker.run()
        least = smallest(material.examples().first(rows).lengths, Encoder.load(material.teacher).config)
        lines.append([f"extraction, {rows} rows", *_memory(worker), megabytes(size), f"{size / least:.4f} ×"])
    for rows in (fewest, most):
        worker = Worker(jobs.epoch, material, terms, rows)
        worker.run(rows, terms.layers)
        lines.append([f"training, {rows} rows", *_memory(worker), "", ""])
    return markdown(["peaks", "own memory", "with mapped files", "maps on disk", "of the ragged fp16 minimum"], lines)


def _memory(worker: Worker) -> list[str]:
    """A process's peaks; it ends here."""
    found = [megabytes(worker.private), megabytes(worker.resident)]
    worker.close()
    return found


def smallest(lengths: np.ndarray, config: Any) -> int:
    """Bytes of the attention maps of examples of these lengths without any padding, two for each number."""
    return attention_bytes(lengths, config.num_hidden_layers, config.num_attention_heads, 2)


def curves(material: Material, terms: Terms, rows: Sequence[int], repeats: int) -> list[str]:
    """An epoch by rows and by depth, in turns, from the signals that the memory table left behind."""
    by_rows = [(some, terms.layers) for some in rows]
    by_depth = [(rows[1], layers) for layers in DEPTHS]
    found: dict[tuple[int, int], list[tuple[float, float]]] = {point: [] for point in (*by_rows, *by_depth)}
    worker = Worker(jobs.epoch, material, terms, rows[-1])
    for repeat in range(repeats):
        for point in found:
            found[point].append(worker.run(*point))
        print(f"repeat {repeat + 1} of {repeats}", flush=True)
    worker.close()
    seconds = {point: [whole for whole, _ in each] for point, each in found.items()}
    reading = median(read / whole for whole, read in found[by_rows[-1]])
    return [
        curve(f"rows, {terms.layers} layers", {point[0]: seconds[point] for point in by_rows}),
        curve(f"layers, {rows[1]} rows", {point[1]: seconds[point] for point in by_depth}),
        f"reading signals: {reading:.1%} of the epoch of {rows[-1]} rows",
    ]


def curve(title: str, seconds: Mapping[int, Sequence[float]]) -> str:
    """Seconds at each point, and how far they are from the straight line through all points."""
    middles = [median(each) for each in seconds.values()]
    away = off_the_line(list(seconds), middles)
    lines = [
        [str(place), spread(each), f"{off:+z.1%}"] for (place, each), off in zip(seconds.items(), away, strict=True)
    ]
    start, slope = line_through(list(seconds), middles)
    lines.append(["the line", f"{number(start)} + {number(slope)} × {title.partition(',')[0]}", ""])
    return markdown([title, "seconds", "off the line"], lines)


def line_through(places: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Start and slope of the straight line with the least relative squares: short times weigh as much as long ones."""
    slope, start = np.polyfit(places, values, 1, w=1 / np.asarray(values))
    return float(start), float(slope)


def off_the_line(places: Sequence[int], values: Sequence[float]) -> list[float]:
    """How far each value is above the straight line through all, as a share of what the line says."""
    start, slope = line_through(places, values)
    return [value / (start + slope * place) - 1 for place, value in zip(places, values, strict=True)]


def main() -> None:
    told = _arguments()
    rows = [told.rows * times for times in TIMES]
    terms = Terms(epochs_per_layer=0, classification_epochs=1, threads=told.threads)
    with TemporaryDirectory() as folder:
        material = lay_out(Path(folder), told.glue, rows[-1], DEPTHS)
        print(description(terms.threads))
        print("", extraction_table(material, terms, rows[1], told.repeats), sep="\n")
        print("", memory_table(material, terms, rows[0], rows[-1]), sep="\n")
        print("", *curves(material, terms, rows, told.repeats), sep="\n\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue", type=Path, help="folder with mrpc/; without it the embedded task")
    parser.add_argument("--rows", type=int, default=128, help="the fewest; the most are eight times as many")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
