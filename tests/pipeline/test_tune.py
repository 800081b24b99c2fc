"""Tuning on a tiny model: it picks the better rate, on training rows alone, and the same one again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kdcore.data.prepared import Data
from tests.pipeline.conftest import TASK, Project

RATES = [1e-6, 3e-3]  # the first teaches nothing in a dozen steps
TUNING = {
    "train.learning_rate": 2e-6,  # untuned, which teaches as little
    "distill.classification_epochs": 3,
    "study.tune.methods": ["none", "sid"],
    "study.tune.seeds": [7, 8],
    "study.tune.knobs": {"train": {"learning_rate": RATES}},
}


@pytest.fixture(scope="module")
def tuned(new_project: Callable[..., Project]) -> Project:
    """A project in which tuning is all that ran."""
    project = new_project(TUNING)
    project.run("dvc", "repro", "stages/dvc.yaml:tune", warm=True)
    return project


def files(project: Project) -> dict[str, bytes]:
    """What tuning leaves, less the students' seconds."""
    folder = project.root / "metrics/tune"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.suffix != ".json"}


def test_it_writes_the_better_rate_of_each_method_as_the_options_that_apply_it(tuned: Project):
    choice = (tuned.root / "metrics/tune/choice.txt").read_text()
    assert choice == (
        f"-S ++task.{TASK}.methods.none.train.learning_rate=0.003\n"
        f"-S ++task.{TASK}.methods.sid.train.learning_rate=0.003\n"
    )
    rows = pd.read_csv(tuned.root / "metrics/tune/table.csv")
    untuned = rows[rows["settings"] == "untuned"].set_index("method")["learning_rate"]
    assert untuned.to_dict() == dict.fromkeys(("none", "sid"), tuned.params()["train"]["learning_rate"])
    table = rows.set_index(["method", "learning_rate"])["accuracy"]
    for method in ("none", "sid"):
        assert table[method, 3e-3] > table[method, 1e-6]
    assert "## Untuned and chosen" in (tuned.root / "metrics/tune/table.md").read_text()


def test_students_and_their_teacher_learn_and_score_on_training_rows_alone(tuned: Project):
    whole, inner = Data.open(tuned.root / f"data/{TASK}"), Data.open(tuned.root / f"runs/tune/data/{TASK}")
    train, held = (set(inner.frame(split)["row"]) for split in ("train", "validation"))
    assert (train | held, train & held) == (set(whole.frame("train")["row"]), set())
    assert len(held) == round(0.2 * len(train | held))
    assert not (tuned.root / "runs/teacher").exists()
    assert not (tuned.root / "metrics/main").exists()


def test_it_is_done_again_from_the_store_with_the_same_result(tuned: Project, tmp_path: Path):
    again = tuned.copy(tmp_path)
    before = files(again)
    shutil.rmtree(again.root / "metrics/tune")
    shutil.rmtree(again.root / "runs/tune")
    said = again.run("dvc", "repro", "stages/dvc.yaml:tune", warm=True).stdout
    assert files(again) == before
    assert "tune: tiny, sid: student 6 of 6" in said
    assert "epoch 1" not in said  # nothing was trained
