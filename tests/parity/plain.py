"""The method's page as a loop that a patient reader would write on Hugging Face alone: 64 bits, and no trick at all.

The teacher is live and runs on every batch, every layer runs in every phase and hands out its maps, losses are taken
one example at a time, and the optimizer is written out. Nothing of kdcore is used here: it is compared with this.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Texts as token numbers; labels are None where they are missing."""

    ids: Sequence[Sequence[int]]
    types: Sequence[Sequence[int]]
    labels: Sequence[int | None]
    pad: int


@dataclass(frozen=True)
class Knobs:
    """What the page leaves open, by the names of params.yaml; method: none | soft | all | pid | sid."""

    method: str
    layer_map: tuple[int, ...]
    epochs_per_layer: int = 1
    classification_epochs: int = 1
    cosine_threshold: float = 0.0
    classification: str = "last"
    below: str = "train"
    trains: str = "model"
    temperature: float = 1.0
    hard_label_weight: float = 1.0
    weights: Mapping[str, float] = field(default_factory=lambda: {"kl": 1.0, "cos": 1.0})
    learning_rate: float = 1e-3
    warmup: float = 0.0
    weight_decay: float = 0.0
    clip: float = 0.0


@dataclass(frozen=True)
class Stretch:
    """Epochs with one objective: the layers whose internal losses count, and whether the classification loss does."""

    layers: tuple[int, ...]
    classification: bool
    epochs: int
    about: int | None = None  # the layer whose cosine loss may end it early
    trains: str = "model"
    frozen: int = 0  # so many of the lowest layers, with what is below them, don't learn


def stretches(knobs: Knobs) -> list[Stretch]:
    every = tuple(range(1, len(knobs.layer_map) + 1))
    in_all = len(every) * knobs.epochs_per_layer + knobs.classification_epochs
    if knobs.method in ("none", "soft"):
        return [Stretch((), True, in_all)]
    if knobs.method == "all":
        return [Stretch(every, True, in_all)]
    found = []
    for layer in every:
        frozen = layer - 1 if knobs.below == "freeze" else 0
        layers = (layer,) if knobs.method == "pid" or frozen else every[:layer]
        found.append(Stretch(layers, knobs.classification == "always", knobs.epochs_per_layer, layer, frozen=frozen))
    return [*found, Stretch((), True, knobs.classification_epochs, trains=knobs.trains)]


# One batch


def forward(model: Any, rows: Rows, batch: Sequence[int]) -> Any:
    """Everything that Hugging Face hands out, for a batch that is padded to its longest text."""
    longest = max(len(rows.ids[row]) for row in batch)

    def padded(values: Sequence[Sequence[int]], fill: int) -> Tensor:
        return torch.tensor([[*values[row], *[fill] * (longest - len(values[row]))] for row in batch])

    return model(
        input_ids=padded(rows.ids, rows.pad),
        token_type_ids=padded(rows.types, 0),
        attention_mask=padded([[1] * len(text) for text in rows.ids], 0),
        output_attentions=True,
        output_hidden_states=True,
    )


def attention_kl(student: Tensor, teacher: Tensor, n: int) -> Tensor:
    """One example's maps (A, T, T), of which n tokens are real: teacher ‖ student, the mean over heads."""
    wanted, own = teacher[:, :n, :n], student[:, :n, :n]
    entries = torch.zeros_like(wanted)  # one that is 0 on the teacher's side contributes 0
    some = wanted > 0
    entries[some] = wanted[some] * (wanted[some] / own[some]).log()
    return (entries.sum(2).sum(1) / n).mean()


def cls_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """One example's vectors (H,)."""
    return 1 - (student * teacher).sum() / (student.square().sum().sqrt() * teacher.square().sum().sqrt())


def terms(own: Any, wanted: Any, rows: Rows, batch: Sequence[int], stretch: Stretch, knobs: Knobs) -> dict[str, Tensor]:
    """The losses by name, without their weights: means over the examples of a batch."""
    found: dict[str, list[Tensor]] = {}
    for index, row in enumerate(batch):
        if stretch.classification:
            log_own = (own.logits[index] / knobs.temperature).log_softmax(0)
            if knobs.method != "none":
                soft = (wanted.logits[index] / knobs.temperature).softmax(0)
                found.setdefault("soft_labels", []).append(-(soft * log_own).sum() * knobs.temperature**2)
            label = rows.labels[row]
            hard = -own.logits[index].log_softmax(0)[label] if label is not None else torch.tensor(0.0)
            found.setdefault("hard_labels", []).append(hard)
        for layer in stretch.layers:
            matched, n = knobs.layer_map[layer - 1], len(rows.ids[row])
            kl = attention_kl(own.attentions[layer - 1][index], wanted.attentions[matched - 1][index], n)
            cosine = cls_cosine(own.hidden_states[layer][index, 0], wanted.hidden_states[matched][index, 0])
            found.setdefault(f"attention_kl_{layer}", []).append(kl)
            found.setdefault(f"cls_cosine_{layer}", []).append(cosine)
    return {name: torch.stack([value.double() for value in values]).mean() for name, values in found.items()}


def weight_of(name: str, knobs: Knobs) -> float:
    if name == "hard_labels":
        return 1.0 if knobs.method == "none" else knobs.hard_label_weight
    if name == "soft_labels":
        return 1.0
    return knobs.weights["kl" if name.startswith("attention_kl") else "cos"]


def loss_of(found: dict[str, Tensor], knobs: Knobs) -> Tensor:
    return torch.stack([weight_of(name, knobs) * value for name, value in found.items()]).sum()


# The loop


class AdamW:
    """Loshchilov and Hutter's, parameter by parameter; one that has no gradient stays as it is."""

    def __init__(self, model: Any, knobs: Knobs) -> None:
        self.model, self.decay = model, knobs.weight_decay
        self.state: dict[str, tuple[int, Tensor, Tensor]] = {}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for name, p in self.model.named_parameters():
            if p.grad is None:
                continue
            if not name.endswith("bias") and "LayerNorm" not in name:
                p -= rate * self.decay * p
            steps, first, second = self.state.get(name, (0, torch.zeros_like(p), torch.zeros_like(p)))
            steps, first, second = steps + 1, 0.9 * first + 0.1 * p.grad, 0.999 * second + 0.001 * p.grad**2
            p -= rate * (first / (1 - 0.9**steps)) / ((second / (1 - 0.999**steps)).sqrt() + 1e-8)
            self.state[name] = steps, first, second


@torch.no_grad()
def clip(model: Any, largest: float) -> bool:
    """Scale all gradients so that their norm is `largest` at most; says whether that was needed. 0 does not clip."""
    moved = [p.grad for p in model.parameters() if p.grad is not None]
    norm = float(sum(g.square().sum() for g in moved)) ** 0.5
    needed = 0 < largest < norm
    for gradient in moved if needed else ():
        gradient *= largest / norm
    return needed


def rate_at(knobs: Knobs, step: int, steps: int) -> float:
    """Up in a straight line over the first share `warmup` of the steps, then down in a straight line to 0."""
    rising = round(knobs.warmup * steps)
    share = (step + 1) / rising if step < rising else (steps - step) / (steps - rising)
    return knobs.learning_rate * share


def train(
    student: Any, teacher: Any, rows: Rows, knobs: Knobs, batches_of: Callable[[int], list[list[int]]]
) -> list[dict[str, Any]]:
    """Train `student`, a Hugging Face model; batches_of gives the batches of an epoch. Returns what each epoch was.

    Every entry has the means of the losses by name, the layer that the epoch completed, and how many steps it clipped.
    """
    student.train()
    optimizer, history = AdamW(student, knobs), []
    for stretch in stretches(knobs):
        for name, p in student.named_parameters():
            still = [f"bert.encoder.layer.{layer}." for layer in range(stretch.frozen)]
            still += ["bert.embeddings."] if still else []
            head = name.startswith(("bert.pooler", "classifier"))
            p.requires_grad_((stretch.trains == "model" or head) and not name.startswith(tuple(still)))
        for epoch in range(stretch.epochs):
            batches = batches_of(len(history))
            sums: dict[str, float] = {}
            clipped = 0
            for number, batch in enumerate(batches):
                with torch.no_grad():
                    wanted = forward(teacher, rows, batch)
                student.zero_grad()
                found = terms(forward(student, rows, batch), wanted, rows, batch, stretch, knobs)
                loss_of(found, knobs).backward()
                clipped += clip(student, knobs.clip)
                optimizer.step(rate_at(knobs, epoch * len(batches) + number, stretch.epochs * len(batches)))
                for name, value in found.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach()) * len(batch)
            means = {name: total / len(rows.ids) for name, total in sums.items()}
            last = epoch + 1 == stretch.epochs
            done = stretch.about is not None and (last or means[f"cls_cosine_{stretch.about}"] < knobs.cosine_threshold)
            history.append({**means, "completed": stretch.about if done else None, "clipped": clipped})
            if done:
                break
    return history
