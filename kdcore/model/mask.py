"""The attention mask of a batch, made without asking a GPU whether anything is padded.

transformers reads that off the mask, so a GPU's processor waits in every pass until the mask is there. Who made the
batch knows it.
"""

from typing import Any

from torch import Tensor
from transformers.masking_utils import sdpa_mask

from kdcore.model.capture import in_progress


def mask(*, attention_mask: Tensor | None, local_size: int | None = None, **asked: Any) -> Tensor | None:
    """What transformers' models ask for: True where a token may be looked at, broadcastable to (B, A, T, T), or None.

    attention_mask: (B, T), True on real tokens; local_size: tokens of a sliding window (ModernBERT). None is for no
    mask at all: no token is padded, and the window, if there is one, is wider than the text.
    """
    padded = in_progress().padded
    if padded and attention_mask is not None and local_size is None:
        return attention_mask[:, None, None]
    if padded:
        asked["allow_is_bidirectional_skip"] = False  # there is something to mask
    elif padded is not None:
        attention_mask = None
    return sdpa_mask(attention_mask=attention_mask, local_size=local_size, **asked)
