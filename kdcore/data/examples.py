"""Prepared rows → token ids: ragged, without padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

STRETCH = 2**16  # examples whose tokens are looked at together: more would take memory, and no less time


@dataclass(frozen=True)
class Examples:
    """Tokenised examples, ragged: example i has tokens start[i] … start[i+1] of the flat arrays.

    tokens, types: (Σ n,) whole numbers of any width, types None where the tokenizer has none; start: (N + 1,) int64;
    labels: (N,) float64 class ids or scores, NaN where there is none; pad: the padding token's id. The arrays may be
    files that are mapped into memory.
    """

    tokens: np.ndarray
    types: np.ndarray | None
    start: np.ndarray
    labels: np.ndarray
    pad: int

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) tokens per example."""
        return np.diff(self.start)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where the tokens of the examples at `rows` are in the flat arrays, one example after the other."""
        lengths = self.lengths[rows]
        before = np.cumsum(lengths) - lengths  # tokens of the rows before, in the order that is asked for
        return np.repeat(self.start[rows] - before, lengths) + np.arange(lengths.sum())

    def first(self, rows: int) -> "Examples":
        """The first `rows` examples, or all where there are fewer; nothing is copied."""
        if rows >= len(self):
            return self
        start = self.start[: rows + 1]
        end = int(start[-1])
        types = None if self.types is None else self.types[:end]
        return Examples(self.tokens[:end], types, start, self.labels[:rows], self.pad)

    def take(self, rows: np.ndarray) -> "Examples":
        """The examples at `rows`, in that order."""
        places = [self.places(part) for part in _stretches(rows)]
        tokens = np.concatenate([self.tokens[:0], *(self.tokens[part] for part in places)])  # no rows, no tokens
        types = None
        if self.types is not None:
            types = np.concatenate([self.types[:0], *(self.types[part] for part in places)])
        start = np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64)
        return Examples(tokens, types, start, self.labels[rows], self.pad)

    def answered(self, answers: np.ndarray) -> "Examples":
        """The same examples with these (N,) answers in the place of their labels."""
        return replace(self, labels=answers.astype(np.float64))

    def labelled(self) -> "Examples":
        """Those that have a label."""
        known = ~np.isnan(self.labels)
        return self if known.all() else self.take(np.flatnonzero(known))

    def words(self) -> np.ndarray:
        """The ids that occur, each once and in order; the padding token's is one of them."""
        occurs = np.zeros(1 + max(self.pad, int(self.tokens.max(initial=0))), dtype=bool)
        occurs[self.pad] = True
        for at in range(0, len(self.tokens), STRETCH):
            occurs[self.tokens[at : at + STRETCH]] = True
        return np.flatnonzero(occurs)


def encode(tokenizer: Any, frame: pd.DataFrame, max_length: int) -> Examples:
    """Tokenise prepared rows (text_a, text_b, label); texts beyond `max_length` tokens are truncated.

    In memory, all at once: for rows of a prepared task there is kdcore.data.tokens.
    """
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


def _stretches(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[at : at + STRETCH] for at in range(0, len(rows), STRETCH))
