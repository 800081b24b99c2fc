"""What a phase minimises: the classification loss, the internal losses of its layers, or both."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kdcore.data.batches import Batch
from kdcore.distil import losses
from kdcore.distil.methods import INTERNAL, THRESHOLD, compare_maps
from kdcore.distil.schedule import Phase
from kdcore.distil.signals import Signals


@dataclass(frozen=True)
class Objective:
    """The losses of a student and their weights; without signals, those of a model that learns from labels alone.

    layer_map: teacher layer of each student layer; weights: of the internal losses that are minimised, by name.
    """

    signals: Signals | None = None
    layer_map: tuple[int, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    hard_label_weight: float = 1.0

    def __call__(self, encoder: nn.Module, batch: Batch, phase: Phase) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each example (B,), and its unweighted terms by name, each (B,) without gradient."""
        maps = phase.internal if compare_maps(self.weights) else ()
        depth = None if phase.classification else max(phase.internal)
        internals = encoder(batch.inputs, depth, maps, batch.padded)
        if self.signals is None:
            hard = losses.hard_labels(internals.logits, batch.labels)
            return hard, {"hard_labels": hard.detach()}
        matched = {layer: self.layer_map[layer - 1] for layer in phase.internal}
        teaching = self.signals.at(
            batch,
            attention=[matched[layer] for layer in maps],
            cls=list(matched.values()),
            logits=phase.classification,
        )
        terms: dict[str, tuple[float, Tensor]] = {}  # name -> weight and value
        if phase.classification:
            hard = losses.hard_labels(internals.logits, batch.labels)
            if internals.logits.shape[-1] == 1:
                soft = losses.soft_scores(internals.logits, teaching.logits)
            else:
                soft = losses.soft_labels(internals.logits, teaching.logits, self.temperature)
            terms |= {"soft_labels": (1.0, soft), "hard_labels": (self.hard_label_weight, hard)}
        for layer, target in matched.items():
            for loss in INTERNAL.values():
                weight = self.weights.get(loss.name, 0.0)
                if weight or loss is THRESHOLD:
                    own, theirs = getattr(internals, loss.needs)[layer], getattr(teaching, loss.needs)[target]
                    # What is only measured must not lead to the weights: they would wait for a gradient.
                    value = losses.FUNCTIONS[loss.name](own if weight else own.detach(), theirs, batch.mask)
                    terms[f"{loss.term}_{layer}"] = weight, value
        total = torch.stack([weight * value for weight, value in terms.values() if weight]).sum(0)
        return total, {name: value.detach() for name, (_, value) in terms.items()}
