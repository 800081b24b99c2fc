"""Logits come in the examples' order, whatever the batches."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from kdcore.data.batches import collate
from kdcore.errors import UserError
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


@pytest.mark.parametrize("value", [3e38, float("nan")])
def test_logits_that_are_not_finite_are_refused(value: float):
    """One word's embedding breaks the rows that hold it, and no other."""
    found, model = examples(), encoder()
    word = int(found.tokens[found.start[3] + 1])
    rows = sum(word in found.tokens[start:end] for start, end in pairwise(found.start))
    with torch.no_grad():
        model.model.base_model.get_input_embeddings().weight[word] = value
    with pytest.raises(UserError, match=f"gives NaN or infinity for {rows} of 12 rows"):
        logits_of(model, found, 4)
