"""The loop that a practitioner would write with Hugging Face alone: `all`, with the teacher beside the student."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (its usual name)

from benchmarks.contenders.hugging_face import loader, outcome, pairs
from benchmarks.material import Material
from benchmarks.terms import Outcome, Terms, optimizer_of, schedule_of
from kdcore.model.encoder import device

SMALLEST = 1e-9  # a dropped attention entry is 0, and its logarithm must be finite


def make(material: Material, terms: Terms) -> Callable[[], Outcome]:
    torch.set_num_threads(terms.threads)
    batches = loader(material, terms.batch_size)
    return lambda: outcome(train, material, batches, terms)


def train(student: Any, teacher: Any, batches: Any, terms: Terms, losses: Callable[..., Tensor] | None = None) -> None:
    """losses: in the place of `losses_of`, as when it is compiled."""
    optimizer = optimizer_of(student, terms)
    schedule = schedule_of(optimizer, terms.epochs * len(batches), terms)
    for _ in range(terms.epochs):
        for rows in batches:
            batch = {name: values.to(device()) for name, values in rows.items()}
            with torch.autocast(device().type, torch.bfloat16, enabled=terms.precision == "bf16"):
                loss = (losses or losses_of)(student, teacher, batch, terms)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), terms.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def losses_of(student: Any, teacher: Any, batch: dict[str, Tensor], terms: Terms) -> Tensor:
    """A batch's loss, both models run side by side."""
    wanted = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        said = teacher(**batch, **wanted)
    found = student(**batch, **wanted)
    return loss_of(found, said, batch["attention_mask"], terms.layers, terms.hard_label_weight)


def loss_of(student: Any, teacher: Any, mask: Tensor, layers: int, hard_label_weight: float) -> Tensor:
    """The losses of `all`: soft and hard labels, attention KL and [CLS] cosine of every student layer."""
    soft = F.cross_entropy(student.logits, teacher.logits.softmax(-1))
    loss = soft + hard_label_weight * student.loss
    for layer, matched in pairs(layers, len(teacher.attentions)):
        loss = loss + attention_kl(student.attentions[layer - 1], teacher.attentions[matched - 1], mask)
        ours, theirs = student.hidden_states[layer][:, 0], teacher.hidden_states[matched][:, 0]
        loss = loss + (1 - F.cosine_similarity(ours, theirs)).mean()
    return loss


def attention_kl(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student) over the rows of real tokens, mean over heads. Maps: (B, A, T, T); mask: (B, T)."""
    rows = (teacher * ((teacher + SMALLEST).log() - (student + SMALLEST).log())).sum(-1)
    return (rows * mask[:, None]).sum() / (mask.sum() * teacher.shape[1])
