"""Shapes by name, by file and from params.yaml: the right sizes, and what is said of a wrong one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcore.data import tasks
from kdcore.errors import UserError
from kdcore.plan.shapes import SHAPES, config_of, encoder_of, for_task
from tests import tiny


def parameters(shape: str, layers: int, task: str = "qqp") -> dict[str, int]:
    config, _ = config_of(shape, "embedded", None)
    return encoder_of(for_task(config, tasks.GLUE[task]), layers).parameter_counts()


def test_bert_base_has_the_published_parameters_and_no_weights():
    # The paper's axis, encoder and pooler (85,645,056); with embeddings and two classes 109.5 M.
    assert parameters("bert-base", 12) == {"encoder_and_pooler": 85_645_056, "total": 109_483_778}
    assert parameters("bert-base", 6)["encoder_and_pooler"] == 43_117_824
    model = encoder_of(config_of("bert-base", "-", None)[0], 1)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("shape", "millions"),
    [
        ("bert-large", 335),
        ("distilbert-base", 67),
        ("roberta-base", 125),
        ("electra-small", 13.5),
        ("electra-base", 109),
        ("mpnet-base", 110),
        ("deberta-v3-small", 141),  # 44 M and 98 M of embeddings, by its model card
        ("deberta-v3-base", 184),  # 86 M and 98 M
        ("deberta-v3-large", 435),  # 304 M and 131 M
    ],
)
def test_other_shapes_have_about_the_parameters_that_are_known_of_them(shape: str, millions: float):
    config, _ = config_of(shape, "-", None)
    assert parameters(shape, config.num_hidden_layers)["total"] / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_of_a_family_that_distils(name: str):
    config, said = config_of(name, "-", None)
    assert said == name
    assert len(encoder_of(config, 2).layers) == 2


def test_a_hub_name_that_is_known_asks_no_hub():
    config, said = config_of(None, "google-bert/bert-base-uncased", None)
    assert (config.num_hidden_layers, config.vocab_size, said) == (12, 30522, "google-bert/bert-base-uncased")


def test_a_config_file_its_folder_and_params_give_the_same_shape(tiny_folder: Callable[..., Path]):
    folder = tiny_folder("bert")
    shapes = [config_of(str(folder / "config.json"), "-", None), config_of(str(folder), "-", None)]
    for config, _ in [*shapes, config_of(None, str(folder), None)]:
        assert (config.num_hidden_layers, config.hidden_size, config.model_type) == (4, 32, "bert")


def test_an_unknown_shape_is_named_with_the_one_that_is_near():
    with pytest.raises(
        UserError, match=r"--shape: unknown shape 'bert-bas', did you mean 'bert-base'\?; --shape takes"
    ):
        config_of("bert-bas", "-", None)


def test_a_file_that_is_no_config_is_refused(tmp_path: Path):
    for text in ("{", "[]", "{}", '{"model_type": "mystery"}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="no model's config can be read"):
            config_of(str(tmp_path / "config.json"), "-", None)


def test_a_family_that_cannot_be_distilled_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": tiny.UNSUPPORTED}))
    with pytest.raises(UserError, match="architecture 'albert' can't be captured"):
        config_of(str(tmp_path), "-", None)


def test_a_regression_has_one_output():
    config, _ = config_of("bert-base", "-", None)
    assert encoder_of(for_task(config, tasks.GLUE["stsb"]), 1).output.out_features == 1
    assert encoder_of(for_task(config, tasks.GLUE["mnli"]), 1).output.out_features == 3
