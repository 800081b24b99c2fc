"""What training computes, by kind of work, of what is known before it: phases, losses, lengths. No torch here."""

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np

from kdcore.distil.methods import need
from kdcore.distil.schedule import Phase
from kdcore.model.cost import Shape, training_flops

# Kinds of work differ in FLOP/s: training, training on attention maps, forward passes, those that hand out maps.
Kind = Literal["training", "internal", "forward", "maps"]
Flops = dict[Kind, float]


def training(phases: Sequence[Phase], losses: Collection[str], shape: Shape, lengths: np.ndarray) -> Flops:
    """All epochs of these phases, over rows of these lengths. losses: the internal ones that are minimised."""
    maps, hidden = need(losses, "attention"), need(losses, "hidden")
    return added([_phase(phase, maps, phase.internal if hidden else (), shape, lengths) for phase in phases])


def _phase(phase: Phase, maps: bool, hidden: Sequence[int], shape: Shape, lengths: np.ndarray) -> Flops:
    flops = training_flops(shape, lengths, phase.depth, phase.trains, hidden, phase.frozen) * phase.epochs
    if phase.trains == "head":
        return {"forward": flops}
    return {"internal" if maps and phase.internal else "training": flops}


def added(parts: Sequence[Flops], runs: int = 1) -> Flops:
    """The sum by kind, `runs` times."""
    kinds = dict.fromkeys(kind for part in parts for kind in part)
    return {kind: runs * sum(part.get(kind, 0.0) for part in parts) for kind in kinds}
