"""The architectures whose internals can be captured: what each calls its parts, how many tokens it takes. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdcore.errors import UserError


@dataclass(frozen=True)
class Family:
    """Names of an architecture's parts, as `get_submodule` takes them.

    layers: the list of layers, within the bare encoder
    output: the linear layer that gives the logits, within the classifier

    The others are names within one layer:
    attention: the part in which tokens look at each other
    own_map: of an architecture that attends by code of its own, not through transformers' AttentionInterface: the
        dropout whose input is the attention map, (B, A, T, T) probabilities

    Two are for the shortcut in last_layer.py alone, which such an architecture does without:
    values: the linear layer within `attention` that gives the values and nothing else; None where queries, keys and
        values come from one layer
    after_attention: the first part after `attention`; from its inputs on, each token is computed without the others

    And what a layer costs where nothing but its config is at hand, for cost.py:
    every: of its four linear layers of H·H weights, how many are within `attention` and not `values`
    inner: its linear layers between H and the width inside
    """

    layers: str
    output: str
    attention: str = "attention.self"
    values: str | None = "value"
    after_attention: str = "attention.output"
    own_map: str | None = None
    every: int = 2
    inner: int = 2


FAMILIES: Mapping[str, Family] = {
    "bert": Family("encoder.layer", "classifier"),
    "roberta": Family("encoder.layer", "classifier.out_proj"),
    "xlm-roberta": Family("encoder.layer", "classifier.out_proj"),
    "camembert": Family("encoder.layer", "classifier.out_proj"),
    "electra": Family("encoder.layer", "classifier.out_proj"),
    "mpnet": Family("encoder.layer", "classifier.out_proj", "attention.attn", own_map="attention.attn.dropout"),
    "deberta": Family("encoder.layer", "classifier", own_map="attention.self.dropout"),
    "deberta-v2": Family("encoder.layer", "classifier", own_map="attention.self.dropout"),  # DeBERTa-v3 too
    "distilbert": Family("transformer.layer", "classifier", "attention", "v_lin", "sa_layer_norm", every=3),
    "modernbert": Family("layers", "classifier", "attn", None, "mlp_norm", every=4, inner=3),
}

OFFSET = ("camembert", "mpnet", "roberta", "xlm-roberta")  # they number positions from the padding token's id + 1 on


def family(model_type: str, name: str) -> Family:
    """The family of the model `name`. Raises UserError that lists those that can be captured."""
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UserError(name, f"architecture {model_type!r} can't be captured; these can: {known}")
    return FAMILIES[model_type]


def positions(config: Mapping[str, Any]) -> int | None:
    """The most tokens of one text, special ones included; None where the config does not say."""
    count, pad = config.get("max_position_embeddings"), config.get("pad_token_id", 1)
    offset = pad + 1 if config.get("model_type") in OFFSET and type(pad) is int else 0
    return count - offset if type(count) is int else None
