"""What a phase minimises: the classification loss, the internal losses of its layers, or both."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kdcore.data.batches import Batch
from kdcore.distil import losses
from kdcore.distil.methods import INTERNAL, THRESHOLD, Captured, need
from kdcore.distil.schedule import Phase
from kdcore.distil.signals import Signals, Teaching


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

    def __call__(
        self, encoder: nn.Module, batch: Batch, phase: Phase, teaching: Teaching | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each example (B,), and its unweighted terms by name, each (B,) without gradient.

        teaching: what `ahead` gave of this batch, if it was asked.
        """
        maps, hidden = self.compared(phase, "attention"), self.compared(phase, "hidden")
        internals = encoder(batch.inputs, phase.depth, maps, batch.padded, hidden)
        if self.signals is None:
            hard = losses.hard_labels(internals.logits, batch.labels)
            return hard, {"hard_labels": hard.detach()}
        teaching = teaching or self._teaching(self.signals, batch, phase)
        matched = self._matched(phase)
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
        weighted = [value if weight == 1.0 else weight * value for weight, value in terms.values() if weight]
        total = torch.stack(weighted).sum(0)
        return total, {name: value.detach() for name, (_, value) in terms.items()}

    def ahead(self, batch: Batch, phase: Phase) -> Teaching | None:
        """The teacher's signals for this batch, where they are read and no model has to run for them."""
        asked = self.compared(phase, "attention"), self.compared(phase, "hidden")
        if self.signals is None or not self.signals.are_stored(*asked):
            return None
        return self._teaching(self.signals, batch, phase)

    def compared(self, phase: Phase, captured: Captured) -> tuple[int, ...]:
        """The student layers of which a minimised loss of the phase needs what is captured."""
        return phase.internal if need(self.weights, captured) else ()

    def _teaching(self, signals: Signals, batch: Batch, phase: Phase) -> Teaching:
        matched = self._matched(phase)
        maps, hidden = ([matched[layer] for layer in self.compared(phase, of)] for of in ("attention", "hidden"))
        return signals.at(batch, maps, list(matched.values()), phase.classification, hidden)

    def _matched(self, phase: Phase) -> dict[int, int]:
        """The teacher layer of each student layer that the phase compares."""
        return {layer: self.layer_map[layer - 1] for layer in phase.internal}
