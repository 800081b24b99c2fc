"""What a batch's maker knows of its padding makes the same mask as a look at the padding does, and spares the look."""

import pytest
import torch
from torch import Tensor

from kdcore.data.batches import collate
from kdcore.model import mask
from kdcore.model.capture import Internals
from tests import tiny
from tests.distilling import encoder, examples, whole_batch

LAYERS = (1, 2, 3, 4)


def numbers(found: Internals) -> list[Tensor]:
    assert found.logits is not None
    return [found.logits, *found.cls.values(), *found.attention.values()]


@pytest.mark.parametrize("attention", [(), LAYERS], ids=["no maps", "maps"])
@pytest.mark.parametrize("rows", [[3], list(range(12))], ids=["alone", "padded"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_what_is_known_changes_no_bit(family: str, rows: list[int], attention: tuple[int, ...]):
    model = encoder(family)
    batch = collate(examples(family), torch.tensor(rows).numpy())
    assert batch.padded is (len(rows) > 1)
    for training in (False, True):
        model.train(training)
        with torch.random.fork_rng():
            looked = numbers(model(batch.inputs, attention=attention))
        known = numbers(model(batch.inputs, None, attention, batch.padded))
        for one, other in zip(known, looked, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("family", [family for family in tiny.FAMILIES if family not in tiny.OWN_ATTENTION])
def test_padding_is_not_looked_at_where_it_is_known(family: str, monkeypatch: pytest.MonkeyPatch):
    def look(*_: object) -> Tensor:
        pytest.fail("the mask was read")

    model, batch = encoder(family), whole_batch(examples(family))
    for known in (batch, collate(examples(family), batch.rows[:1])):
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "all", look)
            model(known.inputs, padded=known.padded)


@pytest.mark.parametrize("rows", [[3], list(range(12))], ids=["alone", "padded"])
def test_a_window_that_is_wider_than_the_text_is_known_too(rows: list[int]):
    """The tiny ModernBERT's is narrower than every text."""
    model, batch = encoder("modernbert"), collate(examples("modernbert"), torch.tensor(rows).numpy())
    model.config.sliding_window = 64
    looked, known = model(batch.inputs, attention=LAYERS), model(batch.inputs, None, LAYERS, batch.padded)
    assert all(torch.equal(one, other) for one, other in zip(numbers(looked), numbers(known), strict=True))


def test_a_model_that_no_encoder_calls_looks_for_itself():
    model, batch = encoder(), whole_batch(examples())
    torch.testing.assert_close(model.model(**batch.inputs).logits, model(batch.inputs, padded=True).logits)
    assert mask.in_progress().padded is None
