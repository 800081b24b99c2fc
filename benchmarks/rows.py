"""What rows cost before training begins: memory, and how long one waits for the first batch, by the number of rows.

    python -m benchmarks.rows --most 1000000

Nothing is trained. Rows are made: texts of eight words, 100,000 different ones, again and again. Each line has three
processes: one that tokenises what no other did, one that starts from what is there, and one that tokenises in memory,
as every command did before there were files of tokens. Beyond `--tokenised` rows the first one writes ids that are
repeated and not tokenised, as time grows with rows there, and the third is left out.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import description
from benchmarks.table import markdown, megabytes, number
from benchmarks.worker import Worker
from kdcore.artefacts import seal, write_json
from kdcore.data import embedded, tasks, tokens
from kdcore.data.batches import collate, shuffled
from kdcore.data.examples import Examples, encode
from kdcore.data.prepare import GROUP
from kdcore.data.prepared import PROVENANCE, TASK, Data
from kdcore.data.tokens import CHUNK, tokenised
from kdcore.model.names import tokenizer_of
from kdcore.model.places import resolve

MAX_LENGTH, BATCH = 128, 32
DIFFERENT = 100_000  # texts
SLOWEST = 2.5  # seconds: a file that is younger than that is not yet noted as proved


def lay_out(folder: Path, rows: int) -> None:
    """A prepared task with so many rows that train, in the words of the embedded model."""
    random = np.random.default_rng(0)
    whole = [word for word in tokenizer_of(resolve("embedded")).get_vocab() if word.isascii() and word.isalpha()]
    texts = [" ".join(words) for words in random.choice(sorted(whole), (min(rows, DIFFERENT), 8))]
    schema = pa.schema({"row": pa.int64(), "text_a": pa.string(), "text_b": pa.string(), "label": pa.int64()})
    folder.mkdir(parents=True)
    for split, count in (("train", rows), ("validation", 100)):
        with pq.ParquetWriter(folder / f"{split}.parquet", schema) as writer:
            for first in range(0, count, len(texts)):
                some = np.arange(first, min(first + len(texts), count))
                columns = [pa.array(some), texts[: len(some)], [None] * len(some), pa.array(some % 2)]
                writer.write_table(pa.table(columns, schema=schema), row_group_size=GROUP)
    (folder / TASK).write_text(tasks.to_json(tasks.BUILT_IN["sst2"]), encoding="utf-8")
    splits = {name: {"rows": count, "labelled": count} for name, count in (("train", rows), ("validation", 100))}
    write_json(folder / PROVENANCE, {"origin": {}, "splits": splits})
    seal(folder)


def first_batch(folder: Path, store: Path, read: Callable[[Data], Examples]) -> Callable[[], float]:
    """Seconds from the prepared task to the first batch of an epoch, with all that a student needs of the rows."""
    os.environ["KDCORE_WORK"] = str(store)

    def run() -> float:
        started = time.perf_counter()
        examples = read(Data.open(folder))
        examples.words()
        collate(examples, shuffled(examples.lengths, BATCH, 0, 0)[0])
        return time.perf_counter() - started

    return run


def from_files(folder: Path, store: Path, repeated: bool) -> Callable[[], float]:
    """From the store's tokens, which are made where they are not there: tokenised, or repeated."""
    tokenizer = tokenizer_of(resolve("embedded"))
    run = first_batch(folder, store, lambda data: tokenised(data, "train", tokenizer, MAX_LENGTH))
    if not repeated:
        return run
    some = encode(tokenizer, next(Data.open(folder).frames("train", 0, CHUNK, CHUNK)), MAX_LENGTH)

    def repeating() -> float:
        with patch.object(tokens, "encode", lambda _, frame, __: some.first(len(frame))):
            return run()

    return repeating


def in_memory(folder: Path, store: Path) -> Callable[[], float]:
    tokenizer = tokenizer_of(resolve("embedded"))
    return first_batch(folder, store, lambda data: encode(tokenizer, data.frame("train"), MAX_LENGTH))


def line(folder: Path, rows: int, tokenises: bool) -> list[str]:
    """What one number of rows costs."""
    task, store = folder / "sst2", folder / "work"
    lay_out(task, rows)
    cells = [f"{rows:,}"]
    cells += _measured(from_files, task, store, not tokenises)
    time.sleep(SLOWEST)
    _measured(from_files, task, store, False)  # the proof, once on a machine
    cells += _measured(from_files, task, store, False)
    return cells + (_measured(in_memory, task, folder / "none") if tokenises else ["", "", ""])


def _measured(make: Callable[..., Callable[[], float]], *args: object) -> list[str]:
    """Seconds, and the peaks of the process: its own memory, and with mapped files."""
    worker = Worker(make, *args)
    found = [number(worker.run()), megabytes(worker.private), megabytes(worker.resident)]
    worker.close()
    return found


def table(places: Path, rows: list[int], tokenised_at_most: int) -> str:
    lines = []
    for count in rows:
        with TemporaryDirectory(dir=places) as folder:
            lines.append(line(Path(folder), count, count <= tokenised_at_most))
        print(f"{count:,} rows", flush=True)
    peaks = ("s", "own memory", "with mapped files")
    heads = [f"{what}: {peak}" for what in ("tokens made", "tokens found", "in memory") for peak in peaks]
    return markdown(["rows", *heads], lines)


def main() -> None:
    told = _arguments()
    embedded.find(embedded.MODEL)
    rows = [10**power for power in range(4, 10) if 10**power <= told.most]
    with TemporaryDirectory(dir=told.folder) as folder:
        found = table(Path(folder), rows, told.tokenised)
    print(description(1), found, sep="\n\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=10**6, help="rows; ten thousand are the fewest")
    parser.add_argument("--tokenised", type=int, default=10**6, help="rows that are really tokenised, at most")
    parser.add_argument("--folder", type=Path, help="where there is room for 100 bytes a row")
    return parser.parse_args()


if __name__ == "__main__":
    main()
