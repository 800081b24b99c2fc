"""One adapter over Hugging Face encoders: it runs layers 1…ℓ and captures what the internal losses compare.

Shapes: B examples, T tokens of the longest, A heads, H hidden size, K classes (1 for a regression).
"""

import os
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
from transformers.utils import strtobool

from kdcore.errors import UserError
from kdcore.model.attention import attend, scores
from kdcore.model.dropout import dropout as cheap_dropout
from kdcore.model.dropout import replace_dropout
from kdcore.model.linear import replace_linear


@dataclass(frozen=True)
class Family:
    """Where an architecture keeps its parts: its list of layers, and the linear layer that gives the logits.

    In a layer, `mixing` is the part in which tokens look at each other, `values` the linear layer in it that gives the
    values, where that gives nothing else, and `alone` a part after it, from whose inputs on every token is computed
    by itself.
    """

    layers: str
    output: str
    mixing: str = "attention.self"
    values: str | None = "value"
    alone: str = "attention.output"


FAMILIES: Mapping[str, Family] = {
    "bert": Family("encoder.layer", "classifier"),
    "roberta": Family("encoder.layer", "classifier.out_proj"),
    "xlm-roberta": Family("encoder.layer", "classifier.out_proj"),
    "camembert": Family("encoder.layer", "classifier.out_proj"),
    "electra": Family("encoder.layer", "classifier.out_proj"),
    "distilbert": Family("transformer.layer", "classifier", "attention", "v_lin", "sa_layer_norm"),
    "modernbert": Family("layers", "classifier", "attn", None, "mlp_norm"),
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
    last: int | None  # the layer of which only [CLS] is read
    layer: int = 0
    valued: tuple[nn.Linear, Tensor] | None = None  # what gives that layer's values, and its input (B, T, H)


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

    query, key, value: (B, A, T, H/A); attention_mask: boolean, broadcastable to (B, A, T, T). In a pass's last layer
    only the first token's result is computed, (B, 1, A, H/A), from the layer's input in the place of `value` where
    that can be; zeros stand in for the others, which nobody reads.
    Hugging Face's own maps are taken after dropout, where rows do not sum to 1: a KL needs them before.
    """
    tokens, wanted, alone = query.shape[2], _wanted(), _alone()
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    dropout = dropout if module.training else 0.0
    if alone:
        mixed = _attend_alone(query, key, value, attention_mask, scaling, dropout)
        return F.pad(mixed, (0, 0, 0, 0, 0, tokens - 1)), None
    if wanted or (dropout and query.device.type == "cpu"):  # on a CPU sdpa draws its masks one by one
        mixed, log_maps = attend(query, key, value, attention_mask, scaling, dropout)
        if wanted:
            _hand_out(log_maps)
        return mixed.transpose(1, 2).contiguous(), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)


def _attend_alone(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float
) -> Tensor:
    """(B, 1, A, H/A): the first token's result alone; the whole map is made only where it is wanted."""
    if not _wanted():
        query, mask = query[:, :, :1], None if mask is None else mask[..., :1, :]
    found = scores(query * scaling, key, mask)
    log_maps = F.log_softmax(found.float() if found.itemsize < 4 else found, dim=-1)
    if _wanted():
        _hand_out(log_maps)
    row = log_maps[:, :, :1].exp().to(value.dtype)
    if dropout:
        row = cheap_dropout(row, dropout)
    mixed = _mix_input(row)
    return (row @ value).transpose(1, 2) if mixed is None else mixed


def _mix_input(probabilities: Tensor) -> Tensor | None:
    """(B, A, 1, T) attention of the first token → its result (B, 1, A, H/A), where the layer's values were held back.

    A head gives Σ_j p_j (W x_j + b) = W Σ_j p_j x_j + b Σ_j p_j: the sum first needs no value of any token.
    """
    if _capture is None or _capture.valued is None:
        return None
    values, inputs = _capture.valued
    rows, heads = probabilities[:, :, 0], probabilities.shape[1]
    mixed = torch.einsum("bah,adh->bad", rows @ inputs, values.weight.unflatten(0, (heads, -1)))
    if values.bias is not None:
        mixed = mixed + rows.sum(-1, keepdim=True) * values.bias.unflatten(0, (heads, -1))
    return mixed[:, None]


def _hand_out(log_maps: Tensor) -> None:
    """(B, A, T, T) log-probabilities of the layer at work, before dropout."""
    if _capture is not None:
        _capture.internals.attention[_capture.layer] = log_maps


def _wanted() -> bool:
    return _capture is not None and _capture.layer in _capture.wanted


def _alone() -> bool:
    """Whether the layer at work is the pass's last, of which [CLS] alone is read."""
    return _capture is not None and _capture.layer == _capture.last


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
        replace_linear(model)
        for index, layer in enumerate(self.layers, start=1):
            layer.register_forward_pre_hook(lambda *_, index=index: _enter(index))
            layer.register_forward_hook(lambda _, __, output, index=index: _leave(index, output))
            layer.get_submodule(self.family.alone).register_forward_pre_hook(_narrow)
            if self.family.values:
                values = layer.get_submodule(self.family.mixing).get_submodule(self.family.values)
                values.register_forward_pre_hook(_hold_back)
                values.register_forward_hook(_stand_in)

    @classmethod
    def load(cls, folder: str | Path, **kwargs: Any) -> "Encoder":
        """Load a classifier from a folder or the hub: safetensors only, no remote code. It is where it computes.

        Raises UserError where there is none, or where it is of an unknown family.
        """
        return cls(load_classifier(folder, **kwargs)).to(device())

    def save(self, folder: Path) -> None:
        """Write an ordinary Hugging Face folder, without a trace of the capture."""
        self.model.set_attn_implementation("sdpa")
        try:
            self.model.save_pretrained(folder, safe_serialization=True)
        finally:
            self.model.set_attn_implementation(ATTENTION)

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
        _capture = _Capture(attention, internals, self.narrowed(depth))
        try:
            if depth is None:
                internals.logits = self.model(**inputs).logits
            else:
                with self._only(depth):
                    self.model.base_model(**inputs)
        finally:
            _capture = None
        return internals

    def narrowed(self, depth: int | None) -> int | None:
        """The last layer of a pass, which computes [CLS] alone after its attention; None where all its tokens are read.

        The classifiers of all families read [CLS] only, but for a ModernBERT that is told to take the mean.
        """
        if depth is None and getattr(self.config, "classifier_pooling", "cls") != "cls":
            return None
        return len(self.layers) if depth is None else depth

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


def _narrow(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """In a pass's last layer, go on with the first token: (B, T, H) → (B, 1, H)."""
    return tuple(value[:, :1] for value in inputs) if _alone() else None


def _hold_back(values: nn.Linear, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """In a pass's last layer, give the first token's values only: the attention takes the input in their place."""
    if _capture is None or not _alone():
        return None
    _capture.valued = values, inputs[0]
    return (inputs[0][:, :1],)


def _stand_in(_: nn.Linear, __: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    """Bring values that were held back to the shape that the layer asks for; nobody reads them."""
    if _capture is None or _capture.valued is None:
        return None
    return output.expand(-1, _capture.valued[1].shape[1], -1)


def _leave(layer: int, output: Any) -> None:
    if _capture is not None:
        hidden = output[0] if isinstance(output, tuple) else output  # (B, T, H)
        _capture.internals.cls[layer] = hidden[:, 0]


def device() -> torch.device:
    """Where models compute: this process's CUDA GPU, or the CPU, to which ACCELERATE_USE_CPU=true keeps."""
    if not torch.cuda.is_available() or strtobool(os.environ.get("ACCELERATE_USE_CPU", "false")):
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


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
        config = AutoConfig.from_pretrained(name, trust_remote_code=False, **kwargs)
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
            name,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **kwargs,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(str(name), f"weights can't be read: {str(error).splitlines()[0]}") from error
    encoder = f"{model.base_model_prefix}."
    lost = sorted(k for k in found["missing_keys"] if k.startswith(encoder) and not k.startswith(f"{encoder}pooler."))
    if lost:  # transformers draws them at random
        raise UserError(str(name), f"weights can't be read: {len(lost)} of the encoder's are missing, first {lost[0]}")
    broken = [key for key, weight in model.named_parameters() if not weight.isfinite().all()]
    if broken:
        raise UserError(str(name), f"weights can't be used: {len(broken)} hold NaN or infinity, first {broken[0]}")
    return model


def _is_path(name: str | Path) -> bool:
    return isinstance(name, Path) or name.startswith((".", "/", "~")) or Path(name).exists()
