"""Tokenised examples: ragged arrays that hold exactly what the tokenizer says."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdcore.data.examples import Examples, encode
from tests import tiny
from tests.distilling import examples


def rows(*texts: tuple[str, str | None, Any]) -> pd.DataFrame:
    return pd.DataFrame(texts, columns=["text_a", "text_b", "label"])


def tokens_of(found: Examples, row: int) -> list[int]:
    return found.tokens[found.start[row] : found.start[row + 1]].tolist()


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_each_example_has_the_tokenizers_tokens(family: str):
    tokenizer = tiny.tokenizer(family)
    texts = [("good film", "bad plot"), ("the cast was great", "weak"), ("a", "the story and its ending")]
    found = encode(tokenizer, rows(*((a, b, 1) for a, b in texts)), 32)
    for row, (a, b) in enumerate(texts):
        alone = tokenizer(a, b)
        assert tokens_of(found, row) == alone["input_ids"]
        if found.types is not None:
            assert found.types[found.start[row] : found.start[row + 1]].tolist() == alone["token_type_ids"]
    assert (found.types is None) == ("token_type_ids" not in tokenizer.model_input_names)
    assert found.pad == tokenizer.pad_token_id
    assert found.lengths.tolist() == [len(tokenizer(a, b)["input_ids"]) for a, b in texts]


def test_single_texts_have_no_second_part():
    found = encode(tiny.tokenizer(), rows(("good film", None, 0), ("a bad plot", None, 1)), 32)
    assert tokens_of(found, 0) == tiny.tokenizer()("good film")["input_ids"]
    assert found.types is not None
    assert not found.types.any()


@pytest.mark.parametrize("pair", [None, "the music was fine and the cast was good"])
def test_long_texts_are_truncated_to_the_limit_and_keep_their_ends(pair: str | None):
    frame = rows(("the film was bad and the story was weak", pair, 0), ("a", "b" if pair else None, 1))
    found = encode(tiny.tokenizer(), frame, 8)
    assert found.lengths.max() == 8
    tokenizer = tiny.tokenizer()
    assert tokens_of(found, 0)[0] == tokenizer.cls_token_id
    assert tokens_of(found, 0)[-1] == tokenizer.sep_token_id


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (pd.array([1, None, 0], dtype="Int64"), [1.0, np.nan, 0.0]),
        (np.asarray([2.5, np.nan, 0.0]), [2.5, np.nan, 0.0]),
    ],
)
def test_a_missing_label_is_nan(label: Any, expected: list[float]):
    frame = rows(("a", None, 0), ("the", None, 0), ("film", None, 0)).assign(label=label)
    found = encode(tiny.tokenizer(), frame, 32)
    assert found.labels.dtype == np.float64
    np.testing.assert_array_equal(found.labels, expected)


def assert_rows(found: Examples, whole: Examples, wanted: list[int]) -> None:
    assert len(found) == len(wanted)
    assert [tokens_of(found, row) for row in range(len(found))] == [tokens_of(whole, row) for row in wanted]
    np.testing.assert_array_equal(found.labels, whole.labels[wanted])
    assert found.pad == whole.pad
    if whole.types is not None:
        assert found.types is not None
        assert len(found.types) == len(found.tokens)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_taken_examples_are_whole(family: str):
    whole = examples(family, pairs=True, unlabelled=(4,))
    for wanted in ([0], [7, 2, 4], [3, 3], list(range(12))):
        assert_rows(whole.take(np.asarray(wanted)), whole, wanted)


def test_the_first_are_a_prefix():
    whole = examples()
    assert_rows(whole.first(5), whole, [0, 1, 2, 3, 4])
    assert whole.first(12) is whole
    assert whole.first(1000) is whole


def test_labelled_leaves_out_those_without_a_label():
    whole = examples(unlabelled=(0, 5, 11))
    assert_rows(whole.labelled(), whole, [1, 2, 3, 4, 6, 7, 8, 9, 10])
    assert examples().labelled() is not None
    assert len(examples().labelled()) == 12


def test_there_may_be_no_labelled_example():
    found = examples(unlabelled=tuple(range(12))).labelled()
    assert len(found) == 0
    assert found.lengths.tolist() == []


def test_tokens_types_and_labels_of_one_example_stay_together():
    whole = examples(pairs=True)
    found = whole.take(np.asarray([9]))
    start, stop = whole.start[9], whole.start[10]
    assert whole.types is not None
    assert found.types is not None
    assert found.types.tolist() == whole.types[start:stop].tolist()
    assert 0 < found.types.sum() < len(found.types)


def test_examples_are_taken_stretch_by_stretch(monkeypatch: pytest.MonkeyPatch):
    whole, rows = examples(pairs=True), np.asarray([9, 2, 2, 11, 0])
    together = whole.take(rows)
    monkeypatch.setattr("kdcore.data.examples.STRETCH", 2)
    apart = whole.take(rows)
    for name in ("tokens", "types", "start", "labels"):
        assert np.array_equal(getattr(apart, name), getattr(together, name))
    assert [tokens_of(apart, place) for place in range(5)] == [tokens_of(whole, int(row)) for row in rows]


def test_the_first_examples_are_a_view():
    whole = examples(pairs=True)
    found, taken = whole.first(5), whole.take(np.arange(5))
    assert np.shares_memory(found.tokens, whole.tokens)
    for name in ("tokens", "types", "start", "labels"):
        assert np.array_equal(getattr(found, name), getattr(taken, name))


def test_words_are_those_that_occur_and_padding(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kdcore.data.examples.STRETCH", 3)
    ids = np.asarray([7, 3, 3, 9, 7, 2], np.uint16)
    found = Examples(ids, None, np.asarray([0, 2, 6]), np.zeros(2), 5)
    assert found.words().tolist() == [2, 3, 5, 7, 9]
    assert Examples(ids[:0], None, np.asarray([0]), np.zeros(0), 5).words().tolist() == [5]
