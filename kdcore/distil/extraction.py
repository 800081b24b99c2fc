"""Compute the teacher's signals and write them, shard by shard: logits, [CLS] vectors and, where asked for, maps.

Maps are ragged: an example of n tokens keeps n×n numbers per layer and head, and no padding.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdcore.artefacts import linking, write_json
from kdcore.console import progress
from kdcore.data.batches import collate, in_order
from kdcore.data.examples import Examples
from kdcore.distil.shards import array, shard_bounds
from kdcore.distil.signals import Live, offsets
from kdcore.model.encoder import Encoder
from kdcore.runs import Run


def finish(
    run: Run,
    teacher: Encoder,
    examples: Examples,
    dtype: str,
    stored: Collection[int],
    batch_size: int,
    owners: Mapping[str, Any],
    bounds: Sequence[int] = (),
) -> None:
    """Extract what is left of a run, and finish it. stored: the layers whose maps are; owners: facts of its manifest.

    bounds: as in `extract`. Raises LeaseLostError where another process has taken the run over; the shards that are
    whole are kept.
    """
    partial = run.folder / "partial"
    partial.mkdir(exist_ok=True)
    keep: dict[str, Any] = {"dtype": dtype, "attention": bool(stored), "layers": stored}
    facts = extract(teacher, examples, partial, batch_size=batch_size, bounds=bounds, check=run.check, **keep)
    run.finish(linking(partial), **facts, **owners)


def extract(
    teacher: Encoder,
    examples: Examples,
    folder: Path,
    *,
    dtype: str,
    attention: bool,
    batch_size: int,
    layers: Collection[int] = (),
    bounds: Sequence[int] = (),
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Write the teacher's signals for `examples` into `folder`; shards that are there already are kept, as notes say.

    layers: whose [CLS] vectors and maps are written, in that order; every one where none is named; bounds: of the
    shards, where the examples are a part of more; check: is called before each batch, and may raise what ends it.
    Files: logits.npy (N, K) float32; cls.npy (N, L, H) and attention-*.npy (flat, ragged) of `dtype`; lengths.npy (N,)
    int32. Returns the facts that reading needs: they belong in the folder's manifest.
    """
    live, size, heads = Live(teacher), len(examples), teacher.config.num_attention_heads
    kept = tuple(layers) or tuple(range(1, live.layers + 1))
    # By all layers' bytes, whichever are kept: a shard's rows are computed together, and that decides the last bits.
    bounds = bounds or shard_bounds(examples.lengths, live.layers * heads * np.dtype(dtype).itemsize)
    markers = [folder / f"shard-{shard:05d}.json" for shard in range(len(bounds) - 1)]
    mode = "r+" if any(marker.exists() for marker in markers) else "w+"
    array(folder / "lengths.npy", mode, "int32", (size,))[:] = examples.lengths
    logits = array(folder / "logits.npy", mode, "float32", (size, teacher.output.out_features))
    cls = array(folder / "cls.npy", mode, dtype, (size, len(kept), teacher.config.hidden_size))
    with progress("targets", size) as update:
        for shard, marker in enumerate(markers):
            rows = np.arange(bounds[shard], bounds[shard + 1])
            if not marker.exists():
                maps = None
                if attention:  # a new file, Σ n² numbers for each layer and head
                    numbers = int(np.square(examples.lengths[rows].astype(np.int64)).sum()) * len(kept) * heads
                    maps = array(folder / f"attention-{shard:05d}.npy", "w+", dtype, (numbers,))
                _extract_rows(live, examples, rows, batch_size, kept, logits, cls, maps, check)
                write_json(marker, {"rows": [int(rows[0]), int(rows[-1]) + 1]})
            update(len(rows))
    return {"layers": kept, "heads": heads, "dtype": dtype, "shards": bounds[1:] if attention else []}


def _extract_rows(
    live: Live,
    examples: Examples,
    rows: np.ndarray,
    batch_size: int,
    layers: Collection[int],
    logits: np.ndarray,
    cls: np.ndarray,
    maps: np.memmap | None,
    check: Callable[[], None],
) -> None:
    """The signals of one shard's rows, written to disk when this returns. maps: the shard's flat array.

    The teacher hands out the maps of all layers, whichever are kept: without that it computes other last bits.
    """
    every = range(1, live.layers + 1)
    lengths = examples.lengths[rows]
    starts = offsets(lengths, np.asarray([0, len(rows)]), len(layers) * live.teacher.config.num_attention_heads)
    for positions in in_order(lengths, batch_size):
        check()
        batch = collate(examples, rows[positions]).to(live.teacher.device)
        teaching = live.at(batch, every if maps is not None else (), every)
        logits[batch.rows] = teaching.logits.float().cpu().numpy()
        cls[batch.rows] = torch.stack([teaching.cls[layer] for layer in layers], 1).cpu().numpy()
        if maps is not None:
            rounded = [teaching.attention[layer].to(getattr(torch, maps.dtype.name)) for layer in layers]
            _write_maps(maps, starts[positions], lengths[positions], torch.stack(rounded, 1).cpu().numpy())
    for written in (logits, cls, maps):
        if isinstance(written, np.memmap):
            written.flush()


def _write_maps(maps: np.memmap, starts: np.ndarray, lengths: np.ndarray, padded: np.ndarray) -> None:
    """Put each example's (L, A, n, n) of `padded` (B, L, A, T, T) at its start in a shard's flat array.

    Through the file, not through memory: a page fault for every 4 KiB would take a tenth of an extraction.
    """
    with open(str(maps.filename), "r+b") as file:
        for start, n, example in zip(starts.tolist(), lengths.tolist(), padded, strict=True):
            file.seek(maps.offset + start * maps.itemsize)
            file.write(np.ascontiguousarray(example[..., :n, :n]).data)
