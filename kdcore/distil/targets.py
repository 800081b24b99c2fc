"""Write the teacher's signals: logits and [CLS] vectors always, attention maps where the disk has room.

Maps are ragged: an example of n tokens keeps n×n numbers per layer and head, and no padding.
"""

import os
import shutil
from collections.abc import Collection, Sequence
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
    data: Data,
    teacher: Finished,
    out: Path,
    targets: sections.Targets,
    rows: int | None,
    batch_size: int,
    mapped: Collection[int] | None = None,
) -> None:
    """The signals of the first `rows` training rows and of all validation rows, in out/train and out/validation.

    mapped: the teacher layers that students map (None: every one), which are stored alone where there is no room for
    all. Raises UserError where maps must be stored and the disk has no room for them.
    """
    encoder = teacher.encoder()
    every = tuple(range(1, teacher.layers + 1))
    with new_folder(out) as aside:
        for split, most in (("train", rows), ("validation", None)):
            examples = tokenised(data, split, teacher.tokenizer, teacher.max_length, most)
            stored = stored_layers(encoder, examples.lengths, sorted(mapped or every), targets)
            owners = {"data": data.fingerprint, "teacher": teacher.fingerprint, "rows": len(examples)}
            how = {"split": split, "dtype": targets.dtype, "attention": stored, "threads": teacher.threads}
            with open_run("targets", {**owners, **how, "code": code_digest(__name__)}) as run:
                partial = run.folder / "partial"
                if not run.finished:
                    partial.mkdir(exist_ok=True)
                    keep: dict[str, Any] = {"dtype": targets.dtype, "attention": bool(stored), "layers": stored}
                    facts = extract(encoder, examples, partial, batch_size=batch_size, **keep)
                    run.finish(moving(partial), **facts, **owners)
                link_folder(run.result, aside / split)
        seal(aside)


def stored_layers(
    encoder: Encoder, lengths: np.ndarray, mapped: Sequence[int], targets: sections.Targets
) -> tuple[int, ...]:
    """The layers whose maps are stored, none where the teacher is to be live; says which, and how much they take.

    Raises UserError where maps must be stored and the disk is too full.
    """
    every, heads = len(encoder.layers), encoder.config.num_attention_heads
    each = attention_bytes(lengths, 1, heads, np.dtype(targets.dtype).itemsize)
    free = shutil.disk_usage(store()).free
    stored = kept_layers(targets.store, every, mapped, each, free, targets.disk_gb)
    if targets.store == "disk" and not stored:
        raise UserError(
            "targets.store",
            f"disk needs {each * len(mapped) / 1e9:.1f} GB for the attention maps, and {free / 1e9:.1f} GB are free; "
            "use live, or fewer rows",
        )
    which = "" if len(stored) in (0, every) else f" of layers {', '.join(map(str, stored))}, which students map,"
    size, where = each * (len(stored) or len(mapped)), "stored" if stored else "live"
    say(f"targets: {len(lengths):,} rows, attention maps{which} of {size / 1e9:.2f} GB {where}")
    return stored


def kept_layers(keep: str, every: int, mapped: Sequence[int], each: int, free: int, disk_gb: float) -> tuple[int, ...]:
    """The layers whose maps are stored, none where the teacher is to be live: the rule of targets.store.

    All of them where there is room, so that students of any depth find theirs; else those that are mapped. every: the
    teacher's layers; each: bytes of one layer's maps; free: bytes of disk.
    """
    room = {"disk": float(free), "auto": min(disk_gb * 1e9, 0.9 * free), "live": -1.0}[keep]
    if every * each <= room:
        return tuple(range(1, every + 1))
    return tuple(mapped) if len(mapped) * each <= room else ()


def extract(
    teacher: Encoder,
    examples: Examples,
    folder: Path,
    *,
    dtype: str,
    attention: bool,
    batch_size: int,
    layers: Collection[int] = (),
) -> dict[str, Any]:
    """Write the teacher's signals for `examples` into `folder`; shards that are there already are kept.

    layers: whose [CLS] vectors and maps are written, in that order; every one where none is named. logits.npy (N, K)
    float32; cls.npy (N, L, H) and attention-*.npy (flat, ragged) of `dtype`; lengths.npy (N,) int32. Returns the facts
    that reading needs: they belong in the folder's manifest.
    """
    live, size, heads = Live(teacher), len(examples), teacher.config.num_attention_heads
    kept = tuple(layers) or tuple(range(1, live.layers + 1))
    # By all layers' bytes, whichever are kept: a shard's rows are computed together, and that decides the last bits.
    bounds = shard_bounds(examples.lengths, live.layers * heads * np.dtype(dtype).itemsize)
    markers = [folder / f"shard-{shard:05d}.json" for shard in range(len(bounds) - 1)]
    mode = "r+" if any(marker.exists() for marker in markers) else "w+"
    _array(folder / "lengths.npy", mode, "int32", (size,))[:] = examples.lengths
    logits = _array(folder / "logits.npy", mode, "float32", (size, teacher.output.out_features))
    cls = _array(folder / "cls.npy", mode, dtype, (size, len(kept), teacher.config.hidden_size))
    with progress("targets", size) as update:
        for shard, marker in enumerate(markers):
            rows = np.arange(bounds[shard], bounds[shard + 1])
            if not marker.exists():
                maps = None
                if attention:  # a new file, Σ n² numbers for each layer and head
                    numbers = int(np.square(examples.lengths[rows].astype(np.int64)).sum()) * len(kept) * heads
                    maps = _array(folder / f"attention-{shard:05d}.npy", "w+", dtype, (numbers,))
                _extract_rows(live, examples, rows, batch_size, kept, logits, cls, maps)
                write_json(marker, {"rows": [int(rows[0]), int(rows[-1]) + 1]})
            update(len(rows))
    for marker in markers:
        marker.unlink()
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
) -> None:
    """The signals of one shard's rows, written to disk when this returns. maps: the shard's flat array.

    The teacher hands out the maps of all layers, whichever are kept: without that it computes other last bits.
    """
    every = range(1, live.layers + 1)
    lengths = examples.lengths[rows]
    starts = offsets(lengths, np.asarray([0, len(rows)]), len(layers) * live.teacher.config.num_attention_heads)
    for positions in in_order(lengths, batch_size):
        batch = collate(examples, rows[positions]).to(live.teacher.device)
        teaching = live.at(batch, every if maps is not None else (), every)
        logits[batch.rows] = teaching.logits.float().cpu().numpy()
        cls[batch.rows] = torch.stack([teaching.cls[layer] for layer in layers], 1).cpu().numpy()
        if maps is not None:
            rounded = [teaching.attention[layer].to(getattr(torch, maps.dtype.name)) for layer in layers]
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
