"""Stored or live: where students get the teacher's attention maps while `targets.store` is `auto` and there is room.

A GPU may compute them faster than its machine reads them. So there both are measured, once for a task and the shape of
its teachers, and what is decided is a run of the store: whoever comes later finds it, wherever that store is shared. A
processor's maps are stored, unmeasured: docs/performance.md says why. No torch until it is measured.
"""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from kdcore.artefacts import open_sealed, store, write_json
from kdcore.console import say, warn
from kdcore.data.prepared import Data
from kdcore.distil.finished import Finished
from kdcore.distil.targets import identities, kept_layers
from kdcore.errors import UserError
from kdcore.model.cost import HEADS, SIZES, attention_bytes
from kdcore.params import sections
from kdcore.runs import is_finished, name_of, open_run, result_of

ASKED = 10  # times that a student asks for a row's maps: the epochs of one of three layers, by params.yaml's defaults
FILE = "choice.json"


@dataclass(frozen=True)
class Choice:
    """What was measured, and decided of it.

    written, read, live: seconds that the maps of one row take; asked: how often a student was taken to ask for them;
    source: what they were read from, `memory` or `disk`; device: the GPU; precision: of the live teacher; run: the name
    of the run that keeps all this.
    """

    written: float
    read: float
    live: float
    asked: int
    source: str
    device: str
    precision: str
    run: str

    @property
    def maps(self) -> str:
        """What is faster: `stored` or `live`."""
        stored, live = self.written + self.asked * self.read, self.asked * self.live
        return "stored" if stored <= live else "live"

    @property
    def facts(self) -> dict[str, Any]:
        return {"maps": self.maps, **asdict(self)}

    def applied(self, targets: sections.Targets) -> sections.Targets:
        """The section as it is obeyed: stored maps still need the room that `auto` gives them."""
        return targets.model_copy(update={"store": "live"}) if self.maps == "live" else targets

    def __str__(self) -> str:
        written, read, live = (f"{1000 * seconds:.3g} ms" for seconds in (self.written, self.read, self.live))
        return (
            f"{self.maps}, as one row's take {live} live on {self.device}, and stored {read} to read from "
            f"{self.source}, {written} to write once; decided for this task and its teachers by {self.run}"
        )


def what_for(data: str, config: Mapping[str, Any], max_length: int, dtype: str) -> dict[str, Any]:
    """The identity of a choice: of a task's data, by their fingerprint, and of the shape of its teachers.

    config: a teacher's config.json. Those of all seeds share one choice, as do students of any depth.
    """
    sizes = [next((config[key] for key in keys if key in config), None) for keys in (*SIZES, HEADS)]
    return {"data": data, "model": config.get("model_type"), "sizes": sizes, "max_length": max_length, "dtype": dtype}


def made_by(teacher: Finished, data: Data, targets: sections.Targets) -> dict[str, Any]:
    """The identity of the choice for a teacher that is there."""
    config = json.loads((teacher.folder / "config.json").read_text(encoding="utf-8"))
    return what_for(data.fingerprint, config, teacher.max_length, targets.dtype)


def known(what: dict[str, Any]) -> Choice | None:
    """What was decided before, on this machine or on another that shares the store."""
    if (result := result_of("choice", what)) is None:
        return None
    try:
        open_sealed(result, "dvc repro -f targets")
    except UserError as error:
        warn(f"what was decided of stored maps is damaged, and has to be decided again: {error}")
        return None
    facts = json.loads((result / FILE).read_text(encoding="utf-8"))
    return Choice(**{name: facts[name] for name in Choice.__dataclass_fields__})


def chosen(
    data: Data,
    teacher: Finished,
    targets: sections.Targets,
    rows: int | None,
    mapped: Collection[int],
    batch_size: int,
    train: sections.Train,
) -> Choice | None:
    """What is decided for this task and teacher, now where it was not yet; says it.

    None where there is nothing to decide: params.yaml says it, the task's maps are there, there is no room for them, or
    no GPU. mapped: the teacher layers that students map; batch_size: of the teacher's pass; train: the students', for
    the size of their batches and their precision.
    """
    if targets.store != "auto":
        return None
    what = made_by(teacher, data, targets)
    choice = known(what)
    if choice is None and not _has_maps(data, teacher, targets, rows, mapped) and on_gpu():
        choice = _measured(what, data, teacher, targets, rows, sorted(mapped), batch_size, train)
    if choice:
        say(f"targets: attention maps {choice}")
    return choice


def on_gpu() -> bool:
    from kdcore.model.encoder import device

    return device().type != "cpu"


def _has_maps(
    data: Data, teacher: Finished, targets: sections.Targets, rows: int | None, mapped: Collection[int]
) -> bool:
    """Whether maps of this teacher were stored before anything was decided: then they are used, and so are more."""
    own = {"data": data.fingerprint, "teacher": teacher.fingerprint, "dtype": targets.dtype}
    for file in store().glob("targets-*/identity.json"):
        with suppress(FileNotFoundError, ValueError):
            if own.items() <= _read(file).items() and any(file.parent.glob("*/attention-*.npy")):
                return True
    names = identities(data, teacher, "train", data.used(rows), targets, mapped)  # a bucket may have them
    return any(is_finished("targets", name) for layers, name in names.items() if layers)


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def _measured(
    what: dict[str, Any],
    data: Data,
    teacher: Finished,
    targets: sections.Targets,
    rows: int | None,
    mapped: Sequence[int],
    batch_size: int,
    train: sections.Train,
) -> Choice | None:
    """What is faster here, measured by the one process that comes first; None where there is no room to store."""
    from kdcore.data.tokens import tokenised

    examples = tokenised(data, "train", teacher.tokenizer, teacher.max_length, data.used(rows))
    each = attention_bytes(examples.lengths, 1, what["sizes"][-1], np.dtype(targets.dtype).itemsize)
    free = shutil.disk_usage(store()).free
    kept = kept_layers("auto", teacher.layers, mapped, each, free, targets.disk_gb)
    if not kept:
        return None
    with open_run("choice", what) as run:
        if not run.finished:
            from kdcore.distil.pace import Pace

            source = "memory" if each * len(kept) <= psutil.virtual_memory().available / 2 else "disk"
            place = run.folder / "partial"
            shutil.rmtree(place, ignore_errors=True)
            pace = Pace(teacher, examples, kept, mapped, targets.dtype, batch_size, train, place)
            seconds = pace.seconds(cold=source == "disk")
            choice = Choice(*seconds, ASKED, source, pace.device, train.precision, name_of("choice", what))
            run.finish(lambda folder: write_json(folder / FILE, choice.facts))
    return known(what)
