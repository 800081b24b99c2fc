"""What a job computes, by files alone: against what its run writes down, and what it is where a file is not there."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kdcore.data.prepared import Data
from kdcore.distil.student import Recipe
from kdcore.model.cost import forward_flops
from kdcore.plan.jobs import Arithmetic, UntoldError
from kdcore.plan.shapes import encoder_of
from tests import on_disk, tiny
from tests.on_disk import Ingredients


def arithmetic(made: Ingredients, model: Path | str | None = None, **teacher: object) -> Arithmetic:
    return Arithmetic(Data.open(made.data), on_disk.pretrained(model or made.model), on_disk.teacher(**teacher))


def test_a_teacher_is_what_its_run_writes_down(tiny_ingredients: Ingredients):
    recorded = json.loads((tiny_ingredients.teacher / "run.json").read_text())["gflop"]
    assert round(arithmetic(tiny_ingredients).fine_tuning() / 1e9, 3) == recorded > 0
    assert arithmetic(tiny_ingredients, finetuned=str(tiny_ingredients.teacher)).fine_tuning() == 0


def test_students_are_what_their_runs_write_down_and_add_up(tiny_ingredients: Ingredients, store: Path):
    recipes = [
        Recipe(**on_disk.arguments(method, init=init), **tiny_ingredients.opened())
        for method, init in (("sid", "teacher"), ("soft", "pretrained"))
    ]
    folders = [
        on_disk.distilled(tiny_ingredients, "sid"),
        on_disk.distilled(tiny_ingredients, "soft", init="pretrained"),
    ]
    recorded = [json.loads((folder / "run.json").read_text())["gflop"] for folder in folders]
    told = arithmetic(tiny_ingredients)
    assert [round(told.distilling([recipe]) / 1e9, 3) for recipe in recipes] == recorded
    assert told.distilling(recipes) == sum(told.distilling([recipe]) for recipe in recipes)


def test_signals_are_a_pass_over_the_rows_of_both_splits(tiny_ingredients: Ingredients):
    shape = encoder_of(tiny.config("bert"), 4).shape
    lengths = [np.load(tiny_ingredients.targets / split / "lengths.npy") for split in ("train", "validation")]
    told = arithmetic(tiny_ingredients).signals(24, 2)
    assert [one.bounds for one in told.values()] == [[0, 24], [0, 24]]
    assert [one.flops for one in told.values()] == [[forward_flops(shape, one)] for one in lengths]
    assert arithmetic(tiny_ingredients).layers == 4


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_without_a_file_nothing_is_told(file: str, tiny_ingredients: Ingredients, tmp_path: Path):
    for name in ("absent", "broken"):
        model = shutil.copytree(tiny_ingredients.model, tmp_path / name)
        (model / file).write_text('{"model_type": "gpt2"}')
        if name == "absent":
            (model / file).unlink()
        with pytest.raises(UntoldError):
            arithmetic(tiny_ingredients, model).fine_tuning()


def test_of_a_model_that_is_not_on_this_machine_nothing_is_told(tiny_ingredients: Ingredients):
    for name in ("somebody/model", "no/such/folder"):
        with pytest.raises(UntoldError):
            arithmetic(tiny_ingredients, name).fine_tuning()


@pytest.mark.parametrize(
    "odd", [{"pos_att_type": 3}, {"position_buckets": "x"}, {"position_buckets": None}, {"max_position_embeddings": 0}]
)
def test_of_a_deberta_whose_config_is_odd_nothing_is_told(odd: dict, tiny_ingredients: Ingredients, tmp_path: Path):
    model = tiny.save_pretrained(tmp_path, "deberta-v2")
    config = json.loads((model / "config.json").read_text())
    assert arithmetic(tiny_ingredients, model).fine_tuning() > 0
    buckets = {"position_buckets": -1, "max_relative_positions": -1}
    (model / "config.json").write_text(json.dumps(config | buckets | odd))
    with pytest.raises(UntoldError):
        arithmetic(tiny_ingredients, model).fine_tuning()
