"""Epochs in; the same epochs in an experiment tracker, through accelerate's trackers. Nothing here changes a result.

A tracker's run has the name of ours, so a run that is resumed goes on in the same one. Unless a tracker's own
environment variables say otherwise, everything lies in the store, `work/tracking/<tracker>`.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import DVCLiveTracker, GeneralTracker, MLflowTracker, TensorBoardTracker, WandBTracker

from kdcore.artefacts import store
from kdcore.console import warn
from kdcore.errors import UserError

PROJECT = "kdcore"  # MLflow's experiment, Weights & Biases' project


class Tracking:
    """The trackers of one run. One that fails while the run goes on is named once, and left out from there."""

    def __init__(self, trackers: list[GeneralTracker]) -> None:
        self.trackers = trackers

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Hand the epoch's numbers to every tracker."""
        self._tell(lambda tracker: tracker.log(dict(values), step=epoch))

    def finish(self) -> None:
        self._tell(lambda tracker: tracker.finish())

    def _tell(self, call: Callable[[GeneralTracker], Any]) -> None:
        for tracker in list(self.trackers):
            try:
                call(tracker)
            except Exception as error:  # a server that is gone, a full disk: the training is worth more than its log
                warn(f"train.track: {tracker.name} fails, and is left out from here: {error}")
                self.trackers.remove(tracker)


@contextmanager
def tracking(
    names: tuple[str, ...], accelerator: Accelerator, run: str, epochs: int, facts: Mapping[str, Any]
) -> Iterator[Tracking]:
    """Hold the trackers open; of several processes the first alone has any.

    run: its name; epochs: those that are finished already; facts: the hyperparameters, said when a run begins. Raises
    UserError where a tracker can't start.
    """
    trackers: list[GeneralTracker] = []
    for name in names if accelerator.is_main_process else ():
        if find_spec(name) is None:
            raise UserError("train.track", f"{name} is not installed; `pip install 'kdcore[track]'` has it")
        try:
            tracker = _tracker(name, run, epochs)
            tracker.start()
            if not epochs:
                tracker.store_init_configuration(plain(facts))
        except Exception as error:  # whatever its library raises: it needs a login, a server, another version
            raise UserError("train.track", f"{name} can't start: {error}") from error
        trackers.append(tracker)
    held = Tracking(trackers)
    try:
        yield held
    finally:
        held.finish()


def _tracker(name: str, run: str, epochs: int) -> GeneralTracker:
    folder = store() / "tracking" / name
    folder.mkdir(parents=True, exist_ok=True)
    match name:
        case "tensorboard":  # what was logged after the checkpoint is logged again
            return TensorBoardTracker(run, folder, purge_step=epochs + 1)
        case "mlflow":
            return MLflowTracker(PROJECT, run_id=_mlflow_run(folder, run), run_name=run)
        case "wandb":
            return WandBTracker(PROJECT, id=run, name=run, resume="allow", dir=str(folder))
    quiet = {"save_dvc_exp": False, "dvcyaml": None, "report": None}  # the pipeline's own experiment goes on around it
    return DVCLiveTracker(dir=str(folder / run), resume=epochs > 0, **quiet)


def _mlflow_run(folder: Path, run: str) -> str | None:
    """The id of MLflow's run of that name, where there is one."""
    import mlflow

    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # which it wants to hear before it writes plain files
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI") or folder.resolve().as_uri())
    named = f"attributes.run_name = '{run}'"
    found = mlflow.search_runs(experiment_names=[PROJECT], filter_string=named, output_format="list")
    return found[0].info.run_id if found else None


def plain(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Hyperparameters as every tracker takes them: by dotted name; lists as text, and what is None left out."""
    values: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            values |= plain(value, f"{prefix}{name}.")
        elif value is not None:
            values[prefix + name] = value if isinstance(value, str | int | float) else str(value)
    return values
