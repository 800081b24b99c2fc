"""The loop: phases, epochs, optimizer steps and checkpoints. The teacher and every student train here."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor, nn

from kdcore import interrupt
from kdcore.console import Update, progress, say
from kdcore.data.batches import Batch, collate, shuffled
from kdcore.data.examples import Examples
from kdcore.data.metrics import labelled_metrics
from kdcore.data.tasks import Task
from kdcore.distil import ahead
from kdcore.distil.checkpoint import Best, Checkpoints, Position, Record, of_all
from kdcore.distil.methods import THRESHOLD
from kdcore.distil.objective import Objective
from kdcore.distil.precision import warn_if_slower
from kdcore.distil.readings import Readings, Step, summed
from kdcore.distil.schedule import Phase, identity, learning_rate
from kdcore.distil.signals import Teaching
from kdcore.distil.tracking import Tracking, tracking
from kdcore.model.cost import training_flops
from kdcore.model.encoder import Encoder, device
from kdcore.model.predict import logits_of
from kdcore.model.words import OccurringWords
from kdcore.params.sections import Train
from kdcore.processes import check_environment
from kdcore.runs import Run


class Trainer:
    """One run of the loop over `examples`, resumed from the run's newest checkpoint where there is one.

    facts: what a tracker is told of the run, beside the section `train`.
    """

    def __init__(
        self,
        encoder: Encoder,
        examples: Examples,
        phases: tuple[Phase, ...],
        objective: Objective,
        train: Train,
        seed: int,
        run: Run,
        validate: Callable[[Encoder], float],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.encoder, self.examples, self.phases, self.objective = encoder, examples, phases, objective
        self.settings, self.seed, self.run, self.validate, self.facts = train, seed, run, validate, facts or {}
        self.accelerator = accelerator(train.precision)
        torch.set_num_threads(train.threads)
        if self.accelerator.device.type == "cpu":
            warn_if_slower(train.precision)
        self._seed(0)
        self.words = OccurringWords(encoder, examples.words())
        optimizer = adamw(encoder, train.learning_rate, train.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(_Learner(encoder, objective), optimizer)
        self.best = Best()
        self.checkpoints = Checkpoints(
            run, self.accelerator, encoder, self.optimizer, self.words, self.best, train.checkpoint_seconds
        )
        self.readings = Readings(run.folder.name, train.learning_rate, self.accelerator.device)
        self.ahead = ahead.depth(self.accelerator.device)
        self.position, self.record, self.tracking = Position(), Record(), Tracking([])

    def _seed(self, step: int) -> None:
        torch.manual_seed(self.seed + 1_000_003 * self.accelerator.process_index + step)

    def train(self) -> Record:
        """Run what is left. Raises UserError where a loss is not finite, Interrupted on SIGTERM or Ctrl-C."""
        self.position, self.record, same = self.checkpoints.restore()
        if not same:
            self._seed(self.position.step)
        rows = len(self.examples)
        earlier = sum(phase.epochs for phase in self.phases[: self.position.phase]) + self.position.epoch
        done = earlier * rows + self.position.batch * self.settings.batch_size
        whole = rows * sum(phase.epochs for phase in self.phases)
        started = time.monotonic() - self.record.seconds
        name, told = self.run.folder.name, {**self.facts, "train": identity(self.settings, self.seed, self.phases)}
        with (
            tracking(self.settings.track, self.accelerator, name, self.position.epochs, told) as self.tracking,
            interrupt.listening(),
            progress(name, whole, done) as update,
        ):
            for phase in self.phases[self.position.phase :]:
                self._choose(phase)
                while self.position.epoch < phase.epochs:
                    with closing(self._epoch(phase, update)) as steps:
                        for _ in steps:
                            self.record.seconds = time.monotonic() - started
                            self.checkpoints.save_if_due(self.position, self._read)
                    if self._finish_epoch(phase):
                        break
                self.position.phase, self.position.epoch = self.position.phase + 1, 0
                # A signal may have come while the last epoch was scored.
                self.checkpoints.save_if_due(self.position, self._read)
        if self.best.epoch is not None:
            self.best.put_back(self.encoder, self.words)
            self.record.selected = self.best.epoch
        self.words.leave()
        self.record.seconds = time.monotonic() - started
        return self.record

    def _choose(self, phase: Phase) -> None:
        """Let the parameters learn that the phase trains, and no others."""
        head = {id(parameter) for parameter in self.encoder.head_parameters()}
        frozen = {id(parameter) for part in self.encoder.below(phase.frozen) for parameter in part.parameters()}
        for parameter in self.encoder.parameters():
            learns = id(parameter) not in frozen and (phase.trains == "model" or id(parameter) in head)
            parameter.requires_grad_(learns)

    def _epoch(self, phase: Phase, update: Update) -> Generator[None, None, None]:
        """Train on the rest of the epoch's batches; yield after each optimizer step."""
        self.model.train()
        for part in self.encoder.below(phase.frozen):
            part.eval()
        lengths = self.examples.lengths
        batches = shuffled(lengths, self.settings.batch_size, self.seed, self.position.epochs)
        shape, hidden = self.encoder.shape, self.objective.compared(phase, "hidden")
        left = batches[self.position.batch :]
        with closing(self._fetched(left, phase)) as fetched:
            for rows in left:
                self._step(rows, phase, self._rate(phase, len(batches)), fetched)
                passed = (phase.depth, phase.trains, hidden, phase.frozen)
                self.record.gflop += training_flops(shape, lengths[rows], *passed) / 1e9
                self.position.batch += 1
                self.position.step += 1
                update(len(rows), f"{phase.name}, loss {self.readings.loss:.4f}")
                yield

    def _read(self) -> Record:
        """The record with every step that was taken. Raises UserError where one has diverged."""
        self.readings.read(self.record.sums)
        return self.record

    def _rate(self, phase: Phase, batches: int) -> float:
        peak, warmup = self.settings.learning_rate, self.settings.warmup
        if self.settings.schedule == "whole":
            return learning_rate(peak, self.position.step, batches * sum(p.epochs for p in self.phases), warmup)
        done = self.position.epoch * batches + self.position.batch
        return learning_rate(peak, done, batches * phase.epochs, warmup)

    def _fetched(self, batches: Sequence[np.ndarray], phase: Phase) -> Generator[ahead.Fetched, None, None]:
        """Every micro-batch of these global ones, with the signals that are read."""

        def fetch(rows: np.ndarray) -> ahead.Fetched:
            batch = collate(self.examples, rows).to(self.accelerator.device)
            return batch, self.objective.ahead(batch, phase)

        rows = (own for rows in batches for own, _ in self._micro_batches(rows))
        return ahead.fetched(fetch, rows, self.accelerator.device, self.ahead)

    def _micro_batches(self, rows: np.ndarray) -> list[tuple[np.ndarray, int]]:
        """This process's rows of each micro-batch of a global batch, and how many of them count.

        Every process must take part in every backward pass. Where the batch has too few rows for all, one that has
        none takes another's row, which does not count.
        """
        processes, first = self.accelerator.num_processes, self.accelerator.process_index
        parts = np.array_split(rows, max(1, min(self.settings.accumulate, len(rows) // processes)))
        shares = [part[first::processes] for part in parts]
        return [(share if len(share) else part[:1], len(share)) for part, share in zip(parts, shares, strict=True)]

    def _step(self, rows: np.ndarray, phase: Phase, rate: float, fetched: Iterator[ahead.Fetched]) -> None:
        """One optimizer step over one global batch, whose micro-batches come next in `fetched`."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        counts = [count for _, count in self._micro_batches(rows)]
        scale = self.accelerator.num_processes / len(rows)
        sums, terms = list[Tensor](), dict[str, Tensor]()
        for index, (count, (batch, teaching)) in enumerate(zip(counts, fetched, strict=False)):
            with nullcontext() if index == len(counts) - 1 else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    loss, terms = self.model(batch, phase, teaching)
                # Processes average their gradients, so each scales its share of the batch's sum.
                self.accelerator.backward(loss.sum() * (scale if count else 0.0))
            sums.append(summed(loss, terms) if count else summed(loss, terms) * 0.0)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip or math.inf)
        if self.accelerator.scaler is not None:  # with fp16 it leaves such a step out, and lowers its scale
            norm = None
        step = Step(self.position.step, phase.name, sum(counts), tuple(terms), sums, norm)
        self.readings.add(step, self.record.sums)
        self.optimizer.step()
        if not self.accelerator.optimizer_step_was_skipped:
            self.words.decay(rate * self.settings.weight_decay)
        self.optimizer.zero_grad(set_to_none=True)

    def _finish_epoch(self, phase: Phase) -> bool:
        """Score, write the epoch down, and say whether the phase is over."""
        everyones = of_all(self._read().sums, self.accelerator)
        means = {name: total / len(self.examples) for name, total in everyones.items()}
        self.position.epoch += 1
        self.position.epochs += 1
        self.position.batch = 0
        over = self.position.epoch == phase.epochs or (
            phase.layer is not None and means[f"{THRESHOLD.term}_{phase.layer}"] < phase.cosine_threshold
        )
        self.model.eval()
        score = self.validate(self.encoder)
        if self.settings.keep == "best" and phase.classification:  # else nothing has trained the classifier
            self.best.offer(self.position.epochs, score, self.encoder, self.words)
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
        gflop = self.record.history[-1]["gflop"]
        self.tracking.log({**means, "validation": score, "gflop": gflop}, self.position.epochs)
        if self.accelerator.is_main_process:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
            say(f"epoch {self.position.epochs} ({phase.name}): {shown}, validation {score:.4f}")
        return over


class _Learner(nn.Module):
    """Encoder and objective as one module: several processes then see which weights lead to the loss, and wait for
    the gradients of no others."""

    def __init__(self, encoder: Encoder, objective: Objective) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective

    def forward(self, batch: Batch, phase: Phase, teaching: Teaching | None) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective(self.encoder, batch, phase, teaching)


def accelerator(precision: str) -> Accelerator:
    """accelerate, told everything that changes what is computed; the rest it reads from the environment."""
    check_environment()
    return Accelerator(
        cpu=device().type == "cpu",  # not Apple's GPU, which has no float64
        mixed_precision=precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # it would divide every loss
        dynamo_backend="no",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
    )


def adamw(encoder: nn.Module, rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW, fused; matrices decay, biases and normalisation weights don't."""
    named = list(encoder.named_parameters())
    groups = [
        {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def validator(task: Task, validation: Examples, train: Train) -> Callable[[Encoder], float]:
    """A function that gives a model's headline metric on the labelled ones of the first `history_rows`."""
    examples = validation.first(train.history_rows).labelled()

    def validate(encoder: Encoder) -> float:
        logits = logits_of(encoder, examples, train.batch_size)
        return labelled_metrics(task.metrics[:1], logits, examples.labels)[task.metrics[0]]

    return validate
