"""The teacher's signals of a task: logits and [CLS] vectors always, attention maps where the disk has room.

They are found in the store, or made now. No torch until they are made.
"""

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdcore.artefacts import link_folder, new_folder, open_sealed, read_manifest, seal, store
from kdcore.code import code_digest
from kdcore.console import say, size
from kdcore.data.prepared import Data
from kdcore.distil.finished import Finished
from kdcore.distil.shards import join, parts_of, shard_bounds
from kdcore.distil.written import RERUN
from kdcore.errors import UserError
from kdcore.model.cost import attention_bytes
from kdcore.params import sections
from kdcore.runs import is_finished, name_of, open_run, result_here

if TYPE_CHECKING:
    from kdcore.data.examples import Examples
    from kdcore.model.encoder import Encoder


@dataclass(frozen=True)
class Maps:
    """What attention maps would take. lengths: (N,) tokens of the rows; there: bytes of maps that are made already."""

    lengths: np.ndarray
    heads: int
    there: int = 0


@dataclass(frozen=True)
class Signals:
    """The signals of a split's first rows, or of a part of them, as a run.

    rows: of the split, those of all parts; bounds: row numbers, of the shards.
    """

    data: Data
    teacher: Finished
    split: str
    rows: int
    identity: dict[str, Any]
    bounds: Sequence[int]

    @property
    def parts(self) -> list["Signals"]:
        """The runs that compute them: this one, or one for each part of many rows, which any machine may make."""
        cut = parts_of(self.bounds)
        # A part is named by its own rows: those of a part that others follow are the same, however many follow.
        own = [replace(self, identity={**self.identity, "rows": [part[0], part[-1]]}, bounds=part) for part in cut]
        return own if len(own) > 1 else [self]

    def made(self, encoder: Callable[[], "Encoder"], batch_size: int) -> Path:
        """The result of their run, made now where it is not there."""
        with open_run("targets", self.identity) as run:
            if not run.finished:
                owners = {name: self.identity[name] for name in ("data", "teacher", "rows")}
                if len(self.parts) > 1:
                    parts = [part.made(encoder, batch_size) for part in self.parts]
                    facts = {name: read_manifest(parts[0], RERUN)[name] for name in ("layers", "heads", "dtype")}
                    shards = self.bounds[1:] if self.identity["attention"] else []
                    run.finish(lambda folder: join(parts, folder), parts, **facts, shards=shards, **owners)
                else:
                    from kdcore.distil import extraction

                    first, last = self.bounds[0], self.bounds[-1]
                    examples = _examples(self.data, self.teacher, self.split, self.rows).take(np.arange(first, last))
                    bounds = [bound - first for bound in self.bounds]
                    how = (self.identity["dtype"], self.identity["attention"], batch_size, owners, bounds)
                    extraction.finish(run, encoder(), examples, *how)
            return run.result


def write_targets(
    data: Data,
    teacher: Finished,
    out: Path,
    targets: sections.Targets,
    rows: int | None,
    batch_size: int,
    mapped: Collection[int],
) -> None:
    """The signals of the first `rows` training rows and of all validation rows, in out/train and out/validation.

    mapped: the teacher layers that students map, which are stored alone where there is no room for all. Raises
    UserError where maps must be stored and the disk has no room for them.
    """
    encoder = cache(teacher.encoder)
    with new_folder(out) as aside:
        for signals in _wanted(data, teacher, targets, rows, mapped):
            link_folder(signals.made(encoder, batch_size), aside / signals.split)
        seal(aside)


def write_part(
    data: Data,
    teacher: Finished,
    targets: sections.Targets,
    rows: int | None,
    batch_size: int,
    mapped: Collection[int],
    number: int,
) -> None:
    """Of the runs that `write_targets` puts together, those of train first, the one of that number, from 1 on.

    Raises UserError as `write_targets` does, and where there are fewer.
    """
    parts = [part for signals in _wanted(data, teacher, targets, rows, mapped) for part in signals.parts]
    if number > len(parts):
        raise UserError("--part", f"must be 1 to {len(parts)}, found {number}")
    part = parts[number - 1]
    say(f"targets: part {number} of {len(parts)}, {part.split} rows {part.bounds[0] + 1:,} to {part.bounds[-1]:,}")
    if not is_finished("targets", part.identity):  # a bucket's need not come here
        part.made(teacher.encoder, batch_size)


def _wanted(
    data: Data, teacher: Finished, targets: sections.Targets, rows: int | None, mapped: Collection[int]
) -> Iterator[Signals]:
    """The signals of each split, with the layers whose maps there is room for when its turn comes."""
    every = tuple(range(1, teacher.layers + 1))
    asked = tuple(sorted(mapped))
    for split, most in (("train", rows), ("validation", None)):
        count = data.take(split, most)
        names = identities(data, teacher, split, count, targets, asked)
        lengths, heads = _found(names.values()) or _counted(data, teacher, split, count)
        bounds = shard_bounds(lengths, len(every) * heads * np.dtype(targets.dtype).itemsize)
        choices = {layers: Signals(data, teacher, split, count, what, bounds) for layers, what in names.items()}
        maps = Maps(lengths, heads, _there(choices.values()))
        yield choices[stored_layers(maps, len(every), asked, targets)]


def identities(
    data: Data, teacher: Finished, split: str, rows: int, targets: sections.Targets, mapped: Collection[int]
) -> dict[tuple[int, ...], dict[str, Any]]:
    """The signals of a split's first rows, by the layers whose maps are stored: every one, those mapped, or none."""
    what = {"data": data.fingerprint, "teacher": teacher.fingerprint, "rows": rows, "split": split}
    what |= {"dtype": targets.dtype, "threads": teacher.threads, "code": code_digest(__name__)}
    choices = (tuple(range(1, teacher.layers + 1)), tuple(sorted(mapped)), ())
    return {layers: {**what, "attention": layers} for layers in choices}


def _found(choices: Iterable[dict[str, Any]]) -> tuple[np.ndarray, int] | None:
    """The rows' lengths and the teacher's heads, as a finished run says, whichever maps it has; None without one."""
    for what in choices:
        try:
            if result := result_here("targets", what):
                heads = open_sealed(result, RERUN, ["lengths.npy"])["heads"]
                return np.load(result / "lengths.npy"), heads
        except UserError:  # it is damaged, and will be made again where it is asked for
            continue
    return None


def _there(signals: Iterable[Signals]) -> int:
    """Bytes of the maps that runs have here, finished or not; a file that two have counts once."""
    sizes: dict[int, int] = {}
    for one in signals:
        for run in (one, *one.parts):
            for file in (store() / name_of("targets", run.identity)).glob("*/attention-*.npy"):
                with suppress(FileNotFoundError):  # it is moved as its run is finished
                    sizes[file.stat().st_ino] = file.stat().st_size
    return sum(sizes.values())


def _counted(data: Data, teacher: Finished, split: str, rows: int) -> tuple[np.ndarray, int]:
    from kdcore.model.config import load_config

    return _examples(data, teacher, split, rows).lengths, load_config(teacher.folder).num_attention_heads


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
            f"disk needs {size(each * len(mapped))} for the attention maps, and {size(free)} are free; "
            "use live, or fewer rows",
        )
    which = "" if len(stored) in (0, every) else f" of layers {', '.join(map(str, stored))}, which students map,"
    needed, where = each * (len(stored) or len(mapped)), "stored" if stored else "live"
    say(f"targets: {len(maps.lengths):,} rows, attention maps{which} of {size(needed)} {where}")
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
