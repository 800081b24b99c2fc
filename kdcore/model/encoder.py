"""One adapter over Hugging Face encoders: it runs layers 1…ℓ and captures what the internal losses compare.

Shapes: B examples, T tokens of the longest, A heads, H hidden size, K classes (1 for a regression).
"""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface
from transformers.utils import strtobool

from kdcore.model.attention import attend
from kdcore.model.capture import Internals, Pass, captured, in_progress, overhear, watch
from kdcore.model.cost import Shape, distances
from kdcore.model.dropout import drawn_here, replace_dropout
from kdcore.model.families import family
from kdcore.model.last_layer import attend_first, shorten
from kdcore.model.linear import replace_linear
from kdcore.model.loading import load_classifier
from kdcore.model.mask import mask

ATTENTION = "kdcore"  # the name under which `attention` is registered with transformers


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """(B, T, A, H/A) attention as transformers' layers call it; its log-probabilities go to the pass that wants them.

    query, key, value: (B, A, T, H/A); attention_mask: boolean, broadcastable to (B, A, T, T).
    """
    running = in_progress()
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    dropout = dropout if module.training else 0.0
    if running.reads_cls_only:
        return attend_first(running, query, key, value, attention_mask, scaling, dropout), None
    # sdpa gives no map, and Hugging Face's own maps are those after dropout, whose rows do not sum to 1. Where nobody
    # asks for a map sdpa is the faster one, but for dropout on a CPU: there it draws its masks number by number.
    if not running.wants_map and not (dropout and drawn_here(query)):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    mixed, log_maps = attend(query, key, value, attention_mask, scaling, dropout)
    if running.wants_map:
        running.hand_out(log_maps)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, mask)


class Encoder(nn.Module):
    """A sequence classifier of a known family, with access to its layers."""

    def __init__(self, model: Any) -> None:
        """Raises UserError for an architecture whose internals can't be captured."""
        super().__init__()
        self.model = model
        self.family = family(model.config.model_type, model.config.name_or_path or type(model).__name__)
        replace_dropout(model)
        replace_linear(model)
        watch(self.layers)
        if self.family.own_map:
            overhear(self.layers, self.family.own_map)
        else:
            model.set_attn_implementation(ATTENTION)
            shorten(self.layers, self.family)

    @classmethod
    def load(cls, folder: str | Path) -> "Encoder":
        """The classifier in a folder, on the device that computes. Raises UserError where it is not whole."""
        return cls(load_classifier(folder)).to(device())

    def save(self, folder: Path) -> None:
        """Write an ordinary Hugging Face folder, without a trace of the capture."""
        self.model.save_pretrained(folder, safe_serialization=True)

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

    @property
    def shape(self) -> Shape:
        """What its passes cost. Raises ValueError where its layers are not alike."""
        ((every, alone, mixes),) = {self._layer_weights(layer) for layer in self.layers}
        head = sum(p.numel() for p in self.head_parameters() if p.ndim == 2)
        cls_only, (met, squares) = self.last_layer(None) is not None, distances(self.config.to_dict())
        return Shape(len(self.layers), every + met, alone, mixes, head, self.config.hidden_size, cls_only, squares)

    def _layer_weights(self, layer: nn.Module) -> tuple[int, int, int]:
        """`every`, `alone` and `mixes` of Shape, without distances."""
        attention = layer.get_submodule(self.family.attention)
        if self.family.own_map:
            of_distances = (part for name, part in attention.named_children() if name.startswith("pos_"))
            return linear_weights(layer) - sum(map(linear_weights, of_distances)), 0, 0
        every, mixed = linear_weights(attention), 1
        if self.family.values is not None:
            every -= linear_weights(attention.get_submodule(self.family.values))
            mixed = self.config.num_attention_heads
        return every, linear_weights(layer) - every, 1 + mixed

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Everything above the encoder's layers: the pooler, where there is one, and the classifier."""
        body = {id(p) for name, p in self.model.base_model.named_parameters() if not name.startswith("pooler.")}
        return (parameter for parameter in self.parameters() if id(parameter) not in body)

    def below(self, layer: int) -> list[nn.Module]:
        """Layers 1…layer and what is neither layer nor pooler: embeddings, what layers share. Nothing for 0."""
        if not layer:
            return []
        parts, around = list[nn.Module](self.layers[:layer]), self.model.base_model
        for name in self.family.layers.split("."):
            parts += [part for other, part in around.named_children() if other not in (name, "pooler")]
            around = around.get_submodule(name)
        return parts

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
        padded: bool | None = None,
        hidden: Collection[int] = (),
    ) -> Internals:
        """Run the whole classifier, or layers 1…depth only, and hand out its internals.

        inputs: input_ids and attention_mask (B, T), token_type_ids where the family has them;
        attention, hidden: the layers whose maps, and whose every token's output, are wanted; padded: whether
        attention_mask holds a 0, None to have a look. [CLS] vectors are handed out for every layer that runs.
        """
        last = self.last_layer(depth)
        made = Internals()  # here, as torch.compile does not trace one that Pass makes for itself
        with captured(Pass(attention, None if last in hidden else last, padded, hidden, made)) as internals:
            if depth is None:
                internals.logits = self.model(**inputs).logits
            else:
                with self._only(depth):
                    self.model.base_model(**inputs)
        return internals

    def last_layer(self, depth: int | None) -> int | None:
        """The layer of a pass that computes [CLS] alone (last_layer.py); None where the last one computes every token.

        The classifiers of all families read [CLS] only, but for a ModernBERT that is told to take the mean.
        """
        if self.family.own_map or (depth is None and getattr(self.config, "classifier_pooling", "cls") != "cls"):
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


def linear_weights(module: nn.Module) -> int:
    """Weights of the linear layers in a module."""
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def device() -> torch.device:
    """Where models compute: this process's CUDA GPU, or the CPU, to which ACCELERATE_USE_CPU=true keeps."""
    if not torch.cuda.is_available() or strtobool(os.environ.get("ACCELERATE_USE_CPU", "false")):
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
