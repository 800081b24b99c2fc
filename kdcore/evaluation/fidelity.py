"""How faithful a student is to its teacher: outputs, attention maps and [CLS] vectors on the same examples."""

from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, softmax

from kdcore.data.batches import collate, in_order
from kdcore.data.examples import Examples
from kdcore.data.metrics import predictions
from kdcore.distil.losses import BY_HEAD, FUNCTIONS
from kdcore.distil.methods import INTERNAL, need
from kdcore.distil.signals import Signals
from kdcore.model.encoder import Encoder


@torch.inference_mode()
def fidelity(
    student: Encoder, examples: Examples, signals: Signals, layer_map: tuple[int, ...], batch_size: int
) -> dict[str, Any]:
    """How faithful the student is on `examples`.

    Every internal loss by its term, per student layer: attention_kl, KL(teacher || student), also per head;
    cls_cosine, 1 - cos; agreement: share of equal predictions; soft_label_kl: KL(p_T || p_S). All are means over
    examples. A regression has `score_mse` in place of the last two.
    """
    student.eval()
    pairs = list(enumerate(layer_map, start=1))
    hidden = layer_map if need(INTERNAL, "hidden") else ()
    sums: dict[str, list[Any]] = {loss.term: [0.0] * len(pairs) for loss in INTERNAL.values()}
    own = np.empty((len(examples), student.output.out_features), np.float32)
    teachers = np.empty_like(own)
    for rows in in_order(examples.lengths, batch_size):
        batch = collate(examples, rows).to(student.device)
        internals = student(batch.inputs, attention=range(1, len(pairs) + 1), hidden=range(1, len(hidden) + 1))
        teaching = signals.at(batch, layer_map, layer_map, hidden=hidden)
        own[rows], teachers[rows] = internals.logits.cpu().numpy(), teaching.logits.cpu().numpy()
        for loss in INTERNAL.values():
            function = BY_HEAD.get(loss.name, FUNCTIONS[loss.name])
            for layer, target in pairs:
                theirs = getattr(teaching, loss.needs)[target]
                values = function(getattr(internals, loss.needs)[layer], theirs, batch.mask)  # (B,) or (B, A)
                sums[loss.term][layer - 1] += values.double().sum(0).cpu().numpy()
    means = {term: (np.asarray(layers) / len(examples)).tolist() for term, layers in sums.items()}
    return {**output_fidelity(own, teachers), **means}


def output_fidelity(student: np.ndarray, teacher: np.ndarray) -> dict[str, float | None]:
    """Fidelity of the outputs alone, from (N, K) logits of both."""
    if student.shape[1] == 1:
        return {"agreement": None, "score_mse": float(np.square(student - teacher).mean())}
    p, log_p, log_q = softmax(teacher, axis=1), log_softmax(teacher, axis=1), log_softmax(student, axis=1)
    return {
        "agreement": float((predictions(student) == predictions(teacher)).mean()),
        "soft_label_kl": float((p * (log_p - log_q)).sum(1).mean()),
    }
