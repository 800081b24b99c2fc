"""A phase's whole loss is one graph to torch's compiler, on the ways of a GPU, and the graph computes the same bits.

Nothing in it asks for a number, so a CUDA graph can hold it. Dropout is drawn in the same order.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.launches import as_on_a_gpu
from kdcore.data.batches import collate
from kdcore.distil.objective import Objective
from kdcore.distil.signals import Teaching
from kdcore.model.encoder import Encoder
from tests.distilling import Batch, encoder, examples, gradients, phases_of, stored


@pytest.mark.parametrize(
    ("family", "method"), [("bert", "all"), ("bert", "sid"), ("distilbert", "all"), ("modernbert", "all")]
)
def test_a_phase_is_one_graph_with_the_same_bits(family: str, method: str, tmp_path: Path):
    """Of `sid` it is the first phase, which runs one layer of two."""
    found, phase = examples(family), phases_of(method)[0]
    signals = stored(encoder(family, seed=1), found, tmp_path, dtype="float16")
    what, batch = (
        Objective(signals, (2, 4), {"kl": 1.0, "cos": 1.0}, hard_label_weight=0.5),
        collate(found, np.arange(12)),
    )
    teaching = what.ahead(batch, phase)

    def losses(student: Encoder, batch: Batch, teaching: Teaching | None) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = what(student, batch, phase, teaching)
        return loss.sum(), terms

    ended = []
    torch._dynamo.reset()
    with as_on_a_gpu(), torch.random.fork_rng():
        for function in (losses, torch.compile(losses, backend="aot_eager", fullgraph=True)):
            student = encoder(family, layers=2, seed=2).train()
            torch.manual_seed(0)
            loss, terms = function(student, batch, teaching)
            loss.backward()
            ended.append(({"loss": loss.detach(), **terms}, gradients(student)))
    (terms, moved), (same_terms, same_moved) = ended
    assert all(torch.equal(value, same_terms[name]) for name, value in terms.items())
    for name, gradient in moved.items():
        other = same_moved[name]
        assert (gradient is None) == (other is None), name
        assert gradient is None or other is None or torch.equal(gradient, other), name
