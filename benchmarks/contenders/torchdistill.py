"""torchdistill's DistillationBox: forward hooks take the maps and states, its loss terms compare them.

Its KDLoss gives soft and hard labels; attention KL and [CLS] cosine are registered with it, as its guide says. A hook
sees no attention mask, so the rows of padding count too.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)
from torch.utils.data import RandomSampler

from benchmarks.contenders.hugging_face import collator, outcome, pairs
from benchmarks.contenders.plain import SMALLEST
from benchmarks.material import Material, as_rows
from benchmarks.terms import Outcome, Terms, schedule_arguments
from kdcore.model.encoder import device

# All that it imports of torchvision, for image models that nothing here builds.
OF_TORCHVISION = {
    "torchvision": (),
    "torchvision.datasets": (),
    "torchvision.models": (),
    "torchvision.models.densenet": ("_DenseBlock", "_Transition"),
    "torchvision.models.resnet": ("BasicBlock", "conv1x1"),
}


def _stand_in_for_torchvision() -> None:
    """torchvision has compiled parts that fit one build of torch only: where it is absent, empty modules do."""
    if importlib.util.find_spec("torchvision") is None:
        for name, members in OF_TORCHVISION.items():
            sys.modules[name] = ModuleType(name)
            for member in members:
                setattr(sys.modules[name], member, nn.Module)


_stand_in_for_torchvision()

from torchdistill.core.distillation import DistillationBox  # noqa: E402
from torchdistill.datasets.registry import register_collate_func  # noqa: E402
from torchdistill.losses.registry import register_mid_level_loss  # noqa: E402
from torchdistill.optim.registry import register_scheduler  # noqa: E402
from transformers import get_linear_schedule_with_warmup  # noqa: E402


class Match(nn.Module):
    """A comparison of what two hooked modules gave."""

    def __init__(self, student: str, teacher: str) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher

    def forward(self, student: dict[str, Any], teacher: dict[str, Any], targets: Tensor) -> Tensor:
        return self.compare(student[self.student]["output"], teacher[self.teacher]["output"])

    def compare(self, student: Any, teacher: Any) -> Tensor:
        raise NotImplementedError


@register_mid_level_loss
class AttentionKL(Match):
    def compare(self, student: Any, teacher: Any) -> Tensor:
        ours, theirs = student[1], teacher[1]  # (B, A, T, T); the first of the pair is the layer's output
        return (theirs * ((theirs + SMALLEST).log() - (ours + SMALLEST).log())).sum(-1).mean()


@register_mid_level_loss
class CLSCosine(Match):
    def compare(self, student: Any, teacher: Any) -> Tensor:
        return (1 - F.cosine_similarity(student[:, 0], teacher[:, 0])).mean()


def make(material: Material, terms: Terms) -> Callable[[], Outcome]:
    torch.set_num_threads(terms.threads)
    rows = Rows(material)
    register_scheduler(get_linear_schedule_with_warmup, key="linear")
    register_collate_func(rows.batch, key="pairs")
    return lambda: outcome(train, material, rows, terms)


class Rows:
    """The examples as pairs of inputs and label."""

    def __init__(self, material: Material) -> None:
        self.rows, self.pad = as_rows(material.examples()), collator(material)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], int]:
        return self.rows[index], self.rows[index]["labels"]

    def batch(self, examples: list[tuple[dict[str, Any], int, Any]]) -> tuple[dict[str, Any], Tensor, dict[str, Any]]:
        padded = self.pad([inputs for inputs, _, _ in examples])
        inputs = {name: values.to(device()) for name, values in padded.items()}
        return inputs, inputs.pop("labels"), {}


def train(student: Any, teacher: Any, rows: Rows, terms: Terms) -> None:
    """The loop of its examples."""
    steps = terms.epochs * -(-len(rows) // terms.batch_size)
    box = DistillationBox(teacher, student, {"train": rows}, configuration(terms, steps), device(), None, False, 1)
    for epoch in range(terms.epochs):
        box.pre_epoch_process(epoch=epoch)
        for inputs, labels, supplement in box.train_data_loader:
            box.pre_forward_process()
            box.post_forward_process(box.forward_process(inputs, labels, supplement))
        box.post_epoch_process()
    box.clean_modules()


def configuration(terms: Terms, steps: int) -> dict[str, Any]:
    """What its YAML files say."""
    layers, matched = zip(*pairs(terms.layers, terms.teacher_layers), strict=True)
    return {
        "num_epochs": terms.epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "collate_fn": "pairs",
            "kwargs": {"batch_size": terms.batch_size},
        },
        "teacher": {"requires_grad": False, **_model(matched)},
        "student": _model(layers),
        "optimizer": {
            "key": "AdamW",
            "kwargs": {"lr": terms.learning_rate, "weight_decay": terms.weight_decay, "fused": True},
            "max_grad_norm": terms.clip,
        },
        "scheduler": {"key": "linear", "kwargs": schedule_arguments(steps, terms), "scheduling_step": 1},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": _losses(terms)}},
    }


def _model(layers: Sequence[int]) -> dict[str, Any]:
    hooked = [place for layer in layers for place in (_map(layer), _states(layer))]
    return {"forward_proc": "forward_batch_only_as_kwargs", "forward_hook": {"output": ["classifier", *hooked]}}


def _losses(terms: Terms) -> dict[str, Any]:
    logits = {f"{who}_module_{what}": name for who in ("student", "teacher") for what, name in LOGITS.items()}
    labels = {"temperature": 1.0, "alpha": terms.hard_label_weight, "beta": 1.0}
    found = {"labels": _term("KDLoss", **logits, **labels)}
    for layer, matched in pairs(terms.layers, terms.teacher_layers):
        found[f"attention {layer}"] = _term("AttentionKL", student=_map(layer), teacher=_map(matched))
        found[f"states {layer}"] = _term("CLSCosine", student=_states(layer), teacher=_states(matched))
    return found


LOGITS = {"path": "classifier", "io": "output"}


def _term(key: str, **kwargs: Any) -> dict[str, Any]:
    return {"criterion": {"key": key, "kwargs": kwargs}, "weight": 1.0}


def _map(layer: int) -> str:
    return f"bert.encoder.layer.{layer - 1}.attention.self"


def _states(layer: int) -> str:
    return f"bert.encoder.layer.{layer - 1}"
