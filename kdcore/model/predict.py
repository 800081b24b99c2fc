"""Examples → logits, in the examples' order."""

import numpy as np
import torch

from kdcore.data.batches import collate, in_order
from kdcore.data.examples import Examples
from kdcore.errors import UserError
from kdcore.model.encoder import Encoder


@torch.inference_mode()
def logits_of(encoder: Encoder, examples: Examples, batch_size: int) -> np.ndarray:
    """(N, K) logits in the examples' order. Raises UserError where one is not a finite number."""
    encoder.eval()
    logits = np.empty((len(examples), encoder.output.out_features), np.float32)
    for rows in in_order(examples.lengths, batch_size):
        batch = collate(examples, rows).to(encoder.device)
        logits[rows] = encoder(batch.inputs, padded=batch.padded).logits.float().cpu().numpy()
    if broken := int((~np.isfinite(logits)).any(axis=1).sum()):
        raise UserError(encoder.config.name_or_path, f"gives NaN or infinity for {broken:,} of {len(logits):,} rows")
    return logits
