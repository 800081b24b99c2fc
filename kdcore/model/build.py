"""Build a student: the teacher's architecture with fewer layers, started from one of five sources."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from kdcore.errors import UserError
from kdcore.model.config import load_config
from kdcore.model.encoder import Encoder
from kdcore.model.layers import layer_map
from kdcore.model.loading import load_classifier, load_pretrained

# What configs call the rates of dropout in embeddings, layers and attention; a head may have one of its own.
RATES = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"),
    *("embedding_dropout", "mlp_dropout"),
)


def build(
    teacher: str | Path,
    pretrained: str | Path,
    *,
    layers: int,
    init: str,
    head: str = "new",
    mapped: str | Sequence[int],
    seed: int,
    dropout: float | None = None,
    revision: str | None = None,
) -> Encoder:
    """A student of `layers` layers with the teacher's labels.

    init: `teacher` and `pretrained` copy the layers that `mapped` matches, `teacher_lower` and
    `pretrained_lower` the first ones, `random` none; embeddings and pooler follow the same source. head: with `new` the
    layer that gives the logits is drawn from `seed` before anything is copied, so that students of one seed share it;
    with `teacher` all above the layers is the teacher's: pooler, or dense layer, and that layer. dropout: its rate
    below the head; None: the teacher's.

    Raises UserError for a bad layer map, or a pre-trained encoder of another shape than the teacher.
    """
    config = load_config(Path(teacher))
    for name in RATES if dropout is not None else ():
        if hasattr(config, name):
            setattr(config, name, dropout)
    matched = layer_map(mapped, layers, config.num_hidden_layers)
    sources = tuple(range(1, layers + 1)) if init.endswith("_lower") else matched  # of each layer, from 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = Encoder(
            AutoModelForSequenceClassification.from_config(shallower(config, sources), dtype=torch.float32)
        )
        taught: Any = load_classifier(Path(teacher)) if "teacher" in (head, init.partition("_")[0]) else None
        if init.startswith("teacher"):
            _copy(taught, student, sources)
        elif init.startswith("pretrained"):
            source = load_pretrained(pretrained, revision, labels={}, pooler=head == "new")
            _check_same_shape(source.config, config, pretrained, teacher)
            _copy(source.base_model, student, sources)
        if head == "teacher":
            above = {id(parameter) for parameter in student.head_parameters()}
            names = [name for name, parameter in student.model.named_parameters() if id(parameter) in above]
            weights = taught.state_dict()
            student.model.load_state_dict({name: weights[name] for name in names}, strict=False)
    return student


def shallower(config: Any, sources: tuple[int, ...]) -> Any:
    """The config with as many layers as `sources`, each of its source's attention type where types exist."""
    shallow = copy.deepcopy(config)
    if getattr(shallow, "layer_types", None):
        shallow.layer_types = [config.layer_types[layer - 1] for layer in sources]
    shallow.num_hidden_layers = len(sources)
    return shallow


def _copy(source: Any, student: Encoder, sources: tuple[int, ...]) -> None:
    """Copy every weight that the student has too; its layer i takes the source's layer sources[i].

    The output layer stays new. ModernBERT's first layer has no attention norm, so a deeper layer that is copied
    there leaves its own behind.
    """
    whole = student.model if _has_head(source) else student.model.base_model
    known = student.family
    prefix = f"{source.base_model_prefix}." if _has_head(source) else ""
    stack = f"{prefix}{known.layers}."
    weights = source.state_dict()
    with torch.no_grad():
        for name, target in whole.state_dict().items():
            if name.startswith(f"{known.output}.") and _has_head(source):
                continue
            if name.startswith(stack):
                index, _, rest = name.removeprefix(stack).partition(".")
                name = f"{stack}{sources[int(index)] - 1}.{rest}"
            if name in weights:
                target.copy_(weights[name])


def _has_head(model: Any) -> bool:
    return model.base_model is not model


def _check_same_shape(pretrained: Any, teacher: Any, name: str | Path, teacher_name: str | Path) -> None:
    keys = ("model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
    values = [(key, getattr(pretrained, key, None), getattr(teacher, key, None)) for key in keys]
    problems = [
        f"{key} is {own}, but the teacher at {teacher_name} has {wanted}"
        for key, own, wanted in values
        if own != wanted
    ]
    if problems:
        raise UserError(str(name), problems)
