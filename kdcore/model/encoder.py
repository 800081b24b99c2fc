"""One adapter over Hugging Face encoders: it runs layers 1…ℓ and captures what the internal losses compare.

Shapes: B examples, T tokens of the longest, A heads, H hidden size, K classes (1 for a regression).
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)
from transformers import AttentionInterface, AutoConfig, AutoModelForSequenceClassification
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from kdcore.errors import UserError
from kdcore.model.dropout import dropout as cheap_dropout
from kdcore.model.dropout import replace_dropout


@dataclass(frozen=True)
class Family:
    """Where an architecture keeps its parts: its list of layers, and the linear layer that gives the logits."""

    layers: str
    output: str


FAMILIES: Mapping[str, Family] = {
    "bert": Family("encoder.layer", "classifier"),
    "roberta": Family("encoder.layer", "classifier.out_proj"),
    "xlm-roberta": Family("encoder.layer", "classifier.out_proj"),
    "camembert": Family("encoder.layer", "classifier.out_proj"),
    "electra": Family("encoder.layer", "classifier.out_proj"),
    "distilbert": Family("transformer.layer", "classifier"),
    "modernbert": Family("layers", "classifier"),
}

ATTENTION = "kdcore"  # the name under which the capture is registered with transformers


@dataclass
class Internals:
    """What one forward pass hands out, by 1-based layer.

    attention: (B, A, T, T) log-probabilities before dropout; cls: (B, H) output of the first token;
    logits: (B, K), None where the pass stopped below the classifier.
    """

    attention: dict[int, Tensor] = field(default_factory=dict)
    cls: dict[int, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None


@dataclass
class _Capture:
    wanted: Collection[int]
    internals: Internals
    layer: int = 0


# The attention function gets no handle on its caller, so the pass in progress is kept here.
_capture: _Capture | None = None


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention that records its log-probabilities where they are wanted, and is sdpa where it drops nothing.

    query, key, value: (B, A, T, H/A); attention_mask: boolean, broadcastable to (B, A, T, T).
    Hugging Face's own maps are taken after dropout, where rows do not sum to 1: a KL needs them before.
    """
    wanted = _capture is not None and _capture.layer in _capture.wanted
    if not wanted and not (dropout and query.device.type == "cpu"):  # on a CPU sdpa draws its masks one by one
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query * scale) @ key.transpose(-2, -1)
    if attention_mask is not None:
        # The smallest finite number, not -inf: a masked entry has probability 0, and 0 · log 0 stays 0.
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    if _capture is not None and wanted:
        log_probabilities = F.log_softmax(scores.float(), dim=-1)
        _capture.internals.attention[_capture.layer] = log_probabilities
        probabilities = log_probabilities.exp().to(value.dtype)
    else:
        probabilities = F.softmax(scores, dim=-1)
    if dropout and module.training:
        probabilities = cheap_dropout(probabilities, dropout)
    return (probabilities @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class Encoder(nn.Module):
    """A sequence classifier of a known family, with access to its layers."""

    def __init__(self, model: Any) -> None:
        """Raises UserError for an architecture whose internals can't be captured."""
        super().__init__()
        self.model = model
        self.family = family(model.config, model.config.name_or_path or type(model).__name__)
        model.set_attn_implementation(ATTENTION)
        replace_dropout(model)
        for index, layer in enumerate(self.layers, start=1):
            layer.register_forward_pre_hook(lambda *_, index=index: _enter(index))
            layer.register_forward_hook(lambda _, __, output, index=index: _leave(index, output))

    @classmethod
    def load(cls, folder: str | Path, **kwargs: Any) -> "Encoder":
        """Load a classifier from a folder or the hub: safetensors only, no remote code.

        Raises UserError where there is none, or where it is of an unknown family.
        """
        return cls(load_classifier(folder, **kwargs))

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.base_model.get_submodule(self.family.layers)

    @property
    def output(self) -> nn.Linear:
        """The linear layer that gives the logits."""
        return self.model.get_submodule(self.family.output)

    @property
    def device(self) -> torch.device:
        return self.output.weight.device

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Everything above the encoder's layers: the pooler, where there is one, and the classifier."""
        body = {id(parameter) for parameter in self._below_head()}
        return (parameter for parameter in self.parameters() if id(parameter) not in body)

    def _below_head(self) -> Iterator[nn.Parameter]:
        return (p for name, p in self.model.base_model.named_parameters() if not name.startswith("pooler."))

    def parameter_counts(self) -> dict[str, int]:
        """`encoder_and_pooler` leaves out embeddings and the output layer (the paper's axis); `total` is all."""
        counted = {
            name: p.numel()
            for name, p in self.model.named_parameters()
            if "embeddings" not in name and not name.startswith(self.family.output + ".")
        }
        return {
            "encoder_and_pooler": sum(counted.values()),
            "total": sum(p.numel() for p in self.model.parameters()),
        }

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        depth: int | None = None,
        attention: Collection[int] = (),
    ) -> Internals:
        """Run the whole classifier, or layers 1…depth only, and hand out its internals.

        inputs: input_ids and attention_mask (B, T), token_type_ids where the family has them;
        attention: the layers whose maps are wanted. [CLS] vectors are handed out for every layer that runs.
        """
        global _capture
        internals = Internals()
        _capture = _Capture(attention, internals)
        try:
            if depth is None:
                internals.logits = self.model(**inputs).logits
            else:
                with self._only(depth):
                    self.model.base_model(**inputs)
        finally:
            _capture = None
        return internals

    @contextmanager
    def _only(self, depth: int) -> Iterator[None]:
        """For a while, the encoder has its first `depth` layers only, and no pooler."""
        base = self.model.base_model
        path, _, name = self.family.layers.rpartition(".")
        parent, layers, pooler = base.get_submodule(path), self.layers, getattr(base, "pooler", None)
        setattr(parent, name, layers[:depth])
        if pooler is not None:
            base.pooler = None
        try:
            yield
        finally:
            setattr(parent, name, layers)
            if pooler is not None:
                base.pooler = pooler


def _enter(layer: int) -> None:
    if _capture is not None:
        _capture.layer = layer


def _leave(layer: int, output: Any) -> None:
    if _capture is not None:
        hidden = output[0] if isinstance(output, tuple) else output  # (B, T, H)
        _capture.internals.cls[layer] = hidden[:, 0]


def family(config: Any, name: str) -> Family:
    """The family of a model's config. Raises UserError that lists those that can be captured."""
    if config.model_type not in FAMILIES:
        raise UserError(
            name,
            f"architecture {config.model_type!r} can't be captured; these can: {', '.join(sorted(FAMILIES))}",
        )
    return FAMILIES[config.model_type]


def load_config(name: str | Path, **kwargs: Any) -> Any:
    """A model's config. Raises UserError where there is none or its family is unknown."""
    if _is_path(name) and not (Path(name) / "config.json").is_file():
        raise UserError(str(name), "no model here: a local model is a folder with config.json")
    try:
        config = AutoConfig.from_pretrained(name, **kwargs)
    except (OSError, ValueError) as error:
        raise UserError(str(name), f"no model can be read: {str(error).splitlines()[0]}") from error
    family(config, str(name))
    return config


def load_classifier(name: str | Path, **kwargs: Any) -> Any:
    """A sequence classifier, or a bare encoder with a new head.

    Raises UserError where it can't be read, or where weights of the encoder are missing.
    """
    config = load_config(name, **{key: value for key, value in kwargs.items() if key == "revision"})
    for key in ("num_labels", "id2label", "label2id", "problem_type"):
        if key in kwargs:
            setattr(config, key, kwargs.pop(key))
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            name, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **kwargs
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(str(name), f"weights can't be read: {str(error).splitlines()[0]}") from error
    encoder = f"{model.base_model_prefix}."
    lost = sorted(k for k in found["missing_keys"] if k.startswith(encoder) and not k.startswith(f"{encoder}pooler."))
    if lost:  # transformers draws them at random
        raise UserError(str(name), f"weights can't be read: {len(lost)} of the encoder's are missing, first {lost[0]}")
    return model


def _is_path(name: str | Path) -> bool:
    return isinstance(name, Path) or name.startswith((".", "/", "~")) or Path(name).exists()
