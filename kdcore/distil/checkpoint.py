"""Checkpoints of the loop: where it is, what it has seen, weights, optimizer moments and random states; and when."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

from kdcore import interrupt
from kdcore.artefacts import write_json
from kdcore.console import say, warn
from kdcore.model.encoder import Encoder
from kdcore.model.words import OccurringWords
from kdcore.runs import Run

SHARE = 0.03  # of the time may go into writing them, at most
MANY = 10  # steps after which GPUs that train together ask each other whether to save: they wait for the answer


@dataclass
class Position:
    """Where the loop is: the next batch of an epoch of a phase; `epochs` counts those finished in all."""

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    epochs: int = 0


@dataclass
class Record:
    """What the loop has seen: finished epochs, and this process's sums of the one in progress.

    selected: the epoch whose weights are kept because it scored best; None where the last epoch's are.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    gflop: float = 0.0
    seconds: float = 0.0
    selected: int | None = None


@dataclass
class Best:
    """The epoch that scored best so far, the first of equals, and its weights.

    kept: of the words that do not occur, as OccurringWords has it.
    """

    epoch: int | None = None
    score: float = -math.inf
    kept: float = 1.0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, epoch: int, score: float, encoder: Encoder, words: OccurringWords) -> None:
        """Take the weights as they are now, where no epoch before scored as high."""
        if score > self.score:
            self.epoch, self.score, self.kept = epoch, score, words.kept
            self.weights = {name: value.detach().cpu().clone() for name, value in encoder.state_dict().items()}

    def put_back(self, encoder: Encoder, words: OccurringWords) -> None:
        encoder.load_state_dict(self.weights)
        words.kept = self.kept


class Checkpoints:
    """The checkpoints of one run of the loop, written every `patience` seconds; 0 is after every step."""

    def __init__(
        self,
        run: Run,
        accelerator: Accelerator,
        encoder: Encoder,
        optimizer: Any,
        words: OccurringWords,
        best: Best,
        patience: float,
    ) -> None:
        self.run, self.accelerator, self.best, self.patience = run, accelerator, best, patience
        self.encoder, self.optimizer, self.words = encoder, optimizer, words
        self.saved_at, self.saving = time.monotonic(), 0.0  # when the last one was written, and for how long
        self.many = MANY if accelerator.num_processes > 1 and accelerator.device.type != "cpu" else 1

    def save_if_due(self, position: Position, read: Callable[[], Record]) -> None:
        """Save when the time has come. Raises, after saving, what stops the run: Interrupted where SIGTERM or Ctrl-C
        asked for it, LeaseLostError where another process has taken it over.

        read: gives the record up to here; it raises where training has diverged, and nothing is saved.
        """
        if position.batch and position.step % self.many:  # the same steps for all; and where an epoch is finished
            return
        signum, lost = interrupt.requested(), int(self.run.lost)
        # Where writing one takes long, they come less often.
        patience = max(self.patience, self.saving / SHARE) if self.patience else 0.0
        due = int(time.monotonic() - self.saved_at >= patience)
        if self.accelerator.num_processes > 1:  # all of them save at the same step, or none
            wishes = torch.tensor([[signum, due, lost]], device=self.accelerator.device)
            signum, due, lost = self.accelerator.gather(wishes).amax(0).tolist()
        if due or signum or lost:
            self._save(position, read())
        if lost:
            raise self.run.stopped()
        if signum:
            raise interrupt.Interrupted(signum)

    def _save(self, position: Position, record: Record) -> None:
        started = time.monotonic()
        random, sums = random_states(self.accelerator), of_all(record.sums, self.accelerator)
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            best = self.best
            state = {
                "position": asdict(position),
                "record": {**asdict(record), "sums": sums},
                "kept": self.words.kept,
                "best": None if best.epoch is None else [best.epoch, best.score, best.kept],
                "scaler": scaler.state_dict() if scaler else None,
            }
            values = {**tensors(self.encoder, self.optimizer), "random": random}
            values |= {f"best.{name}": v for name, v in best.weights.items()}
            self.run.save(position.step, lambda folder: write(folder, values, state))
        self.accelerator.wait_for_everyone()
        self.saved_at = time.monotonic()
        self.saving = self.saved_at - started

    def restore(self) -> tuple[Position, Record, bool]:
        """Put the newest one back, where there is one; returns whether dropout goes on as it would have, too."""
        checkpoint = self.run.restore()
        if checkpoint is None:
            return Position(), Record(), True
        values, state = read(checkpoint)
        load(values, self.encoder, self.optimizer)
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.words.kept = state["kept"]
        if state["best"]:
            self.best.epoch, self.best.score, self.best.kept = state["best"]
            self.best.weights = {k.removeprefix("best."): v for k, v in values.items() if k.startswith("best.")}
        position, record = Position(**state["position"]), Record(**state["record"])
        if not self.accelerator.is_main_process:  # the sums are of all processes, and are added up again
            record.sums = dict.fromkeys(record.sums, 0.0)
        name = self.run.folder.name
        say(f"{name}: goes on at epoch {position.epochs + 1}, step {position.step}")
        same = set_random_states(self.accelerator, values["random"])
        if not same:
            began, go_on = len(values["random"]), self.accelerator.num_processes
            warn(f"{name}: begun by {began} processes, goes on in {go_on}: dropout is drawn anew from here")
        return position, record, same


def write(folder: Path, values: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint's tensors and its state, anything that JSON has, into a folder."""
    save_file(values, folder / "tensors.safetensors")
    write_json(folder / "state.json", state)


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write` wrote."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return load_file(folder / "tensors.safetensors"), state


def of_all(sums: Mapping[str, float], accelerator: Accelerator) -> dict[str, float]:
    """The sums of all processes."""
    local = torch.tensor(list(sums.values()), dtype=torch.float64)
    everyones = accelerator.reduce(local.to(accelerator.device), "sum")
    return dict(zip(sums, everyones.tolist(), strict=True))


def tensors(encoder: Encoder, optimizer: Any) -> dict[str, Tensor]:
    """Weights and optimizer moments by parameter name."""
    values = {f"model.{name}": value.contiguous() for name, value in encoder.state_dict().items()}
    for name, parameter in encoder.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            values[f"optimizer.{slot}.{name}"] = value
    return values


def load(values: Mapping[str, Tensor], encoder: Encoder, optimizer: Any) -> None:
    """Put back what `tensors` took."""
    encoder.load_state_dict({k.removeprefix("model."): v for k, v in values.items() if k.startswith("model.")})
    parameters = dict(encoder.named_parameters())
    for key, value in values.items():
        if key.startswith("optimizer."):
            _, slot, name = key.split(".", 2)
            parameter = parameters[name]
            optimizer.state[parameter][slot] = value.to(parameter.device)


def random_states(accelerator: Accelerator) -> Tensor:
    """(processes, bytes): the generator that dropout draws from, of every process."""
    device = accelerator.device
    state = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
    return accelerator.gather(state.to(device)[None]).cpu()


def set_random_states(accelerator: Accelerator, states: Tensor) -> bool:
    """Put this process's generator back; False where the states are those of another number of processes."""
    if len(states) != accelerator.num_processes:
        return False
    state = states[accelerator.process_index].clone()  # torch reads a view of it from the wrong place
    if accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(state, accelerator.device)
    else:
        torch.set_rng_state(state)
    return True
