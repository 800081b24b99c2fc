"""The loop: phases, epochs, optimizer steps and checkpoints. The teacher and every student train here."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from kdcore import interrupt
from kdcore.console import Update, progress, say, warn
from kdcore.data.batches import Batch, collate, shuffled
from kdcore.data.examples import Examples
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase, learning_rate
from kdcore.distil.state import Position, Record, load, random_states, set_random_states, tensors
from kdcore.errors import UserError
from kdcore.model.cost import training_flops
from kdcore.model.encoder import Encoder, device
from kdcore.model.words import OccurringWords
from kdcore.runs import Run

CHECKPOINTS = 0.03  # of the time may go into writing them, at most


@dataclass(frozen=True)
class Settings:
    """What the loop is told, as in `train:` of params.yaml, with the run's own rate and seed."""

    batch_size: int
    accumulate: int
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    clip: float
    precision: str
    threads: int
    checkpoint_seconds: float
    history_rows: int
    seed: int

    def identity(self) -> dict[str, Any]:
        """What determines the result: everything but how often a checkpoint is written."""
        return {key: value for key, value in asdict(self).items() if key != "checkpoint_seconds"}


class Trainer:
    """One run of the loop over `examples`, resumed from the run's newest checkpoint where there is one."""

    def __init__(
        self,
        encoder: Encoder,
        examples: Examples,
        phases: tuple[Phase, ...],
        objective: Objective,
        settings: Settings,
        run: Run,
        validate: Callable[[Encoder], float],
    ) -> None:
        self.encoder, self.examples, self.phases = encoder, examples, phases
        self.objective, self.settings, self.run, self.validate = objective, settings, run, validate
        self.accelerator = Accelerator(
            cpu=device().type == "cpu",  # not Apple's GPU, which has no float64
            mixed_precision=settings.precision,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
        )
        torch.set_num_threads(settings.threads)
        self._seed(0)
        self.words = OccurringWords(encoder, np.append(examples.tokens, examples.pad))
        optimizer = adamw(encoder, settings.learning_rate, settings.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(encoder, optimizer)
        self.position, self.record = Position(), Record()
        self.saved_at, self.saving = time.monotonic(), 0.0  # when the last checkpoint was written, and for how long

    def _seed(self, step: int) -> None:
        torch.manual_seed(self.settings.seed + 1_000_003 * self.accelerator.process_index + step)

    def train(self) -> Record:
        """Run what is left. Raises UserError where a loss is not finite, Interrupted on SIGTERM or Ctrl-C."""
        self._restore()
        started = time.monotonic() - self.record.seconds
        with interrupt.listening(), progress(self.run.folder.name, self._rows_in_all(), self._rows_done()) as update:
            for phase in self.phases[self.position.phase :]:
                self._set_trainable(phase)
                while self.position.epoch < phase.epochs:
                    for _ in self._epoch(phase, update):
                        self.record.seconds = time.monotonic() - started
                        self._save_if_due()
                    if self._finish_epoch(phase):
                        break
                self.position.phase, self.position.epoch = self.position.phase + 1, 0
                self._save_if_due()  # a signal that came while the last epoch was scored
        self.words.leave()
        self.record.seconds = time.monotonic() - started
        return self.record

    # One epoch

    def _epoch(self, phase: Phase, update: Update) -> Iterator[None]:
        """Train on the rest of the epoch's batches; yield after each optimizer step."""
        self.model.train()
        lengths = self.examples.lengths
        batches = shuffled(lengths, self.settings.batch_size, self.settings.seed, self.position.epochs)
        for rows in batches[self.position.batch :]:
            rate = self._rate(phase, len(batches))
            loss = self._step(rows, phase, rate)
            depth = None if phase.classification else phase.depth(len(self.encoder.layers))
            self.record.gflop += training_flops(self.encoder, lengths[rows], depth, phase.trains) / 1e9
            self.position.batch += 1
            self.position.step += 1
            update(len(rows), f"{phase.name}, loss {loss:.4f}")
            yield

    def _step(self, rows: np.ndarray, phase: Phase, rate: float) -> float:
        """One optimizer step over one global batch; returns the batch's mean loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = 0.0
        parts = list(self._micro_batches(rows))
        for index, (batch, weight) in enumerate(parts):
            last = index == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                loss, terms = self._losses(batch, phase)
                # Processes average their gradients, so each scales its share of the batch's sum.
                scaled = loss.sum() * (weight * self.accelerator.num_processes / len(rows))
                self.accelerator.backward(scaled)
            total += self._add(loss.detach() * weight, {k: v * weight for k, v in terms.items()}, phase)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip or math.inf)
        if self.accelerator.scaler is None:  # with fp16 the scaler leaves such a step out, and lowers its scale
            self._check_finite("the gradient norm", float(norm), phase)
        self.optimizer.step()
        if not self.accelerator.optimizer_step_was_skipped:
            self.words.decay(rate * self.settings.weight_decay)
        self.optimizer.zero_grad(set_to_none=True)
        return total / max(1, sum(len(batch.rows) for batch, weight in parts if weight))

    def _micro_batches(self, rows: np.ndarray) -> Iterator[tuple[Batch, float]]:
        """This process's share of a global batch in `accumulate` parts; a weight of 0 marks a stand-in."""
        pieces = max(1, min(self.settings.accumulate, len(rows) // self.accelerator.num_processes))
        for part in np.array_split(rows, pieces):
            share = part[self.accelerator.process_index :: self.accelerator.num_processes]
            # Every process must take part in every backward pass, also where the batch has too few rows for all.
            batch = collate(self.examples, share if len(share) else part[:1])
            yield batch.to(self.accelerator.device), float(len(share) > 0)

    def _losses(self, batch: Batch, phase: Phase) -> tuple[Tensor, dict[str, Tensor]]:
        with self.accelerator.autocast():
            return self.objective(self.model, batch, phase)

    def _add(self, loss: Tensor, terms: dict[str, Tensor], phase: Phase) -> float:
        """Add a micro-batch to the epoch's sums; returns the sum of its losses."""
        sums = torch.stack([values.double().sum() for values in (loss, *terms.values())]).tolist()
        for name, total in zip(terms, sums[1:], strict=True):
            self._check_finite(name, total, phase)
            self.record.sums[name] = self.record.sums.get(name, 0.0) + total
        return sums[0]

    def _check_finite(self, name: str, value: float, phase: Phase) -> None:
        if not math.isfinite(value):
            raise UserError(
                self.run.folder.name,
                f"{name} is {value} in phase {phase.name!r}, step {self.position.step}: training has diverged; "
                f"lower the learning rate (now {self.settings.learning_rate}). The last checkpoint is kept",
            )

    def _finish_epoch(self, phase: Phase) -> bool:
        """Score, write the epoch down, and say whether the phase is over."""
        means = {name: total / len(self.examples) for name, total in self._global_sums().items()}
        self.position.epoch += 1
        self.position.epochs += 1
        self.position.batch = 0
        over = self.position.epoch == phase.epochs or (
            phase.layer is not None and means[f"cls_cosine_{phase.layer}"] < phase.cosine_threshold
        )
        self.model.eval()
        score = self.validate(self.encoder)
        self.record.history.append(
            {
                "epoch": self.position.epochs,
                "phase": phase.name,
                "layer": phase.layer,
                "completed": phase.layer if over else None,
                **means,
                "score": score,
                "gflop": round(self.record.gflop, 3),
            }
        )
        self.record.sums = {}
        shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        if self.accelerator.is_main_process:
            say(f"epoch {self.position.epochs} ({phase.name}): {shown}, validation {score:.4f}")
        return over

    def _global_sums(self) -> dict[str, float]:
        names = list(self.record.sums)
        local = torch.tensor([self.record.sums[name] for name in names], dtype=torch.float64)
        summed = self.accelerator.reduce(local.to(self.accelerator.device), "sum")
        return dict(zip(names, summed.tolist(), strict=True))

    # Phases

    def _set_trainable(self, phase: Phase) -> None:
        head = {id(parameter) for parameter in self.encoder.head_parameters()}
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(phase.trains == "model" or id(parameter) in head)

    def _rate(self, phase: Phase, batches: int) -> float:
        peak, warmup = self.settings.learning_rate, self.settings.warmup
        if self.settings.schedule == "whole":
            return learning_rate(peak, self.position.step, batches * sum(p.epochs for p in self.phases), warmup)
        done = self.position.epoch * batches + self.position.batch
        return learning_rate(peak, done, batches * phase.epochs, warmup)

    def _rows_in_all(self) -> int:
        return len(self.examples) * sum(phase.epochs for phase in self.phases)

    def _rows_done(self) -> int:
        earlier = sum(phase.epochs for phase in self.phases[: self.position.phase]) + self.position.epoch
        return earlier * len(self.examples) + self.position.batch * self.settings.batch_size

    # Checkpoints

    def _save_if_due(self) -> None:
        signum = interrupt.requested()
        due = int(time.monotonic() - self.saved_at >= self._patience())
        if self.accelerator.num_processes > 1:  # all of them save at the same step, or none
            wishes = torch.tensor([[signum, due]], device=self.accelerator.device)
            signum, due = self.accelerator.gather(wishes).amax(0).tolist()
        if due or signum:
            self._save()
        if signum:
            raise interrupt.Interrupted(signum)

    def _patience(self) -> float:
        """Seconds between two checkpoints: more than asked where writing one takes long; 0 is one after every step."""
        asked = self.settings.checkpoint_seconds
        return max(asked, self.saving / CHECKPOINTS) if asked else 0.0

    def _save(self) -> None:
        started = time.monotonic()
        random, sums = random_states(self.accelerator), self._global_sums()
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "position": asdict(self.position),
                "record": {**asdict(self.record), "sums": sums},
                "kept": self.words.kept,
                "scaler": scaler.state_dict() if scaler else None,
            }
            self.run.save(self.position.step, {**tensors(self.encoder, self.optimizer), "random": random}, state)
        self.accelerator.wait_for_everyone()
        self.saved_at = time.monotonic()
        self.saving = self.saved_at - started

    def _restore(self) -> None:
        found = self.run.restore()
        if found is None:
            return
        values, state = found
        load(values, self.encoder, self.optimizer)
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.position, self.record = Position(**state["position"]), Record(**state["record"])
        self.words.kept = state["kept"]
        if not self.accelerator.is_main_process:  # the sums are of all processes, and are added up again
            self.record.sums = dict.fromkeys(self.record.sums, 0.0)
        name = self.run.folder.name
        say(f"{name}: goes on at epoch {self.position.epochs + 1}, step {self.position.step}")
        if not set_random_states(self.accelerator, values["random"]):
            began, go_on = len(values["random"]), self.accelerator.num_processes
            warn(f"{name}: begun by {began} processes, goes on in {go_on}: dropout is drawn anew from here")
            self._seed(self.position.step)


def adamw(encoder: nn.Module, rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW, fused; matrices decay, biases and normalisation weights don't."""
    named = list(encoder.named_parameters())
    groups = [
        {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=True)
