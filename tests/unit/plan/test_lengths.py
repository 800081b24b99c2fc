"""The lengths of a task's rows: counted, published, given; of about the right mean and the same at every call."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcore.data import tasks
from kdcore.errors import UserError
from kdcore.plan.lengths import KNOWN, SHORTEST, SPREAD, lengths, spread
from tests import tiny
from tests.on_disk import MAX_LENGTH, TASK, Ingredients

NOWHERE = Path("nowhere")


def test_a_prepared_task_has_its_true_lengths(tiny_ingredients: Ingredients):
    found = lengths(TASK, tiny_ingredients.data, str(tiny_ingredients.model), None, MAX_LENGTH)
    for split, own in (("train", found.train[:24]), ("validation", found.validation["validation"])):
        assert own.tolist() == np.load(tiny_ingredients.targets / split / "lengths.npy").tolist()
    assert found.source.startswith("counted in ")
    assert found.labelled.all()


def test_a_pinned_revisions_tokenizer_counts(tiny_ingredients: Ingredients, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def tokenizer_of(place: str | Path, revision: str | None = None) -> Any:
        asked.append((place, revision))
        return tiny.tokenizer()

    monkeypatch.setattr("kdcore.plan.lengths.tokenizer_of", tokenizer_of)
    lengths(TASK, tiny_ingredients.data, "someone/classifier", "a" * 40, MAX_LENGTH)
    assert asked == [("someone/classifier", "a" * 40)]


def test_what_is_given_comes_before_what_is_prepared(tiny_ingredients: Ingredients):
    found = lengths(TASK, tiny_ingredients.data, str(tiny_ingredients.model), None, MAX_LENGTH, 500, 12.0)
    assert len(found.train) == 500
    assert len(found.validation["validation"]) == 50
    assert found.source == "rows as given, tokens as given"


def test_qqp_is_planned_from_what_is_published():
    found = lengths(tasks.GLUE["qqp"], NOWHERE, "-", None, 128)
    assert (len(found.train), len(found.validation["validation"])) == (363_846, 40_430)
    assert found.train.mean() == pytest.approx(31, abs=0.1)
    assert found.source == "rows as published, tokens assumed"


def test_every_built_in_task_is_known():
    assert set(KNOWN) == set(tasks.BUILT_IN)
    assert set(KNOWN["mnli"].validation) == {"validation", "validation_mismatched"}


def test_a_task_of_ones_own_that_is_not_prepared_needs_both_numbers():
    for rows, tokens in ((None, None), (100, None), (None, 20.0)):
        with pytest.raises(
            UserError, match="'tiny' is not prepared, so give --rows and --tokens, or run `dvc repro prep"
        ):
            lengths(TASK, NOWHERE, "-", None, 128, rows, tokens)


def test_assumed_lengths_have_the_mean_and_the_spread_that_are_said():
    found = spread(20_000, 31, 512)
    assert found.mean() == pytest.approx(31, rel=0.01)
    assert found.std() / found.mean() == pytest.approx(SPREAD, rel=0.02)


def test_assumed_lengths_stay_within_the_model_and_are_alike_in_every_part():
    found = spread(2_000, 100, 128)
    assert SHORTEST <= found.min() <= found.max() == 128
    assert found[:200].mean() == pytest.approx(found.mean(), rel=0.05)
    assert (spread(2_000, 100, 128) == found).all()


def test_unlabelled_rows_are_known(tmp_path: Path, tiny_folder: Callable[..., Path], store: Path):
    from tests import on_disk

    rows = on_disk.rows()
    rows["train"].loc[[0, 3, 5], "label"] = None
    folder = on_disk.prepared(tmp_path, rows)
    found = lengths(TASK, folder, str(tiny_folder("bert")), None, MAX_LENGTH)
    assert (~found.labelled).sum() == 3
