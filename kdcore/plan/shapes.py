"""The shape of the teacher, known before any weights are at hand: from params.yaml, a config.json, or by name."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from kdcore.data.tasks import Task
from kdcore.errors import UserError, near
from kdcore.model.build import shallower
from kdcore.model.config import load_config
from kdcore.model.encoder import Encoder
from kdcore.model.families import family
from kdcore.model.labels import labels_of
from kdcore.model.places import local, resolve

# Name -> family, and where it differs from the family's defaults in transformers, which are those of its base model.
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
_DEBERTA_V3: dict[str, Any] = {
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    **{"relative_attention": True, "position_buckets": 256, "pos_att_type": "p2c|c2p", "share_att_key": True},
    **{"norm_rel_ebd": "layer_norm", "position_biased_input": False},
}
SHAPES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "bert-base": ("bert", {}),
    "bert-base-cased": ("bert", {"vocab_size": 28996}),
    "bert-large": ("bert", _LARGE),
    "distilbert-base": ("distilbert", {}),
    "roberta-base": ("roberta", _ROBERTA),
    "roberta-large": ("roberta", _ROBERTA | _LARGE),
    "xlm-roberta-base": ("xlm-roberta", _ROBERTA | {"vocab_size": 250002}),
    "electra-small": ("electra", {}),
    "electra-base": (
        "electra",
        {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "mpnet-base": ("mpnet", {"max_position_embeddings": 514}),
    "deberta-v3-small": ("deberta-v2", _DEBERTA_V3 | {"num_hidden_layers": 6}),
    "deberta-v3-base": ("deberta-v2", _DEBERTA_V3),
    "deberta-v3-large": ("deberta-v2", _DEBERTA_V3 | _LARGE),
    "modernbert-base": ("modernbert", {}),
}


def config_of(shape: str | None, model: str, revision: str | None) -> tuple[Any, str]:
    """The config, and what it is called: of `shape` (a name above, a config.json or its folder), else of `model`.

    model: as in params.yaml; a hub name that is in the table asks no hub. Raises UserError where there is none.
    """
    if shape is not None:
        return _given(shape), shape
    place = resolve(model)
    if isinstance(place, str) and _known(place) is not None:
        return _known(place), model
    try:
        return load_config(place, revision, labels={}), model
    except UserError as error:
        raise UserError(error.source, [*error.problems, f"name its shape instead: {_choices()}"]) from error


def _given(shape: str) -> Any:
    path = local(shape)
    if path.exists():
        return _read(path / "config.json" if path.is_dir() else path)
    config = _known(shape)
    if config is None:
        raise UserError("--shape", f"unknown shape {shape!r}{near(shape, SHAPES)}; {_choices()}")
    return config


def _choices() -> str:
    return f"--shape takes a config.json, or {', '.join(SHAPES)}"


def _known(name: str) -> Any | None:
    """The config of a name in the table, also with its owner and its variant: google-bert/bert-base-uncased."""
    plain = name.rpartition("/")[2].lower().removesuffix("-uncased").removesuffix("-discriminator")
    if plain not in SHAPES:
        return None
    kind, differs = SHAPES[plain]
    return AutoConfig.for_model(kind, **differs)


def _read(path: Path) -> Any:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(str(path), f"no model's config can be read: {type(error).__name__}: {error}") from error
    family(config.model_type, str(path))
    return config


def for_task(config: Any, task: Task) -> Any:
    """The config of a classifier for the task."""
    own = copy.deepcopy(config)
    for key, value in labels_of(task).items():
        setattr(own, key, value)
    return own


def encoder_of(config: Any, layers: int, device: str = "meta") -> Encoder:
    """A classifier of that shape: of random weights, or, on the device `meta`, of none."""
    with torch.device(device):
        own = shallower(config, tuple(range(1, layers + 1)))
        return Encoder(AutoModelForSequenceClassification.from_config(own, dtype=torch.float32))
