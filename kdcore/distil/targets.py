"""The teacher's signals of a task: logits and [CLS] vectors always, attention maps where the disk has room.

They are found in the store, or made now. No torch until they are made.
"""

import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdcore.artefacts import link_folder, new_folder, open_sealed, seal, store
from kdcore.code import code_digest
from kdcore.console import say
from kdcore.data.prepared import Data
from kdcore.distil.finished import Finished
from kdcore.distil.written import RERUN
from kdcore.errors import UserError
from kdcore.model.cost import attention_bytes
from kdcore.params import sections
from kdcore.runs import open_run, result_here

if TYPE_CHECKING:
    from kdcore.data.examples import Examples


@dataclass(frozen=True)
class Maps:
    """What attention maps would take. lengths: (N,) tokens of the rows; there: bytes of maps that are made already."""

    lengths: np.ndarray
    heads: int
    there: int = 0


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
    encoder, every = cache(teacher.encoder), tuple(range(1, teacher.layers + 1))
    asked = tuple(sorted(mapped or every))
    with new_folder(out) as aside:
        for split, most in (("train", rows), ("validation", None)):
            count = data.take(split, most)
            owners = {"data": data.fingerprint, "teacher": teacher.fingerprint, "rows": count}
            how = {"split": split, "dtype": targets.dtype, "threads": teacher.threads, "code": code_digest(__name__)}
            choices = {layers: {**owners, **how, "attention": layers} for layers in (every, asked, ())}
            maps = _found(choices.values()) or _counted(data, teacher, split, count)
            stored = stored_layers(maps, len(every), asked, targets)
            with open_run("targets", choices[stored]) as run:
                if not run.finished:
                    from kdcore.distil import extraction

                    examples = _examples(data, teacher, split, count)
                    extraction.finish(run, encoder(), examples, targets.dtype, stored, batch_size, owners)
                link_folder(run.result, aside / split)
        seal(aside)


def _found(choices: Iterable[dict[str, Any]]) -> Maps | None:
    """What finished runs say of the rows, whichever layers they have the maps of; None where there is none."""
    found = [result for what in choices if (result := result_here("targets", what))]
    there = sum(file.stat().st_size for result in found for file in result.glob("attention-*.npy"))
    for result in found:
        try:
            heads = open_sealed(result, RERUN, ["lengths.npy"])["heads"]
            return Maps(np.load(result / "lengths.npy"), heads, there)
        except UserError:  # it is damaged, and will be made again where it is asked for
            continue
    return None


def _counted(data: Data, teacher: Finished, split: str, rows: int) -> Maps:
    from kdcore.model.config import load_config

    return Maps(_examples(data, teacher, split, rows).lengths, load_config(teacher.folder).num_attention_heads)


def _examples(data: Data, teacher: Finished, split: str, rows: int) -> "Examples":
    from kdcore.data.tokens import tokenised

    return tokenised(data, split, teacher.tokenizer, teacher.max_length, rows)


def stored_layers(maps: Maps, every: int, mapped: Sequence[int], targets: sections.Targets) -> tuple[int, ...]:
    """The layers whose maps are stored, none where the teacher is to be live; says which, and how much they take.

    every: the teacher's layers. Maps that are there already take no room. Raises UserError where maps must be stored
    and the disk is too full.
    """
    each = attention_bytes(maps.lengths, 1, maps.heads, np.dtype(targets.dtype).itemsize)
    free = shutil.disk_usage(store()).free
    stored = kept_layers(targets.store, every, mapped, each, free + maps.there, targets.disk_gb)
    if targets.store == "disk" and not stored:
        raise UserError(
            "targets.store",
            f"disk needs {each * len(mapped) / 1e9:.1f} GB for the attention maps, and {free / 1e9:.1f} GB are free; "
            "use live, or fewer rows",
        )
    which = "" if len(stored) in (0, every) else f" of layers {', '.join(map(str, stored))}, which students map,"
    size, where = each * (len(stored) or len(mapped)), "stored" if stored else "live"
    say(f"targets: {len(maps.lengths):,} rows, attention maps{which} of {size / 1e9:.2f} GB {where}")
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
