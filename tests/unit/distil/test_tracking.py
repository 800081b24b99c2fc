"""What a tracker is told, read back by its own library; a killed run goes on in the same one; no bits change."""

import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
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


def wandb(work: Path, run: str) -> tuple[list[tuple[int, float]], dict[str, str]]:
    """Of all that lies there to be sent, each start of the run in a folder of its own, as no network was asked."""
    # A run's file is whole when its service has ended: a run's finish does not wait for that.
    pytest.importorskip("wandb").teardown()
    # The second of two starts within a second has a number after the run's name.
    files = sorted(work.glob(f"tracking/wandb/wandb/offline-run-*-{run}*/*.wandb"))
    found = list(chain.from_iterable(map(_records, files)))
    assert {record.run.run_id for record in found if record.HasField("run")} == {run}
    rows = [_values(record.history.item) for record in found if record.HasField("history")]
    said = [_values(part.update) for record in found for part in (record.run.config, record.config)]
    knobs = {name: str(value) for one in said for name, value in one.items()}
    return [(row["_step"], row["validation"]) for row in rows], knobs


def _records(file: Path) -> Iterator[Any]:
    """Weights & Biases' own messages: seven bytes, and then LevelDB's log format, blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = file.read_bytes(), 7, b""
    while at < len(content):
        if (left := 2**15 - at % 2**15) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<4xHB", content, at)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole of a message, or its last part
            yield Record.FromString(whole)
            whole = b""


def _values(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


TRACKERS: dict[str, Read] = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb, "dvclive": dvclive}


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


@pytest.mark.parametrize("moment", ["log", "finish"])
def test_a_tracker_that_fails_on_the_way_is_left_out_and_training_goes_on(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moment: str
):
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("the server is gone")

    monkeypatch.setattr(module.TensorBoardTracker, moment, broken)
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
