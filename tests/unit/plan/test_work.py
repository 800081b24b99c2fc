"""The plan's arithmetic, against counts by hand and against what a run writes down of itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcore.distil.methods import Method
from kdcore.plan import work
from kdcore.plan.shapes import encoder_of
from kdcore.plan.students import Student
from tests import on_disk, tiny
from tests.on_disk import Ingredients

LENGTHS = np.asarray([5, 3])
# The tiny BERT: width 32, 64 inside. A layer costs 2 per weight and token and 4 · n² · 32 for its attention. A pass's
# last layer has queries and keys of all tokens, and the rest for the first token of each of two examples: a row of the
# map, and the layer's input mixed by each of 4 heads.
LAYER = 2 * (4 * 32 * 32 + 2 * 32 * 64) * (5 + 3) + 4 * (25 + 9) * 32
LAST = 2 * (2 * 32 * 32 * (5 + 3) + (2 * 32 * 32 + 2 * 32 * 64) * 2) + (2 + 2 * 4) * (5 + 3) * 32
HEAD = 2 * (32 * 32 + 2 * 32) * 2  # pooler and classifier, on each example's first token


def recipe(method: str, **changes: Any) -> Student:
    given = on_disk.arguments(method, **changes)
    return Student("it", Method.parse(method), given["student"], given["distill"])


def student(layers: int = 2):
    return encoder_of(tiny.config("bert"), layers)


@pytest.mark.parametrize(
    ("method", "flops", "passes"),
    [
        # Backward costs twice forward. Layer 1 alone, layers 1 and 2, then everything: one epoch each.
        ("sid", 3 * (LAST + LAYER + LAST + LAYER + LAST + HEAD), 1 + 2 + 2),
        ("pid", 3 * (LAST + LAYER + LAST + LAYER + LAST + HEAD), 1 + 2 + 2),
        ("none", 3 * 3 * (LAYER + LAST + HEAD), 3 * 2),
        ("all", 3 * 3 * (LAYER + LAST + HEAD), 3 * 2),
    ],
)
def test_a_student_by_hand(method: str, flops: int, passes: int):
    line = work.distilling(recipe(method), student(), LENGTHS, runs=1, size=2)
    assert line.flops == flops
    assert sum(part.passes for part in line.parts) == passes
    assert (line.rows, line.epochs) == (2, 3)


def test_a_head_that_trains_alone_costs_a_forward_pass():
    whole, head = (
        work.distilling(recipe("sid", trains=trains), student(), LENGTHS, 1, 2) for trains in ("model", "head")
    )
    assert whole.flops - head.flops == 2 * (LAYER + LAST + HEAD)
    assert head.parts[-1].kind == "forward"


def test_every_seed_costs_the_same_and_so_does_every_epoch():
    one = work.distilling(recipe("sid"), student(), LENGTHS, 1, 2)
    assert work.distilling(recipe("sid"), student(), LENGTHS, 3, 2).flops == 3 * one.flops
    twice = recipe("sid", epochs_per_layer=2, classification_epochs=2)
    assert work.distilling(twice, student(), LENGTHS, 1, 2).flops == 2 * one.flops


def test_only_training_that_compares_maps_is_counted_as_such():
    kinds = {
        method: [part.kind for part in work.distilling(recipe(method), student(), LENGTHS, 1, 2).parts]
        for method in ("soft", "all", "sid", "sid-cos")
    }
    assert kinds == {
        "soft": ["training"],
        "all": ["internal"],
        "sid": ["internal", "internal", "training"],
        "sid-cos": ["training"] * 3,
    }
    unweighted = recipe("sid", weights={"cos": 1.0})
    assert {part.kind for part in work.distilling(unweighted, student(), LENGTHS, 1, 2).parts} == {"training"}


def test_a_live_teacher_runs_up_to_the_top_layer_that_is_matched():
    teacher = encoder_of(tiny.config("bert"), 4)
    # Student layers 1 and 2 match teacher layers 2 and 4: two layers in the first phase, four in the second.
    parts = work.live(recipe("sid"), (2, 4), teacher, LENGTHS, 2)
    assert [part.flops for part in parts] == [LAYER + LAST, 3 * LAYER + LAST]
    assert work.live(recipe("soft"), (2, 4), teacher, LENGTHS, 2) == []
    assert work.live(recipe("sid-cos"), (2, 4), teacher, LENGTHS, 2) == []


def test_batches_are_counted_whole():
    assert [work.batches(rows, 8) for rows in (1, 8, 9, 0)] == [1, 1, 2, 0]


@pytest.mark.parametrize("method", ["soft", "sid"])
def test_the_plan_of_a_student_is_what_its_run_writes_down(method: str, tiny_ingredients: Ingredients, store: Path):
    folder = on_disk.distilled(tiny_ingredients, method)
    lengths = np.load(tiny_ingredients.targets / "train" / "lengths.npy")
    planned = work.distilling(recipe(method), encoder_of(tiny.config("bert"), 2), lengths, 1, 8)
    recorded = json.loads((folder / "run.json").read_text())
    assert round(planned.flops / 1e9, 3) == recorded["gflop"] > 0
    assert planned.epochs == recorded["epochs"]
