"""Prepared rows → token ids: ragged, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Examples:
    """Tokenised examples, ragged: example i has tokens start[i] … start[i+1] of the flat arrays.

    tokens, types: (Σ n,) int32, types None where the tokenizer has none; start: (N + 1,) int64;
    labels: (N,) float64 class ids or scores, NaN where there is none; pad: the padding token's id.
    """

    tokens: np.ndarray
    types: np.ndarray | None
    start: np.ndarray
    labels: np.ndarray
    pad: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) tokens per example."""
        return np.diff(self.start)

    def first(self, rows: int) -> "Examples":
        """The first `rows` examples, or all where there are fewer."""
        return self if rows >= len(self) else self.take(np.arange(rows))

    def take(self, rows: np.ndarray) -> "Examples":
        """The examples at `rows`, in that order."""
        tokens = [np.arange(self.start[row], self.start[row + 1]) for row in rows]
        flat = np.concatenate([np.arange(0), *tokens])  # no rows, no tokens
        start = np.cumsum([0, *self.lengths[rows]], dtype=np.int64)
        types = None if self.types is None else self.types[flat]
        return Examples(self.tokens[flat], types, start, self.labels[rows], self.pad)

    def answered(self, answers: np.ndarray) -> "Examples":
        """The same examples with these (N,) answers in the place of their labels."""
        return replace(self, labels=answers.astype(np.float64))

    def labelled(self) -> "Examples":
        """Those that have a label."""
        known = ~np.isnan(self.labels)
        return self if known.all() else self.take(np.flatnonzero(known))


def encode(tokenizer: Any, frame: pd.DataFrame, max_length: int) -> Examples:
    """Tokenise prepared rows (text_a, text_b, label); texts beyond `max_length` tokens are truncated."""
    texts = [frame["text_a"].tolist()]
    if frame["text_b"].notna().any():
        texts.append(frame["text_b"].tolist())
    encoded = tokenizer(*texts, truncation=True, max_length=max_length, padding=False, verbose=False)
    typed = "token_type_ids" in tokenizer.model_input_names
    start = np.cumsum([0, *map(len, encoded["input_ids"])], dtype=np.int64)
    return Examples(
        tokens=_flat(encoded["input_ids"]),
        types=_flat(encoded["token_type_ids"]) if typed else None,
        start=start,
        labels=frame["label"].to_numpy(dtype=np.float64, na_value=np.nan),
        pad=tokenizer.pad_token_id,
    )


def _flat(lists: Sequence[Sequence[int]]) -> np.ndarray:
    return np.concatenate([np.asarray(tokens, dtype=np.int32) for tokens in lists])
