"""A training step gives a GPU no more operations than documented, and never waits for it."""

from pathlib import Path

import pytest
import torch

from benchmarks.launches import Count, as_on_a_gpu, counted, counting
from kdcore.distil.objective import Objective
from kdcore.distil.signals import Stored
from tests.distilling import encoder, examples, objective, phases_of, stored, trainer, whole_batch

ROOT = Path(__file__).parents[2]
ROWS, STEPS = 40, 5  # of an epoch
# A BERT of six layers teaches one of three, as MiniLM does here: operations of one step, at most.
MOST = {
    "all": [450],
    "sid": [170, 286, 402, 267],  # its phases in turn
    "none": [247],
}


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return stored(encoder(layers=6, seed=1), examples(rows=ROWS), tmp_path_factory.mktemp("signals"), dtype="float16")


def count(method: str, signals: Stored, folder: Path, precision: str = "no") -> list[Count]:
    """Of a step in the middle of each phase."""
    taught = Objective(signals, (2, 4, 6), {"kl": 1.0, "cos": 1.0}, hard_label_weight=0.1)
    what = objective(method) if method == "none" else taught
    stretch = phases_of(method, layers=3) if method == "sid" else phases_of(method, layers=3)[:1]
    knobs = {"clip": 1.0, "weight_decay": 0.01, "precision": precision}
    return counted(trainer(encoder(layers=3), examples(rows=ROWS), stretch, what, folder, **knobs))[2::STEPS]


@pytest.mark.parametrize("method", MOST)
def test_a_step_is_no_more_than_so_many_operations_and_no_wait(method: str, signals: Stored, tmp_path: Path):
    found = count(method, signals, tmp_path)
    phases = len(MOST[method])
    assert [dict(step.waits) for step in found[:phases]] == [{}] * phases
    for step, most in zip(found, MOST[method], strict=False):
        assert step.operations.total() <= most, dict(step.operations)


def test_the_documented_numbers_are_these():
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    for method, most in MOST.items():
        assert f"| `{method}` | {', '.join(map(str, most))} |" in page


def test_what_waits_is_seen():
    """Each way to ask for a number, once in a step of its own."""
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    asked = [float, bool, torch.Tensor.item, torch.Tensor.tolist, lambda one: one.cpu(), lambda one: one.numpy()]
    with counting() as counts:
        for ask in asked:
            ask(torch.ones(()))
            optimizer.step()
        torch.ones(3)[torch.ones(3) > 0]
    assert [step.waits.total() for step in counts] == [1] * (len(asked) + 1)


def test_a_gpu_has_dropout_and_fused_attention_of_its_own():
    model, batch = encoder(layers=2).train(), whole_batch(examples())
    with counting() as here, as_on_a_gpu():
        model(batch.inputs, padded=True)
    with counting() as usual:
        model(batch.inputs, padded=True)
    kinds = ("bernoulli_", "random_", "_scaled_dot_product_flash_attention_for_cpu")
    assert [here[-1].operations[kind] > 0 for kind in kinds] == [True, False, True]
    assert [usual[-1].operations[kind] > 0 for kind in kinds] == [False, True, False]
