"""A tiny task on disk, as the first stages of the pipeline leave it: prepared data, a teacher, its signals."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kdcore.artefacts import link_folder
from kdcore.data import prepare, tasks
from kdcore.data.prepared import Data
from kdcore.distil import teacher as stage
from kdcore.distil.finished import Finished
from kdcore.distil.student import Recipe, distil
from kdcore.distil.targets import write_targets
from kdcore.distil.written import Targets
from kdcore.params import sections
from tests import tiny
from tests.distilling import distill, train

TASK = tasks.Task("tiny", ("sentence",), "label", ("bad", "good"), ("accuracy",))
SCORES = tasks.Task("tiny", ("sentence",), "label", (), ("pearson", "spearman"))
MAX_LENGTH = 24


@dataclass(frozen=True)
class Ingredients:
    """Folders that a student is made from, and the name of the pre-trained encoder."""

    data: Path
    teacher: Path
    targets: Path
    model: Path

    @property
    def places(self) -> tuple[Path, Path, Path]:
        """What a command is given that makes a student: the data, and the folders of all teachers and their signals."""
        return self.data, self.teacher.parent, self.targets.parent

    def opened(self) -> dict[str, Any]:
        """What a recipe takes of them."""
        data, teacher = Data.open(self.data), opened(self.teacher)
        targets = Targets.open(self.targets, data, teacher)
        return {"data": data, "teacher": teacher, "targets": targets, "model": pretrained(self.model)}


def prepared(folder: Path, splits: dict[str, pd.DataFrame], task: tasks.Task = TASK) -> Path:
    """`splits` (our split name -> frame with the task's columns) as a prepared task in <folder>/data/tiny."""
    rows = folder / "rows" / task.name
    rows.mkdir(parents=True, exist_ok=True)
    for split, frame in splits.items():
        frame.to_csv(rows / f"{task.splits[split]}.csv", index=False)
    data = sections.Data(path=str(folder / "rows"))
    prepare.prepare(task, data, folder / "data" / task.name)
    return folder / "data" / task.name


def rows(task: tasks.Task = TASK, train: int = 48, validation: int = 24) -> dict[str, pd.DataFrame]:
    """Labelled tiny texts for both splits, labels by name (numbers for a regression)."""
    frames = {"train": tiny.texts(train, seed=1), "validation": tiny.texts(validation, seed=2)}
    if task.regression:
        return {split: frame.astype({"label": "float64"}) for split, frame in frames.items()}
    return {
        split: frame.assign(label=frame["label"].map(dict(enumerate(task.labels)))) for split, frame in frames.items()
    }


def fine_tuned(folder: Path, data: Path, model: Path, **changes: Any) -> Path:
    """A teacher of two epochs, in <folder>/teacher/s0; changes are knobs of `teacher` or `train`."""
    own = teacher(**{key: changes.pop(key) for key in tuple(changes) if key in sections.Teacher.model_fields})
    made = stage.fine_tune(Data.open(data), pretrained(model), own, loop(**changes), own.seeds[0])
    link_folder(made.folder, folder / "teacher/s0")
    return folder / "teacher/s0"


def teacher(**changes: Any) -> sections.Teacher:
    """The section `teacher`: two epochs of four steps of eight rows."""
    usual = {"finetuned": None, "revision": None, "rows": 32, "epochs": 2, "learning_rate": 2e-3, "seeds": [0]}
    return sections.Teacher.model_validate(usual | {"batch_size": 8, "floor": None} | changes)


def pretrained(model: Path | str, max_length: int = MAX_LENGTH) -> sections.Model:
    return sections.Model(name=str(model), max_length=max_length)


def opened(teacher: Path) -> Finished:
    return Finished.open(teacher, "dvc repro -f teacher")


def signals(
    folder: Path,
    data: Path,
    teacher: Path,
    rows: int | None = 24,
    mapped: tuple[int, ...] | None = None,
    **changes: Any,
) -> Path:
    """The teacher's signals for the first training rows, in <folder>/targets/s0.

    mapped: the layers that students map, None for all; changes are knobs of `targets`.
    """
    how = {"store": "disk", "dtype": "float16", "disk_gb": 1.0}
    targets = sections.Targets.model_validate(how | changes)
    made = opened(teacher)
    every = range(1, made.layers + 1)
    write_targets(Data.open(data), made, folder / "targets/s0", targets, rows, 16, mapped or every)
    return folder / "targets/s0"


def loop(**changes: Any) -> sections.Train:
    """The section `train` as params.yaml has it by default, with a rate that shows in a few steps."""
    usual = {"learning_rate": 2e-3, "warmup": 0.1, "weight_decay": 0.01, "clip": 1.0}
    return train(**(usual | changes))


def student(**changes: Any) -> sections.Student:
    """The section `student`: two layers, 24 rows."""
    usual = {"layers": 2, "rows": 24, "init": "teacher", "head": "new", "layer_map": "uniform"}
    return sections.Student.model_validate(usual | changes)


def arguments(method: str = "sid", **changes: Any) -> dict[str, Any]:
    """Those of a recipe that are knobs: nine steps of eight rows. changes: the seed and any knob of any section."""
    given: dict[str, Any] = {"method": method, "seed": changes.pop("seed", 0)}
    for name, section, make in (
        ("student", sections.Student, student),
        ("distill", sections.Distill, distill),
        ("train", sections.Train, loop),
    ):
        given[name] = make(**{key: changes.pop(key) for key in tuple(changes) if key in section.model_fields})
    assert not changes, f"no such knobs: {changes}"
    return given


def distilled(made: Ingredients, method: str = "sid", **changes: Any) -> Path:
    """The folder of a student, trained now or found in the store."""
    return distil(Recipe(**arguments(method, **changes), **made.opened())).folder


def ingredients(
    folder: Path, model: Path, adapt: Callable[[dict[str, pd.DataFrame]], None] | None = None
) -> Ingredients:
    """Data, teacher and signals in `folder`; `adapt` may change the raw rows first."""
    raw = rows()
    if adapt:
        adapt(raw)
    data = prepared(folder, raw)
    teacher = fine_tuned(folder, data, model)
    return Ingredients(data, teacher, signals(folder, data, teacher), model)
