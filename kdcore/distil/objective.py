"""What a phase minimises: the classification loss, the internal losses of its layers, or both."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdcore.data.batches import Batch
from kdcore.distil import losses
from kdcore.distil.schedule import Method, Phase
from kdcore.distil.signals import Signals, Teaching


@dataclass(frozen=True)
class Objective:
    """A method's losses and their weights.

    layer_map: teacher layer of each student layer; signals: None for `none` and for the teacher's own training.
    """

    method: Method
    layer_map: tuple[int, ...] = ()
    signals: Signals | None = None
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    kl_weight: float = 1.0
    cos_weight: float = 1.0

    def __call__(self, encoder: nn.Module, batch: Batch, phase: Phase) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each example (B,), and its unweighted terms by name, each (B,) without gradient."""
        maps = phase.internal if self._kl else ()
        internals = encoder(batch.inputs, depth=None if phase.classification else max(phase.internal), attention=maps)
        said = self._teaching(batch, phase)
        weighted: dict[str, tuple[float, Tensor]] = {}
        if phase.classification:
            weighted |= self._classification(internals.logits, batch, said)
        for layer in phase.internal:
            assert said is not None  # noqa: S101  (internal losses have a teacher)
            weighted |= self._internal(layer, internals.attention, internals.cls, said, batch.mask)
        total = torch.stack([weight * value for weight, value in weighted.values() if weight]).sum(0)
        return total, {name: value.detach() for name, (_, value) in weighted.items()}

    @property
    def _kl(self) -> bool:
        return self.method.kl and self.kl_weight > 0

    def _teaching(self, batch: Batch, phase: Phase) -> Teaching | None:
        if self.signals is None:
            return None
        mapped = [self.layer_map[layer - 1] for layer in phase.internal]
        return self.signals.at(batch, attention=mapped if self._kl else (), cls=mapped, logits=phase.classification)

    def _classification(self, logits: Tensor, batch: Batch, said: Teaching | None) -> dict[str, tuple[float, Tensor]]:
        hard = losses.hard_labels(logits, batch.labels)
        if said is None:
            return {"hard_labels": (1.0, hard)}
        assert said.logits is not None  # noqa: S101  (the classification loss asked for them)
        if logits.shape[-1] == 1:
            soft = losses.soft_scores(logits, said.logits)
        else:
            soft = losses.soft_labels(logits, said.logits, self.temperature)
        return {"soft_labels": (1.0, soft), "hard_labels": (self.hard_label_weight, hard)}

    def _internal(
        self,
        layer: int,
        attention: Mapping[int, Tensor],
        cls: Mapping[int, Tensor],
        said: Teaching,
        mask: Tensor,
    ) -> dict[str, tuple[float, Tensor]]:
        """The internal loss of one layer; its cosine loss is measured even where it is not minimised."""
        teacher = self.layer_map[layer - 1]
        terms = {}
        if self._kl:
            kl = losses.attention_kl(attention[layer], said.attention[teacher], mask)
            terms[f"attention_kl_{layer}"] = (self.kl_weight, kl)
        cosine = losses.cls_cosine(cls[layer], said.cls[teacher])
        terms[f"cls_cosine_{layer}"] = (self.cos_weight if self.method.cos else 0.0, cosine)
        return terms
