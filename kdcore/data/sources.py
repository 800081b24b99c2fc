"""The raw rows of one task, from the embedded data, a hub or local files, with the facts of their origin."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdcore.console import say
from kdcore.data import checks, hub, movies, tables
from kdcore.data.cells import File
from kdcore.data.formats import ENDINGS, READERS, parted
from kdcore.data.order import digests, nested
from kdcore.data.tables import Raw, Table
from kdcore.data.tasks import GLUE, LAYOUTS, NEEDED, SPLITS, Task
from kdcore.errors import UserError, shown

if TYPE_CHECKING:
    from kdcore.params.sections import Data

GLUE_LICENCE = "GLUE: every task has its own authors' terms; see the card of nyu-mll/glue"
OWN_LICENCE = "the user's own data; kdcore does not know the licence"
# Our names for a split -> what others call it.
ALSO = {
    "validation": ("dev", "valid", "val", "eval"),
    "validation_matched": ("dev_matched",),
    "validation_mismatched": ("dev_mismatched",),
}


def read(task: Task, data: Data) -> Raw:
    """The raw rows of a task from data.source; raises UserError with every problem of every split."""
    if data.source == "embedded":
        return movies.read()
    columns, names = _columns(task, data), split_names(task, data)
    needed = NEEDED if data.validation_share is None else ("train",)
    if taken := [split for split in needed if split not in names]:
        raise UserError("data.splits", [f"must name {split} too: its own name stands for another" for split in taken])
    raw = (
        hub.read(task, data, columns, names, needed)
        if data.source == "hub"
        else local(task, data, columns, names, needed)
    )
    if "validation" not in raw.tables and data.validation_share is not None:
        raw = with_validation(task, raw, data.validation_share)
    licence = GLUE_LICENCE if task.name in GLUE else OWN_LICENCE
    return replace(raw, origin={**raw.origin, "columns": columns, "licence": licence})


def check_name(task: Task) -> None:
    """Raises UserError for a name that would lead out of the folder where tasks lie."""
    if not re.fullmatch(r"[a-z0-9_][a-z0-9_-]*", task.name):
        raise UserError("tasks", f"must be a plain name of a-z 0-9 _ -, found {shown(task.name)}")


def _columns(task: Task, data: Data) -> dict[str, str]:
    return {column: data.columns.get(column, column) for column in task.columns}


def split_names(task: Task, data: Data) -> dict[str, tuple[str, ...]]:
    """Our split -> the names that it may have in the source, the first of them in messages.

    Where data.splits names one, only that one counts, and it is no other split's.
    """
    taken = data.splits.values()
    free = {split: name for split, name in task.splits.items() if split not in data.splits and name not in taken}
    names = {split: (name,) for split, name in data.splits.items()} | {
        split: tuple(alias for alias in (name, *ALSO.get(name, ())) if alias not in taken)
        for split, name in free.items()
    }
    return {split: names[split] for split in SPLITS if split in names}


def with_validation(task: Task, raw: Raw, share: float) -> Raw:
    """A share of the train rows that can be scored as validation: stratified by label, chosen by the sha256 of their
    texts."""
    train, stratum = raw.tables["train"], _stratum(task)
    strata, known, texts = list[str | None](), list[bool](), bytearray()
    for block in train.blocks():
        own = [*map(stratum, block.columns[task.label])]
        scored = [task.by_teacher or one is not None for one in own]
        pairs = zip(*(block.columns[name] for name in task.text), strict=True)
        texts += digests("\t".join(map(str, pair)) for pair in compress(pairs, scored))
        strata += compress(own, scored)
        known += scored
    order = np.flatnonzero(known)[nested(strata, texts)]
    held = np.zeros(train.count, bool)
    held[order[: max(1, round(share * len(order)))]] = True
    which = "train rows" if task.by_teacher else "labelled train rows"
    rule = f"{share} of the {which}, stratified by label, in the order of their texts' sha256"
    splits = {"train": train.take(~held), "validation": replace(train.take(held), cut=0)}
    return replace(
        raw,
        tables=splits | {k: v for k, v in raw.tables.items() if k != "train"},
        origin={**raw.origin, "validation": rule},
    )


def _stratum(task: Task) -> Callable[[Any], str | None]:
    """Raw label -> its class, however it is written, or that it is a number; None where there is none.

    What is wrong is refused later.
    """
    parse = checks.class_id(task.labels)

    def named(label: Any) -> str | None:
        if checks.absent(label) or task.regression:
            return None if checks.absent(label) else "number"
        try:
            known = parse(label)
        except ValueError:
            return str(label)
        return None if known is None else task.labels[known]

    return named


# Local files


def local(
    task: Task,
    data: Data,
    columns: Mapping[str, str],
    splits: Mapping[str, Sequence[str]],
    needed: Collection[str],
) -> Raw:
    """<data.path>/<task>/: a file, or shards, of any format per split; `save_to_disk`'s folders; GLUE's own zip."""
    folder = Path(data.path) / task.name
    place = _place(task, folder)
    if not place.is_dir():
        tracked = "; a clone and a queued experiment have only what `git add` or `dvc add` tracks"
        raise UserError(str(folder), f"no such folder; it must hold {_expected(task)} (data.source: local){tracked}")

    by_ids = _by_ids(task, data, place, splits["train"], columns)

    def table(split: str, names: Sequence[str]) -> Table | None:
        if files := _files(place, names):
            return _table(task, files, columns, task.optional(split))
        if split in by_ids:
            return by_ids[split]
        files = _source(task, data, place, split, names)
        return _table(task, files, columns, task.optional(split)) if files else None

    found = tables.by_split(
        str(folder), splits, needed, table, lambda: (file.name for file in place.iterdir()), tuple(READERS)
    )
    facts = {split: {"file": f"{task.name}/{one.file}", "sha256": one.sha256} for split, one in found.items()}
    by = {"validation": f"the pairs of {LAYOUTS[task.name].held_out}"} if by_ids else {}
    return Raw(found, str(folder), {"source": "local", "files": facts, **by})


def _table(task: Task, files: Sequence[File], columns: Mapping[str, str], optional: Collection[str]) -> Table:
    try:
        return tables.read(files, columns, optional, layout=LAYOUTS.get(task.name))
    except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:  # RuntimeError: it has a password
        raise UserError(files[0].name, f"cannot be read from its zip: {error}") from error


def _expected(task: Task) -> str:
    return " and ".join(f"{task.splits[split]}.{{{','.join(READERS)}}}" for split in NEEDED)


def _place(task: Task, folder: Path) -> Any:
    """Where the files are: the task's folder, or in it or beside it the folder or the zip of GLUE that holds them."""
    layout = LAYOUTS.get(task.name)
    if layout is None or any(_files(folder, (name,)) for name in ("train", task.splits["validation"])):
        return folder
    for around in (folder, folder.parent):
        if (around / layout.folder).is_dir():
            return around / layout.folder
        if zips := sorted(around.glob(f"{layout.folder}*.zip")):
            return _inside(zips, layout.folder)
    return folder


def _inside(zips: Sequence[Path], folder: str) -> zipfile.Path:
    first = zips[0]
    if len(zips) > 1:
        raise UserError(str(first.parent), f"must be one zip, found {' and '.join(path.name for path in zips)}")
    try:
        inside = zipfile.Path(first, f"{folder}/")
        return inside if inside.exists() else zipfile.Path(first)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(str(first.parent), f"{first.name}: is not a readable zip: {error}") from error


def _files(folder: Any, names: Sequence[str]) -> list[File]:
    """The files of one split, in order. Raises UserError where there are two sets of them, or a shard is missing."""
    sets = [
        files
        for name in names
        for files in (*([file] for file in _single(folder, name)), _shards(folder, name), _parts(folder, name))
        if files
    ]
    if len(sets) > 1:
        raise UserError(names[0], f"must be one file, found {' and '.join(files[0].name for files in sets)}")
    return sets[0] if sets else []


def _source(task: Task, data: Data, place: Any, split: str, names: Sequence[str]) -> list[File]:
    """The .txt file of a split, where GLUE made its own files from such ones."""
    layout = LAYOUTS.get(task.name)
    if layout is None or not layout.source:
        return []
    own = layout.source.get(split, names[0])
    known = (*names, *([own] if own not in data.splits.values() else []))
    return [file for name in known for file in _single(place, name, ("txt",))][:1]


def _by_ids(task: Task, data: Data, place: Any, names: Sequence[str], columns: Mapping[str, str]) -> dict[str, Table]:
    """MRPC's train and validation as GLUE made them of one file: dev_ids.tsv lists the pairs that validate."""
    layout = LAYOUTS.get(task.name)
    if layout is None or not layout.held_out or not (place / layout.held_out).is_file():
        return {}
    if (
        set(NEEDED) & set(data.splits)
        or _files(place, names)
        or not (files := _source(task, data, place, "train", names))
    ):
        return {}
    ids = {name: name for name in layout.ids}
    whole = _table(task, files, {**columns, **ids}, ())
    listed = tables.read([place / layout.held_out], ids, layout=replace(layout, bare=layout.ids))
    rows, pairs = ([*table.frame[list(ids)].itertuples(index=False, name=None)] for table in (whole, listed))
    chosen, own = set(pairs), _table(task, files, columns, ())
    if listed.cut or not chosen <= set(rows):
        lost = min(chosen - set(rows), default="a row of one id")
        problem = f"must list pairs of {' and '.join(ids)} of {whole.file}, found {shown(lost)}"
        raise UserError(str(place / layout.held_out), problem)
    held = np.array([pair in chosen for pair in rows], bool)
    say(f"{task.name}: {held.sum():,} of the rows in {whole.file} validate, as {layout.held_out} says")
    return {"train": own.take(~held), "validation": replace(own.take(held), cut=0)}


def _single(folder: Any, name: str, kinds: Iterable[str] = ENDINGS) -> list[File]:
    return [file for kind in kinds if (file := folder / f"{name}.{kind}").is_file()]


def _shards(folder: Any, name: str) -> list[File]:
    """<name>-00000-of-00002.<format> and its like, here or in the folder data/, as on the hub."""
    places = [place for place in (folder, folder / "data") if place.is_dir()]
    endings = "|".join(map(re.escape, ENDINGS))
    # Older versions of `datasets` put a hash before the ending.
    pattern = re.compile(rf"{re.escape(name)}-(\d{{5}})-of-(\d{{5}})(?:-[0-9a-f]{{16}})?\.({endings})")
    files = sorted(
        (file for place in places for file in place.iterdir() if pattern.fullmatch(file.name)),
        key=lambda file: file.name,
    )
    if files:
        found = [pattern.fullmatch(file.name).groups() for file in files]  # type: ignore[union-attr]
        _, of, kind = found[0]
        wanted = [(f"{i:05d}", of, kind) for i in range(int(of))]
        if found != wanted:
            missing = [f"{name}-{i}-of-{of}.{kind}" for i, *rest in wanted if (i, *rest) not in found]
            problem = f"{missing[0]} is missing" if missing else f"{len(files)} files, must be {len(wanted)}"
            raise UserError(name, f"the shards must be all of one set: {problem}")
    return files


def _parts(folder: Any, name: str) -> list[File]:
    """A split's files in a folder of its own: all in their names' order, or those of `save_to_disk` of `datasets`.

    What `save_to_disk` wrote has a state.json, which names its files. Of one data set, without splits, it is in the
    task's folder itself, and is taken for train.
    """
    for place in (folder / name, *([folder] if name == "train" else [])):
        if (place / "state.json").is_file():
            return _saved(place)
    files = (folder / name).iterdir() if (folder / name).is_dir() else ()
    own = [file for file in files if parted(file.name)[1]]
    if len({parted(file.name)[1] for file in own}) > 1:
        raise UserError(f"{name}/", f"must hold files of one format, found {shown(sorted(file.name for file in own))}")
    return sorted(own, key=lambda file: file.name)


def _saved(place: Any) -> list[File]:
    file = f"{place.name}/state.json"
    try:
        state = json.loads((place / "state.json").read_bytes())
        names = [str(part["filename"]) for part in state["_data_files"]]
        chosen = state.get("_indices_data_files") or state.get("_indices_files")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(file, f"does not name the files of `save_to_disk`: {error!r}") from error
    if wrong := [part for part in names if not re.fullmatch(r"[\w-][\w.-]*\.arrow", part)]:
        raise UserError(file, f"must name arrow files beside it, found {shown(wrong[0])}")
    if chosen:
        raise UserError(
            file,
            "is of an old version of `datasets`, which saved a choice of rows apart from them; "
            "load it, and save it again after flatten_indices()",
        )
    return [place / part for part in names]
