"""Write the teacher's signals: logits and [CLS] vectors always, attention maps where the disk has room.

Maps are ragged: an example of n tokens keeps n×n numbers per layer and head, and no padding.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdcore.artefacts import link_folder, moving, new_folder, seal, store, write_json
from kdcore.code import code_digest
from kdcore.console import progress, say
from kdcore.data.batches import collate, in_order
from kdcore.data.examples import Examples
from kdcore.data.prepared import Data
from kdcore.data.tokens import tokenised
from kdcore.distil.finished import Finished
from kdcore.distil.signals import Live, offsets
from kdcore.errors import UserError
from kdcore.model.cost import attention_bytes
from kdcore.model.encoder import Encoder
from kdcore.params import sections
from kdcore.runs import open_run

SHARD_BYTES = 256 * 2**20  # of attention maps; the unit of resuming and of checksums


def write_targets(
    data: Data, teacher: Finished, out: Path, targets: sections.Targets, rows: int | None, batch_size: int
) -> None:
    """The signals of the first `rows` training rows and of all validation rows, in out/train and out/validation.

    Raises UserError where maps must be stored and the disk has no room for them.
    """
    encoder = Encoder.load(teacher.folder)
    with new_folder(out) as aside:
        for split, most in (("train", rows), ("validation", None)):
            examples = tokenised(data, split, teacher.tokenizer, teacher.max_length, most)
            stored = stores_maps(encoder, examples, targets)
            owners = {"data": data.fingerprint, "teacher": teacher.fingerprint, "rows": len(examples)}
            how = {"split": split, "dtype": targets.dtype, "attention": stored, "code": code_digest(__name__)}
            with open_run("targets", {**owners, **how}) as run:
                partial = run.folder / "partial"
                if not run.finished:
                    partial.mkdir(exist_ok=True)
                    facts = extract(
                        encoder, examples, partial, dtype=targets.dtype, attention=stored, batch_size=batch_size
                    )
                    run.finish(moving(partial), **facts, **owners)
                link_folder(run.result, aside / split)
        seal(aside)


def stores_maps(encoder: Encoder, examples: Examples, targets: sections.Targets) -> bool:
    """Whether attention maps are stored. Raises UserError where they must be and the disk is too full."""
    itemsize = np.dtype(targets.dtype).itemsize
    need = attention_bytes(examples.lengths, len(encoder.layers), encoder.config.num_attention_heads, itemsize)
    free = shutil.disk_usage(store()).free
    if targets.store == "disk" and need > free:
        raise UserError(
            "targets.store",
            f"disk needs {need / 1e9:.1f} GB for the attention maps, and {free / 1e9:.1f} GB are free; "
            "use live, or fewer rows",
        )
    stored = keeps_maps(targets.store, need, free, targets.disk_gb)
    say(f"targets: {len(examples):,} rows, attention maps of {need / 1e9:.2f} GB {'stored' if stored else 'live'}")
    return stored


def keeps_maps(keep: str, need: int, free: int, disk_gb: float) -> bool:
    """Whether attention maps of `need` bytes are stored where `free` bytes are free: the rule of targets.store."""
    return keep == "disk" or (keep == "auto" and need <= min(disk_gb * 1e9, 0.9 * free))


def extract(
    teacher: Encoder, examples: Examples, folder: Path, *, dtype: str, attention: bool, batch_size: int
) -> dict[str, Any]:
    """Write the teacher's signals for `examples` into `folder`; shards that are there already are kept.

    logits.npy (N, K) float32; cls.npy (N, L, H) and attention-*.npy (flat, ragged) of `dtype`;
    lengths.npy (N,) int32. Returns the facts that reading needs: they belong in the folder's manifest.
    """
    live, size = Live(teacher), len(examples)
    layers, heads = live.layers, teacher.config.num_attention_heads
    bounds = shard_bounds(examples.lengths, layers * heads * np.dtype(dtype).itemsize)
    markers = [folder / f"shard-{shard:05d}.json" for shard in range(len(bounds) - 1)]
    mode = "r+" if any(marker.exists() for marker in markers) else "w+"
    _array(folder / "lengths.npy", mode, "int32", (size,))[:] = examples.lengths
    logits = _array(folder / "logits.npy", mode, "float32", (size, teacher.output.out_features))
    cls = _array(folder / "cls.npy", mode, dtype, (size, layers, teacher.config.hidden_size))
    with progress("targets", size) as update:
        for shard, marker in enumerate(markers):
            rows = np.arange(bounds[shard], bounds[shard + 1])
            if not marker.exists():
                maps = None
                if attention:  # a new file, Σ n² numbers for each layer and head
                    numbers = int(np.square(examples.lengths[rows].astype(np.int64)).sum()) * layers * heads
                    maps = _array(folder / f"attention-{shard:05d}.npy", "w+", dtype, (numbers,))
                _extract_rows(live, examples, rows, batch_size, logits, cls, maps)
                write_json(marker, {"rows": [int(rows[0]), int(rows[-1]) + 1]})
            update(len(rows))
    for marker in markers:
        marker.unlink()
    return {"layers": layers, "heads": heads, "dtype": dtype, "shards": bounds[1:] if attention else []}


def _extract_rows(
    live: Live,
    examples: Examples,
    rows: np.ndarray,
    batch_size: int,
    logits: np.ndarray,
    cls: np.ndarray,
    maps: np.memmap | None,
) -> None:
    """The signals of one shard's rows, written to disk when this returns. maps: the shard's flat array."""
    every = range(1, live.layers + 1)
    lengths = examples.lengths[rows]
    starts = offsets(lengths, np.asarray([0, len(rows)]), live.layers * live.teacher.config.num_attention_heads)
    for positions in in_order(lengths, batch_size):
        batch = collate(examples, rows[positions]).to(live.teacher.device)
        teaching = live.at(batch, every if maps is not None else (), every)
        logits[batch.rows] = teaching.logits.float().cpu().numpy()
        cls[batch.rows] = torch.stack([teaching.cls[layer] for layer in every], 1).cpu().numpy()
        if maps is not None:
            rounded = [teaching.attention[layer].to(getattr(torch, maps.dtype.name)) for layer in every]
            _write_maps(maps, starts[positions], lengths[positions], torch.stack(rounded, 1).cpu().numpy())
    for array in (logits, cls, maps):
        if isinstance(array, np.memmap):
            array.flush()


def _write_maps(maps: np.memmap, starts: np.ndarray, lengths: np.ndarray, padded: np.ndarray) -> None:
    """Put each example's (L, A, n, n) of `padded` (B, L, A, T, T) at its start in a shard's flat array.

    Through the file, not through memory: a page fault for every 4 KiB would take a tenth of an extraction.
    """
    with open(str(maps.filename), "r+b") as file:
        for start, n, example in zip(starts.tolist(), lengths.tolist(), padded, strict=True):
            file.seek(maps.offset + start * maps.itemsize)
            file.write(np.ascontiguousarray(example[..., :n, :n]).data)


def _array(path: Path, mode: str, dtype: str, shape: tuple[int, ...]) -> np.memmap:
    """A .npy file as an array: a new one of that type and shape (w+), or the one that is there (r+).

    Raises OSError where a new one has no room: a full disk would end the process without a word later on.
    """
    array = np.lib.format.open_memmap(path, mode, dtype, shape)
    if mode == "w+" and hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def shard_bounds(lengths: np.ndarray, bytes_per_square: int) -> list[int]:
    """Row numbers 0 = b_0 < b_1 < … = N such that each stretch holds about SHARD_BYTES of maps."""
    size = np.cumsum(np.square(lengths.astype(np.int64)) * bytes_per_square)
    shards = size // SHARD_BYTES
    cuts = np.flatnonzero(np.diff(shards)) + 1
    return [0, *map(int, cuts), len(lengths)]
