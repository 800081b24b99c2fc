"""What a tracker is told, read back by its own library; a killed run goes on in the same one; no bits change."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML

from kdcore.distil import tracking as module
from kdcore.distil.schedule import identity
from kdcore.distil.tracking import plain
from kdcore.errors import UserError
from tests import on_disk
from tests.distilling import encoder, examples, objective, phases_of, trainer, weights

EPOCHS = 3  # sid of two layers: one each, and one of classification
Read = Callable[[Path, str], tuple[list[tuple[int, float]], dict[str, str]]]  # store, run -> validation scores, params


def tensorboard(work: Path, run: str) -> tuple[list[tuple[int, float]], dict[str, str]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(work / "tracking/tensorboard" / run))
    events.Reload()
    scores = [(event.step, event.value) for event in events.Scalars("validation")]
    (said,) = (work / "tracking/tensorboard" / run).rglob("hparams.yml")
    return scores, {name: str(value) for name, value in YAML(typ="safe").load(said).items()}


def mlflow(work: Path, run: str) -> tuple[list[tuple[int, float]], dict[str, str]]:
    library = pytest.importorskip("mlflow")
    found = library.search_runs(experiment_names=["kdcore"], filter_string=f"run_name = '{run}'", output_format="list")
    (one,) = found  # also where the run was resumed
    history = library.MlflowClient().get_metric_history(one.info.run_id, "validation")
    return sorted({(metric.step, metric.value) for metric in history}), one.data.params


def dvclive(work: Path, run: str) -> tuple[list[tuple[int, float]], dict[str, str]]:
    pytest.importorskip("dvclive")
    folder = work / "tracking/dvclive" / run
    table = pd.read_csv(folder / "plots/metrics/validation.tsv", sep="\t")
    said = {name: str(value) for name, value in YAML(typ="safe").load(folder / "params.yaml").items()}
    return list(table.itertuples(index=False, name=None)), said


TRACKERS: dict[str, Read] = {"tensorboard": tensorboard, "mlflow": mlflow, "dvclive": dvclive}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store; nothing in the environment sends a tracker elsewhere, or to a network."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "WANDB_", "DVCLIVE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("KDCORE_WORK", str(tmp_path / "work"))
    return tmp_path / "work"


def loop(folder: Path, validation: Sequence[float] = (0.5, 0.625, 0.75), **knobs: Any) -> Any:
    """A loop with these scores, one per epoch; StopIteration where there is none."""
    scores = iter(validation)
    what = objective("sid", encoder(seed=1))
    found = examples(rows=16)
    return trainer(encoder(layers=2), found, phases_of("sid"), what, folder, lambda _: next(scores), **knobs)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_is_told_every_epoch_and_the_knobs(work: Path, tmp_path: Path, name: str):
    loop(tmp_path / "student-1", track=[name]).train()
    scores, said = TRACKERS[name](work, "student-1")
    assert scores == [(1, 0.5), (2, 0.625), (3, 0.75)]
    assert said["method"] == "sid"
    assert float(said["train.learning_rate"]) == 0.1


@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_that_is_stopped_goes_on_in_the_same_one(work: Path, tmp_path: Path, name: str):
    with pytest.raises(StopIteration):  # in its second epoch, some steps of which are in a checkpoint
        loop(tmp_path / "student-1", [0.5], track=[name], checkpoint_seconds=0.0).train()
    loop(tmp_path / "student-1", [0.625, 0.75], track=[name]).train()
    scores, said = TRACKERS[name](work, "student-1")
    assert scores == [(1, 0.5), (2, 0.625), (3, 0.75)]
    assert said["method"] == "sid"


def test_weights_and_biases_has_the_run_by_its_name(work: Path, tmp_path: Path):
    """Without a network: what it will send lies in a folder with the run's name, from which it goes on in one run."""
    pytest.importorskip("wandb")
    loop(tmp_path / "student-1", track=["wandb"]).train()
    (folder,) = (work / "tracking/wandb/wandb").glob("offline-run-*-student-1")
    assert [file.name for file in folder.glob("*.wandb")] == ["run-student-1.wandb"]


def test_tracking_changes_no_bit_and_no_runs_name(work: Path, tmp_path: Path):
    plainly = loop(tmp_path / "plain")
    history = plainly.train().history
    tracked = loop(tmp_path / "tracked", track=["tensorboard", "mlflow", "dvclive"])
    assert tracked.train().history == history
    pairs = zip(weights(plainly.encoder).values(), weights(tracked.encoder).values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    names = [identity(run.settings, 0, phases_of("sid")) for run in (plainly, tracked)]
    assert names[0] == names[1]


def test_a_tracker_that_is_not_installed_is_named_with_the_extra(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"train\.track: mlflow is not installed; `pip install 'kdcore\[track\]'`"):
        loop(tmp_path / "student-1", track=["mlflow"]).train()


def test_a_tracker_that_can_not_start_is_named(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at.all")
    with pytest.raises(UserError, match=r"train\.track: mlflow can't start: .*nowhere"):
        loop(tmp_path / "student-1", track=["mlflow"]).train()


def test_a_tracker_that_fails_on_the_way_is_left_out_and_training_goes_on(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("the server is gone")

    monkeypatch.setattr(module.TensorBoardTracker, "log", broken)
    record = loop(tmp_path / "student-1", track=["tensorboard"]).train()
    assert len(record.history) == EPOCHS
    assert capsys.readouterr().err.count("tensorboard fails, and is left out from here: the server is gone") == 1


def test_the_knobs_of_a_student_are_told(work: Path, tiny_ingredients: on_disk.Ingredients):
    folder = on_disk.distilled(tiny_ingredients, "sid", track=["dvclive"])
    _, said = dvclive(work, folder.resolve().parent.name)
    assert (said["task"], said["layers"], said["weights.kl"], said["train.batch_size"]) == ("tiny", "2", "1.0", "8")


def test_knobs_are_flat_and_of_simple_kinds():
    facts = {"method": "sid", "rows": None, "mapped": (2, 4), "weights": {"kl": 1.0}, "exact": True}
    assert plain(facts) == {"method": "sid", "mapped": "(2, 4)", "weights.kl": 1.0, "exact": True}
