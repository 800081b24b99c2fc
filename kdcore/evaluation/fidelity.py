"""How faithful a student is to its teacher: outputs, attention maps and [CLS] vectors on the same examples."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, softmax

from kdcore.data.batches import collate, in_order
from kdcore.data.examples import Examples
from kdcore.data.metrics import predictions
from kdcore.distil.losses import attention_kl_by_head, cls_cosine
from kdcore.distil.signals import Signals, Teaching
from kdcore.model.capture import Internals
from kdcore.model.encoder import Encoder


@torch.inference_mode()
def fidelity(
    student: Encoder, examples: Examples, signals: Signals, layer_map: tuple[int, ...], batch_size: int
) -> dict[str, Any]:
    """How faithful the student is on `examples`.

    attention_kl: KL(teacher || student) per student layer and head; cls_cosine: 1 - cos per student layer;
    agreement: share of equal predictions; soft_label_kl: KL(p_T || p_S). All are means over examples.
    A regression has `score_mse` in place of the last two.
    """
    student.eval()
    layers, heads = len(layer_map), student.config.num_attention_heads
    kl, cosine = np.zeros((layers, heads)), np.zeros(layers)
    own = np.empty((len(examples), student.output.out_features), np.float32)
    teachers = np.empty_like(own)
    for rows, internals, said, mask in _both(student, examples, signals, layer_map, batch_size):
        assert internals.logits is not None  # noqa: S101  (a whole pass has logits)
        assert said.logits is not None  # noqa: S101  (they were asked)
        own[rows], teachers[rows] = internals.logits.cpu().numpy(), said.logits.cpu().numpy()
        for layer, mapped in enumerate(layer_map, start=1):
            by_head = attention_kl_by_head(internals.attention[layer], said.attention[mapped], mask)
            kl[layer - 1] += by_head.double().sum(0).cpu().numpy()
            cosine[layer - 1] += float(cls_cosine(internals.cls[layer], said.cls[mapped]).double().sum())
    facts = {"attention_kl": (kl / len(examples)).tolist(), "cls_cosine": (cosine / len(examples)).tolist()}
    return {**output_fidelity(own, teachers), **facts}


def _both(
    student: Encoder, examples: Examples, signals: Signals, layer_map: tuple[int, ...], batch_size: int
) -> Iterator[tuple[np.ndarray, Internals, Teaching, torch.Tensor]]:
    every = range(1, len(layer_map) + 1)
    for rows in in_order(examples.lengths, batch_size):
        batch = collate(examples, rows).to(student.device)
        yield rows, student(batch.inputs, attention=every), signals.at(batch, layer_map, layer_map), batch.mask


def output_fidelity(student: np.ndarray, teacher: np.ndarray) -> dict[str, float | None]:
    """Fidelity of the outputs alone, from (N, K) logits of both."""
    if student.shape[1] == 1:
        return {"agreement": None, "score_mse": float(np.square(student - teacher).mean())}
    p, log_p, log_q = softmax(teacher, axis=1), log_softmax(teacher, axis=1), log_softmax(student, axis=1)
    return {
        "agreement": float((predictions(student) == predictions(teacher)).mean()),
        "soft_label_kl": float((p * (log_p - log_q)).sum(1).mean()),
    }
