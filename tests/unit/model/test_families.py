"""What a config alone says of the longest text is what the model has positions for."""

import pytest

from kdcore.model.families import positions
from tests import tiny


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_takes_the_128_tokens_that_it_was_made_for(family: str):
    assert positions(tiny.config(family).to_dict()) == 128


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),  # as published
        ({"model_type": "bert"}, None),
        ({"max_position_embeddings": "512"}, None),
        ({}, None),
    ],
)
def test_a_config_that_does_not_say_is_no_limit(config: dict, most: int | None):
    assert positions(config) == most
