"""The losses and gradient norms of steps, read off the device many steps at a time.

To read a number is to wait until its device has computed it. On a CPU it is there, so every step is read; a GPU would
stand still after each.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcore.errors import UserError

MANY = 50  # steps between two readings of a GPU


@dataclass(frozen=True)
class Step:
    """What a step computed, still on its device.

    number, phase: which step; rows: how many examples were this process's; terms: names; sums: of each micro-batch,
    as `summed` gives them; norm: of the gradient, None where a gradient scaler looks at it.
    """

    number: int
    phase: str
    rows: int
    terms: tuple[str, ...]
    sums: Sequence[Tensor]
    norm: Tensor | None


def summed(loss: Tensor, terms: Mapping[str, Tensor]) -> Tensor:
    """(1 + terms,) float64 sums over the examples: of the loss (B,), and of each term (B,)."""
    return torch.stack([loss.detach(), *terms.values()]).double().sum(1)


class Readings:
    """The steps since the last reading, and the mean loss of the last one that was read (None before the first).

    run, rate: the run's name and its learning rate, for the error that says that training has diverged.
    """

    def __init__(self, run: str, rate: float, device: torch.device) -> None:
        self.run, self.rate, self.many = run, rate, 1 if device.type == "cpu" else MANY
        self.steps: list[Step] = []
        self.loss: float | None = None

    def add(self, step: Step, sums: dict[str, float]) -> None:
        """Keep a step, and read where there are many, or none was read yet."""
        self.steps.append(step)
        if len(self.steps) >= self.many or self.loss is None:
            self.read(sums)

    def read(self, sums: dict[str, float]) -> None:
        """Add the terms of all steps to the epoch's `sums`, by name, in the steps' order.

        Raises UserError that names the first step and the first of its numbers that is not finite.
        """
        steps, self.steps = self.steps, []
        if not steps:
            return
        numbers = [value for step in steps for value in (*step.sums, *([] if step.norm is None else [step.norm[None]]))]
        read = iter(torch.cat([value.double() for value in numbers]).tolist())  # the one wait
        for step in steps:
            loss = 0.0
            for _ in step.sums:
                loss += next(read)
                for name in step.terms:
                    sums[name] = sums.get(name, 0.0) + self._finite(name, next(read), step)
            if step.norm is not None:
                self._finite("the gradient norm", next(read), step)
            self.loss = loss / max(1, step.rows)

    def _finite(self, name: str, value: float, step: Step) -> float:
        if math.isfinite(value):
            return value
        raise UserError(
            self.run,
            f"{name} is {value} in phase {step.phase!r}, step {step.number}: training has diverged; "
            f"lower the learning rate (now {self.rate}). The last checkpoint is kept",
        )
