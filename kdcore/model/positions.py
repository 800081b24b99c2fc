"""How many tokens a model can take, told from its config alone. No torch here: params are checked with it."""

from collections.abc import Mapping
from typing import Any

OFFSET = ("camembert", "mpnet", "roberta", "xlm-roberta")  # they number positions from the padding token's id + 1 on


def positions(config: Mapping[str, Any]) -> int | None:
    """The most tokens of one text, special ones included; None where the config does not say."""
    count, pad = config.get("max_position_embeddings"), config.get("pad_token_id", 1)
    offset = pad + 1 if config.get("model_type") in OFFSET and type(pad) is int else 0
    return count - offset if type(count) is int else None
