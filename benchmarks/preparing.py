"""What it costs to prepare a task, and to read some of its rows: memory and time, by the number of raw rows.

    python -m benchmarks.preparing --most 1000000

Rows are made: a number and eight words each, so that no two are the same, and one of two labels, in a csv and in a
parquet file. Each figure has a process of its own.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.machine import description
from benchmarks.table import markdown, megabytes, number
from benchmarks.worker import Worker
from kdcore.data.prepare import prepare
from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.params import sections

TASK = Task("made", ("text",), "label", ("bad", "good"), ("accuracy",))
FEW = 1000  # rows that are read of all
WORDS = np.asarray(["a", "film", "plot", "cast", "story", "was", "dull", "great"])


def lay_out(folder: Path, rows: int, kind: str) -> None:
    """folder/made/train.<kind>, and 1,000 rows that validate."""
    (folder / TASK.name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, count in (("train", rows), ("validation", 1000)):
        words = WORDS[random.integers(len(WORDS), size=(count, 8))]
        texts = [f"{split} {row} {' '.join(some)}" for row, some in enumerate(words)]
        table = pa.table({"text": texts, "label": np.asarray(TASK.labels)[random.integers(2, size=count)]})
        file = folder / TASK.name / f"{split}.{kind}"
        pa.csv.write_csv(table, file) if kind == "csv" else pq.write_table(table, file)


def preparing(folder: Path) -> Callable[[], float]:
    data = sections.Data(source="local", path=str(folder))
    return lambda: _seconds(lambda: prepare(TASK, data, folder / "out"))


def reading(folder: Path) -> Callable[[], float]:
    data = Data.open(folder / "out")
    return lambda: _seconds(lambda: next(data.frames("train", 0, FEW, FEW)))


def _seconds(work: Callable[[], object]) -> float:
    """Of the processor, as other work may keep it busy."""
    started = time.process_time()
    work()
    return time.process_time() - started


def line(folder: Path, rows: int) -> list[str]:
    """What one number of rows costs."""
    cells = [f"{rows:,}"]
    for kind in ("csv", "parquet"):
        lay_out(folder / kind, rows, kind)
        cells += _measured(preparing, folder / kind)
    return cells + _measured(reading, folder / "csv")


def _measured(make: Callable[[Path], Callable[[], float]], folder: Path) -> list[str]:
    """Seconds, and how far the process's own memory grew."""
    worker = Worker(make, folder)
    before = worker.private
    found = [number(worker.run()), megabytes(worker.private - before)]
    worker.close()
    return found


def main() -> None:
    told = _arguments()
    lines = []
    for rows in (10**power for power in range(4, 9) if 10**power <= told.most):
        with TemporaryDirectory(dir=told.folder) as folder:
            lines.append(line(Path(folder), rows))
        print(f"{rows:,} rows", flush=True)
    heads = [f"{what}: {unit}" for what in ("csv", "parquet", f"{FEW:,} rows read") for unit in ("s", "own memory")]
    print(description(1), markdown(["rows", *heads], lines), sep="\n\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=10**6, help="rows; ten thousand are the fewest")
    parser.add_argument("--folder", type=Path, help="where there is room for 300 bytes a row")
    return parser.parse_args()


if __name__ == "__main__":
    main()
