"""Write the teacher's signals: logits and [CLS] vectors always, attention maps where the disk has room.

Maps are ragged: an example of n tokens keeps n×n numbers per layer and head, and no padding.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdcore.artefacts import link_folder, new_folder, read_manifest, store, write_json
from kdcore.console import progress, say
from kdcore.data.batches import collate, in_order
from kdcore.data.examples import Examples, Prepared
from kdcore.data.prepared import fingerprint
from kdcore.distil.finished import read_run
from kdcore.distil.signals import Live, offsets
from kdcore.errors import UserError
from kdcore.model.cost import attention_bytes
from kdcore.model.encoder import Encoder
from kdcore.model.names import tokenizer_of
from kdcore.runs import code_digest, open_run

SHARD_BYTES = 256 * 2**20  # of attention maps; the unit of resuming and of checksums
RERUN = "dvc repro -f targets"
CODE = ("data/batches", "data/examples", "model/attention", "model/encoder", "distil/signals", "distil/targets")


def write_targets(
    data: Path,
    teacher: Path,
    out: Path,
    *,
    rows: int | None,
    keep: str,
    dtype: str,
    disk_gb: float,
    batch_size: int,
    rows_key: str = "student.rows",
) -> None:
    """The signals of the first `rows` training rows and of all validation rows, in out/train and out/validation.

    keep: `disk` stores attention maps, `live` does not, `auto` does up to `disk_gb`; rows_key: what params.yaml
    calls `rows`, for messages. Raises UserError where `disk` has no room.
    """
    facts, teacher_id = read_run(teacher, "dvc repro -f teacher")
    prepared = Prepared.open(data, tokenizer_of(teacher), facts["max_length"])
    encoder = Encoder.load(teacher)
    with new_folder(out) as aside:
        for split, count in (("train", rows), ("validation", None)):
            examples = prepared.split(split, count, rows_key)
            what = {
                "data": fingerprint(data),
                "teacher": teacher_id,
                "split": split,
                "rows": len(examples),
                "attention": _stored(encoder, examples, keep, dtype, disk_gb, rows_key),
                "dtype": dtype,
                "code": code_digest(CODE),
            }
            link_folder(_extracted(what, encoder, examples, batch_size), aside / split)


def check_targets(targets: Path, data: Path, teacher: Path) -> None:
    """Raises UserError where the signals are of another teacher, or of other data, than those given."""
    _, teacher_id = read_run(teacher, "dvc repro -f teacher")
    for split in ("train", "validation"):
        manifest = read_manifest(targets / split, RERUN)
        for name, folder, found in (("teacher", teacher, teacher_id), ("data", data, fingerprint(data))):
            if manifest.get(name) != found:
                said = f"these signals are not those of the {name} {folder}; run `{RERUN}`"
                raise UserError(str(targets / split), said)


def _stored(
    encoder: Encoder, examples: Examples, keep: str, dtype: str, disk_gb: float, rows_key: str = "student.rows"
) -> bool:
    """Whether attention maps are stored. Raises UserError where they must be and the disk is too full."""
    itemsize = np.dtype(dtype).itemsize
    need = attention_bytes(examples.lengths, len(encoder.layers), encoder.config.num_attention_heads, itemsize)
    free = shutil.disk_usage(store()).free
    if keep == "disk" and need > free:
        raise UserError(
            "params.yaml",
            f"targets.store: disk needs {need / 1e9:.1f} GB for the attention maps, and {free / 1e9:.1f} GB are free; "
            f"use live, or fewer {rows_key}",
        )
    stored = keeps_maps(keep, need, free, disk_gb)
    say(f"targets: {len(examples):,} rows, attention maps of {need / 1e9:.2f} GB {'stored' if stored else 'live'}")
    return stored


def keeps_maps(keep: str, need: int, free: int, disk_gb: float) -> bool:
    """Whether attention maps of `need` bytes are stored where `free` bytes are free: the rule of targets.store."""
    return keep == "disk" or (keep == "auto" and need <= min(disk_gb * 1e9, 0.9 * free))


def _extracted(what: dict[str, Any], encoder: Encoder, examples: Examples, batch_size: int) -> Path:
    """The store's folder with these signals, extracted now where it is not there."""
    with open_run("targets", what) as run:
        if not run.finished:
            partial = run.folder / "partial"
            partial.mkdir(exist_ok=True)
            facts = extract(
                encoder, examples, partial, dtype=what["dtype"], attention=what["attention"], batch_size=batch_size
            )
            owners = {key: what[key] for key in ("data", "teacher", "rows")}
            run.finish(lambda folder: _move(partial, folder), **facts, **owners)
            partial.rmdir()
        return run.result


def _move(source: Path, target: Path) -> None:
    for file in source.iterdir():
        file.replace(target / file.name)


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
                maps = _maps(folder, shard, examples.lengths[rows], layers * heads, dtype) if attention else None
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
        said = live.at(batch, every if maps is not None else (), every)
        assert said.logits is not None  # noqa: S101  (they were asked)
        logits[batch.rows] = said.logits.float().cpu().numpy()
        cls[batch.rows] = torch.stack([said.cls[layer] for layer in every], 1).cpu().numpy()
        if maps is not None:
            rounded = [said.attention[layer].to(getattr(torch, maps.dtype.name)) for layer in every]
            _write_maps(maps, starts[positions], lengths[positions], torch.stack(rounded, 1).cpu().numpy())
    for array in (logits, cls, maps):
        if isinstance(array, np.memmap):
            array.flush()


def _write_maps(maps: np.memmap, starts: np.ndarray, lengths: np.ndarray, padded: np.ndarray) -> None:
    """Put each example's (L, A, n, n) of `padded` (B, L, A, T, T) at its start in a shard's flat array.

    Through the file, not through memory: a page fault for every 4 KiB would take a tenth of an extraction.
    """
    assert maps.filename is not None  # noqa: S101  (it is a file's)
    with open(maps.filename, "r+b") as file:
        for start, n, example in zip(starts.tolist(), lengths.tolist(), padded, strict=True):
            file.seek(maps.offset + start * maps.itemsize)
            file.write(np.ascontiguousarray(example[..., :n, :n]).data)


def _maps(folder: Path, shard: int, lengths: np.ndarray, maps: int, dtype: str) -> np.memmap:
    """A shard's new file of ragged maps: Σ n² numbers for each of `maps` layers and heads."""
    numbers = int(np.square(lengths.astype(np.int64)).sum()) * maps
    return _array(folder / f"attention-{shard:05d}.npy", "w+", dtype, (numbers,))


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
