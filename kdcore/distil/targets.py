"""Write the teacher's signals: logits and [CLS] vectors always, attention maps where the disk has room.

Maps are ragged: an example of n tokens keeps n×n numbers per layer and head, and no padding.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdcore.artefacts import link_folder, new_folder, write_json
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
from kdcore.runs import code_digest, open_run, store

SHARD_BYTES = 256 * 2**20  # of attention maps; the unit of resuming and of checksums
CODE = ("data/batches", "data/examples", "model/encoder", "distil/signals", "distil/targets")


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
) -> None:
    """The signals of the first `rows` training rows and of all validation rows, in out/train and out/validation.

    keep: `disk` stores attention maps, `live` does not, `auto` does up to `disk_gb`. Raises UserError where
    `disk` has no room.
    """
    facts, teacher_id = read_run(teacher, "dvc repro -f teacher")
    prepared = Prepared.open(data, tokenizer_of(teacher), facts["max_length"])
    encoder = Encoder.load(teacher)
    with new_folder(out) as aside:
        for split, count in (("train", rows), ("validation", None)):
            examples = prepared.split(split, count, "student.rows")
            what = {
                "data": fingerprint(data),
                "teacher": teacher_id,
                "split": split,
                "rows": len(examples),
                "attention": _stored(encoder, examples, keep, dtype, disk_gb),
                "dtype": dtype,
                "code": code_digest(CODE),
            }
            link_folder(_extracted(what, encoder, examples, batch_size), aside / split)


def _stored(encoder: Encoder, examples: Examples, keep: str, dtype: str, disk_gb: float) -> bool:
    """Whether attention maps are stored. Raises UserError where they must be and the disk is too full."""
    itemsize = np.dtype(dtype).itemsize
    need = attention_bytes(
        examples.lengths, len(encoder.layers), encoder.config.num_attention_heads, itemsize
    )
    free = shutil.disk_usage(store()).free
    if keep == "disk" and need > free:
        raise UserError(
            "params.yaml",
            f"targets.store: disk needs {need / 1e9:.1f} GB for the attention maps, and {free / 1e9:.1f} GB are free; "
            "use live, or fewer student.rows",
        )
    stored = keep == "disk" or (keep == "auto" and need <= min(disk_gb * 1e9, 0.9 * free))
    say(f"targets: {len(examples):,} rows, attention maps of {need / 1e9:.2f} GB {'stored' if stored else 'live'}")
    return stored


def _extracted(what: dict[str, Any], encoder: Encoder, examples: Examples, batch_size: int) -> Path:
    """The store's folder with these signals, extracted now where it is not there."""
    with open_run("targets", what) as run:
        if not run.finished:
            partial = run.folder / "partial"
            partial.mkdir(exist_ok=True)
            facts = extract(
                encoder, examples, partial, dtype=what["dtype"], attention=what["attention"], batch_size=batch_size
            )
            run.finish(lambda folder: _move(partial, folder), **facts)
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
    layers, heads = len(teacher.layers), teacher.config.num_attention_heads
    bounds = shard_bounds(examples.lengths, layers * heads * np.dtype(dtype).itemsize)
    np.save(folder / "lengths.npy", examples.lengths.astype(np.int32))
    live = Live(teacher)
    with progress("targets", len(examples)) as update:
        for shard, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
            part = folder / f"shard-{shard:05d}.json"
            if not part.exists():
                _extract_shard(live, examples, folder, (shard, start, stop), dtype, attention, batch_size)
                write_json(part, {"rows": [start, stop]})
            update(stop - start)
    _join(folder, "logits", len(bounds) - 1)
    _join(folder, "cls", len(bounds) - 1)
    for part in folder.glob("shard-*.json"):
        part.unlink()
    return {"layers": layers, "heads": heads, "dtype": dtype, "shards": bounds[1:] if attention else []}


def _extract_shard(
    live: Live,
    examples: Examples,
    folder: Path,
    shard: tuple[int, int, int],
    dtype: str,
    attention: bool,
    batch_size: int,
) -> None:
    index, start, stop = shard
    layers, heads = live.layers, live.teacher.config.num_attention_heads
    lengths = examples.lengths[start:stop]
    starts = offsets(lengths, np.asarray([0, len(lengths)]), layers * heads)
    total = int(np.square(lengths.astype(np.int64)).sum()) * layers * heads
    logits = np.empty((stop - start, live.teacher.output.out_features), np.float32)
    cls = np.empty((stop - start, layers, live.teacher.config.hidden_size), dtype)
    maps = None
    if attention:
        maps = np.lib.format.open_memmap(folder / f"attention-{index:05d}.npy", "w+", dtype, (total,))
    every = range(1, layers + 1)
    for rows in in_order(lengths, batch_size):
        batch = collate(examples, rows + start).to(live.teacher.device)
        said = live.at(batch, every if attention else (), every)
        logits[rows] = said.logits.float().cpu().numpy()
        cls[rows] = torch.stack([said.cls[layer] for layer in every], 1).cpu().numpy()
        if maps is not None:
            stacked = torch.stack([said.attention[layer] for layer in every], 1).cpu().numpy()  # (B, L, A, T, T)
            for row, example in zip(rows, stacked, strict=True):
                n = lengths[row]
                maps[starts[row] : starts[row] + layers * heads * n * n] = example[..., :n, :n].reshape(-1)
    if maps is not None:
        maps.flush()
    np.save(folder / f"logits-{index:05d}.npy", logits)
    np.save(folder / f"cls-{index:05d}.npy", cls)


def _join(folder: Path, name: str, shards: int) -> None:
    """One file of the shards' parts."""
    parts = [folder / f"{name}-{shard:05d}.npy" for shard in range(shards)]
    np.save(folder / f"{name}.npy", np.concatenate([np.load(part) for part in parts]))
    for part in parts:
        part.unlink()


def shard_bounds(lengths: np.ndarray, bytes_per_square: int) -> list[int]:
    """Row numbers 0 = b_0 < b_1 < … = N such that each stretch holds about SHARD_BYTES of maps."""
    size = np.cumsum(np.square(lengths.astype(np.int64)) * bytes_per_square)
    shards = size // SHARD_BYTES
    cuts = np.flatnonzero(np.diff(shards)) + 1
    return [0, *map(int, cuts), len(lengths)]
