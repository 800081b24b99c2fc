"""TextBrewer's GeneralDistiller, with attention and hidden matches as its examples configure them.

It has no attention KL, so its own `attention_mse` stands in, which costs less; its `pkd` is twice the [CLS] cosine.
It saves no checkpoint and writes no log here.
"""

from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import torch
from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
from transformers import get_linear_schedule_with_warmup

from benchmarks.contenders.hugging_face import loader, outcome, pairs
from benchmarks.material import Material
from benchmarks.terms import Outcome, Terms, optimizer_of, schedule_arguments
from kdcore.model.encoder import device


def make(material: Material, terms: Terms, tokens: int | None) -> Callable[[], Outcome]:
    """tokens: the length that every batch is padded to, as in its examples; None pads to the batch's longest."""
    torch.set_num_threads(terms.threads)
    batches = loader(material, terms.batch_size, tokens)
    return lambda: outcome(train, material, batches, terms)


def train(student: Any, teacher: Any, batches: Any, terms: Terms) -> None:
    with TemporaryDirectory() as unused:  # made at once, and written to only for checkpoints
        told = TrainingConfig(device=str(device()), output_dir=unused, ckpt_frequency=0)
        distiller = GeneralDistiller(told, matches(terms), teacher, student, adaptor, adaptor)
        with distiller:
            distiller.train(
                optimizer_of(student, terms),
                batches,
                num_epochs=terms.epochs,
                scheduler_class=get_linear_schedule_with_warmup,
                scheduler_args=schedule_arguments(terms.epochs * len(batches), terms),
                max_grad_norm=terms.clip,
                output_attentions=True,
                output_hidden_states=True,
            )


def matches(terms: Terms) -> DistillationConfig:
    attention = [
        {"feature": "attention", "loss": "attention_mse", "layer_S": layer - 1, "layer_T": matched - 1, "weight": 1}
        for layer, matched in pairs(terms.layers, terms.teacher_layers)
    ]
    hidden = [  # the first of these states is that of the embeddings
        {"feature": "hidden", "loss": "pkd", "layer_S": layer, "layer_T": matched, "weight": 0.5}
        for layer, matched in pairs(terms.layers, terms.teacher_layers)
    ]
    return DistillationConfig(
        temperature=1, hard_label_weight=terms.hard_label_weight, intermediate_matches=[*attention, *hidden]
    )


def adaptor(batch: dict[str, Any], found: Any) -> dict[str, Any]:
    """What the distiller compares, out of what a model gives."""
    return {
        "logits": found.logits,
        "losses": found.loss,
        "attention": found.attentions,
        "hidden": found.hidden_states,
        "inputs_mask": batch["attention_mask"],
    }
