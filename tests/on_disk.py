"""A tiny task on disk, as the first stages of the pipeline leave it: prepared data, a teacher, its signals."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kdcore.data import prepare, tasks
from kdcore.distil import teacher as stage
from kdcore.distil.student import Recipe, Sources
from kdcore.distil.targets import write_targets
from kdcore.distil.training import Settings
from kdcore.params.sections import Data
from tests import tiny
from tests.distilling import settings

TASK = tasks.Task("tiny", ("sentence",), "label", ("bad", "good"), ("accuracy",))
SCORES = tasks.Task("tiny", ("sentence",), "label", (), ("pearson", "spearman"))
MAX_LENGTH = 24


@dataclass(frozen=True)
class Ingredients:
    """Folders that a student is made from."""

    data: Path
    teacher: Path
    targets: Path
    model: Path

    def sources(self) -> Sources:
        return Sources(self.data, self.teacher, self.targets, str(self.model), None)


def prepared(folder: Path, splits: dict[str, pd.DataFrame], task: tasks.Task = TASK) -> Path:
    """`splits` (our split name -> frame with the task's columns) as a prepared task in <folder>/data/tiny."""
    rows = folder / "rows" / task.name
    rows.mkdir(parents=True, exist_ok=True)
    for split, frame in splits.items():
        frame.to_csv(rows / f"{task.splits[split]}.csv", index=False)
    data = Data(source="local", path=str(folder / "rows"), hub="-", revision="-", columns={})
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
    """A teacher that was fine-tuned for two epochs, in <folder>/teacher; changes are arguments or settings."""
    how = {"model": str(model), "revision": None, "max_length": MAX_LENGTH, "rows": 32, "epochs": 2}
    given = {key: changes.pop(key) for key in tuple(changes) if key in how}
    stage.fine_tune(data, folder / "teacher", **(how | given), settings=loop(**changes))
    return folder / "teacher"


def signals(folder: Path, data: Path, teacher: Path, **changes: Any) -> Path:
    """The teacher's signals for the first 24 training rows, in <folder>/targets."""
    how = {"rows": 24, "keep": "disk", "dtype": "float16", "disk_gb": 1.0, "batch_size": 16}
    write_targets(data, teacher, folder / "targets", **(how | changes))
    return folder / "targets"


def recipe(method: str = "sid", **changes: Any) -> Recipe:
    """Two layers, 24 rows, one epoch per phase: nine steps of eight rows."""
    knobs = {
        "layers": 2,
        "rows": 24,
        "init": "teacher",
        "layer_map": "uniform",
        "trains": "model",
        "temperature": 1.0,
        "hard_label_weight": 0.1,
        "kl_weight": 1.0,
        "cos_weight": 1.0,
        "epochs_per_layer": 1,
        "cosine_threshold": 0.0,
        "classification_epochs": 1,
        "classification": "last",
    }
    return Recipe(method=method, **(knobs | changes))


def loop(**changes: Any) -> Settings:
    """The loop's settings as params.yaml has them by default, with a rate that shows in a few steps."""
    usual = {"learning_rate": 2e-3, "warmup": 0.1, "weight_decay": 0.01, "clip": 1.0}
    return settings(**(usual | changes))


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
