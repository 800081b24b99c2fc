"""Logits come in the examples' order, whatever the batches."""

import numpy as np
import pytest
import torch

from kdcore.data.batches import collate
from kdcore.model.predict import logits_of
from tests import tiny
from tests.distilling import encoder, examples


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_each_example_has_its_own_logits(family: str):
    found, model = examples(family), encoder(family)
    alone = [model(collate(found, np.asarray([row])).inputs).logits for row in range(len(found))]
    expected = torch.cat(alone).detach().numpy()
    assert len(np.unique(expected.round(4), axis=0)) > 6
    for batch_size in (1, 5, 12, 100):
        np.testing.assert_allclose(logits_of(model, found, batch_size), expected, rtol=1e-4, atol=1e-5)


def test_prediction_is_free_of_dropout_and_of_gradients():
    model = encoder().train()
    first = logits_of(model, examples(), 4)
    assert np.array_equal(first, logits_of(model.train(), examples(), 4))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("labels", [1, 3])
def test_there_is_a_column_per_output(labels: int):
    found = logits_of(encoder(labels=labels), examples(), 4)
    assert found.shape == (12, labels)
    assert found.dtype == np.float32
