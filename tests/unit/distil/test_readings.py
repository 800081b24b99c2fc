"""Numbers of steps that are read later are the same numbers, and what is wrong with one is said of its own step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcore.data.batches import Batch
from kdcore.distil import checkpoint, readings
from kdcore.distil.readings import Readings, Step, summed
from kdcore.distil.schedule import Phase
from kdcore.distil.training import Trainer
from kdcore.errors import UserError
from kdcore.runs import Run
from tests.distilling import encoder, examples, objective, phases_of, trainer, weights

ROWS, STEPS = 24, 3  # of an epoch


def as_on_a_gpu(loop: Trainer) -> Trainer:
    """A loop whose numbers are read as a GPU's are."""
    loop.readings.many = readings.MANY
    return loop


def step(number: int, *losses: float, norm: float = 1.0) -> Step:
    """One with a micro-batch of one example for each of the losses, whose only term is the loss itself."""
    sums = [torch.tensor([loss, loss], dtype=torch.float64) for loss in losses]
    return Step(number, "layer 1", len(losses), ("kl",), sums, torch.tensor(norm))


def test_a_cpu_is_read_after_every_step_and_a_gpu_after_the_first_and_many_more():
    for device, expected in (("cpu", [*range(1, 120)]), ("cuda", [1, 51, 101])):
        found, sums, read = Readings("run", 0.1, torch.device(device)), dict[str, float](), []
        for number in range(1, 120):
            found.add(step(number, 1.0), sums)
            read += [number] if sums["kl"] == number else []
        assert read == expected
        found.read(sums)
        assert sums == {"kl": 119.0}


def test_sums_are_those_of_each_example_in_the_order_of_steps():
    loss, terms = torch.tensor([0.1, 0.2]), {"one": torch.tensor([1.0, 2.0]), "other": torch.tensor([4.0, 8.0])}
    assert summed(loss, terms).tolist() == [pytest.approx(0.3), 3.0, 12.0]
    found, sums = Readings("run", 0.1, torch.device("cuda")), {"kl": 0.5}
    found.add(step(0, 0.1, 0.2), sums)
    found.add(step(1, 1e16, 0.3), sums)
    found.read(sums)
    assert sums == {"kl": 0.5 + 0.1 + 0.2 + 1e16 + 0.3}
    assert found.loss == (1e16 + 0.3) / 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (step(3, 1.0, float("nan")), "kl is nan in phase 'layer 1', step 3"),
        (step(3, 1.0, norm=float("inf")), "the gradient norm is inf in phase 'layer 1', step 3"),
        (step(3, float("inf"), norm=float("nan")), "kl is inf in phase 'layer 1', step 3"),
    ],
)
def test_what_is_wrong_is_said_of_the_first_step_that_has_it(wrong: Step, said: str):
    found, sums = Readings("run", 0.25, torch.device("cuda")), dict[str, float]()
    for one in (step(1, 1.0), step(2, 1.0), wrong, step(4, float("nan")), step(5, float("nan"))):
        found.add(one, sums)
    with pytest.raises(UserError, match=f"^run: {said}: training has diverged; .*learning rate .now 0.25.") as caught:
        found.read(sums)
    assert "\n" not in str(caught.value)


def test_reading_later_changes_no_bit(tmp_path: Path):
    """Also where a phase ends by a mean, and with micro-batches."""
    ended = []
    for name, change in (("each", lambda loop: loop), ("many", as_on_a_gpu)):
        what = objective("sid", encoder(seed=1))
        stretch = phases_of("sid", epochs_per_layer=3, cosine_threshold=1.0)
        loop = trainer(encoder(layers=2), examples(rows=ROWS), stretch, what, tmp_path / name, accumulate=2)
        ended.append((change(loop).train().history, weights(loop.encoder)))
    (history, one), (other_history, other) = ended
    assert history == other_history
    assert all(torch.equal(values, other[name]) for name, values in one.items())


def diverging(at: int) -> Any:
    """An objective whose loss, and so every weight after it, is NaN from its step `at` on."""
    steps = iter(range(1000))

    def losses(model: nn.Module, batch: Batch, phase: Phase) -> tuple[Tensor, dict[str, Tensor]]:
        loss = model(batch.inputs).logits.square().sum(-1) * (float("nan") if next(steps) >= at else 1e-3)
        return loss, {"soft_labels": loss.detach()}

    return losses


@pytest.mark.parametrize("at", [1, STEPS - 1, STEPS, 2 * STEPS - 1])
def test_no_checkpoint_holds_weights_that_are_not_finite(tmp_path: Path, at: int):
    """A GPU has gone on from the step that went wrong: what it computed since is read before anything is saved."""
    stretch = (Phase("classification", 4),)
    what = diverging(at)
    loop = as_on_a_gpu(trainer(encoder(layers=2), examples(rows=ROWS), stretch, what, tmp_path / "run"))
    due = {at, at + 2}  # one before the step that goes wrong, and one some steps after it
    loop.checkpoints.patience = 0.0
    loop.checkpoints.many = 1
    save, saved = loop.checkpoints._save, []

    def save_some(position: Any, record: Any) -> None:
        saved.append(position.step)
        save(position, record)

    loop.checkpoints._save = save_some  # type: ignore[method-assign]
    asked = loop.checkpoints.save_if_due
    loop.checkpoints.save_if_due = (  # type: ignore[method-assign]
        lambda position, read: asked(position, read) if position.step in due else None
    )
    with pytest.raises(UserError, match=f"soft_labels is nan in phase 'classification', step {at}"):
        loop.train()
    assert saved == [at]
    kept = Run(tmp_path / "run").restore()
    assert kept is not None
    values, state = checkpoint.read(kept)
    assert all(tensor.isfinite().all() for name, tensor in values.items() if name != "random")
    assert state["position"]["step"] == at
    assert not all(tensor.isfinite().all() for tensor in weights(loop.encoder).values()), "nothing had gone on"
