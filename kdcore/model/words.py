"""Word embeddings that train the words of the training set only: every other word's gradient is always 0.

Most weights of a small model are word embeddings, and most words do not occur in a training set. A dense gradient is
cleared, measured for clipping and run through AdamW for all of them; here that is done for those that occur.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)

from kdcore.model.encoder import Encoder


class OccurringWords(nn.Module):
    """Stands in for an encoder's word embeddings while it trains: `weight` has a row for each word that occurs.

    The other words change by weight decay alone. In eval mode every word is known.
    """

    rows: Tensor  # (W,) ids of the words that occur
    places: Tensor  # (V,) each id's row in `weight`, -1 for words that do not occur
    whole: Tensor  # (V, H) all embeddings, for eval mode

    def __init__(self, encoder: Encoder, words: np.ndarray) -> None:
        """words: ids of the training examples and of padding, each once."""
        super().__init__()
        # In tuples: as attributes they would become submodules, whose weights the optimizer would see.
        self._base = (encoder.model.base_model,)
        self._former: tuple[nn.Embedding] = (encoder.model.base_model.get_input_embeddings(),)
        start, padding = self._former[0].weight.detach(), self._former[0].padding_idx
        rows = torch.from_numpy(words.astype(np.int64))
        places = torch.full((len(start),), -1, dtype=torch.int64)
        places[rows] = torch.arange(len(rows))
        for name, value in {"rows": rows, "places": places, "whole": torch.empty_like(start)}.items():
            self.register_buffer(name, value, persistent=False)
        self.weight = nn.Parameter(start[rows])
        self.kept = 1.0  # the share that weight decay has left of the words that do not occur
        self._padding = int(places[padding]) if padding is not None and padding in rows else None
        self._base[0].set_input_embeddings(self)
        self.train(self._former[0].training)

    def forward(self, ids: Tensor) -> Tensor:
        if self.training:
            return F.embedding(self.places[ids], self.weight, self._padding)
        return F.embedding(ids, self.whole)

    def decay(self, share: float) -> None:
        """An optimizer step has taken this share of every weight that trains."""
        if self.weight.requires_grad:
            self.kept *= 1.0 - share

    def train(self, mode: bool = True) -> "OccurringWords":
        if self.training and not mode:
            self._complete()
        return super().train(mode)

    def leave(self) -> None:
        """Put the encoder's own embeddings back, as they are after training."""
        self._complete()
        former = self._former[0]
        former.weight.data = self.whole
        self._base[0].set_input_embeddings(former)

    @torch.no_grad()
    def _complete(self) -> None:
        torch.mul(self._former[0].weight.to(self.whole.device), self.kept, out=self.whole)
        self.whole[self.rows] = self.weight
