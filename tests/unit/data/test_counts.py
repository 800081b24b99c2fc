"""Tokens per row by a tokenizer.json alone are those that the models get."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kdcore.data import counts, tasks
from kdcore.data.counts import counted
from kdcore.data.embedded import MODEL, find
from kdcore.data.examples import encode
from kdcore.data.prepared import Data
from kdcore.model.names import tokenizer_of
from tests import on_disk, tiny

PAIRS = tasks.Task("tiny", ("first", "second"), "label", ("bad", "good"), ("accuracy",))
ODD = [
    *("Ωmega ☃ naïve", "don't -- stop!!", "word " * 200, "[SEP] [CLS]"),
    *("ＦＵＬＬ width", "中文 字", "a\u00adb\tc\nd", "😀" * 9),
]


@pytest.fixture(autouse=True)
def chunks(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """Ten rows at a time, in a store of its own."""
    monkeypatch.setattr(counts, "CHUNK", 10)


def check(data: Data, model: Path, rows: int) -> None:
    lengths, labelled = counted(data, "train", rows, model / "tokenizer.json", 16)
    examples = encode(tokenizer_of(model), data.frame("train")[:rows], 16)
    assert lengths.tolist() == examples.lengths.tolist()
    assert labelled.tolist() == (~np.isnan(examples.labels)).tolist()
    assert len(lengths) == rows


def texts(pairs: bool) -> pd.DataFrame:
    """48 rows, each third without a label."""
    frame = tiny.texts(48, pairs)
    named = frame["label"].map(dict(enumerate(on_disk.TASK.labels))).astype(object)
    return frame.assign(label=named.where(frame.index % 3 != 0, None))


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_they_are_those_of_the_tiny_models(family: str, pairs: bool, tmp_path: Path):
    task = PAIRS if pairs else on_disk.TASK
    validation = texts(pairs)[lambda frame: frame["label"].notna()]
    data = Data.open(on_disk.prepared(tmp_path, {"train": texts(pairs), "validation": validation}, task))
    model = tiny.save_pretrained(tmp_path / "model", family)
    for rows in (7, 48):
        check(data, model, rows)


def test_they_are_those_of_the_embedded_model(tmp_path: Path):
    frame = pd.DataFrame({"sentence": ODD, "label": ["bad", "good"] * (len(ODD) // 2)})
    data = Data.open(on_disk.prepared(tmp_path, {"train": frame, "validation": frame}))
    check(data, find(MODEL), len(ODD))


def test_a_file_that_is_no_tokenizer_is_a_value_error(tmp_path: Path):
    data = Data.open(on_disk.prepared(tmp_path, on_disk.rows()))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        counted(data, "train", 20, tmp_path / "tokenizer.json", 16)


def test_they_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = Data.open(on_disk.prepared(tmp_path, on_disk.rows()))
    file = tiny.save_pretrained(tmp_path / "model") / "tokenizer.json"
    before, _ = counted(data, "train", 20, file, 16)
    with monkeypatch.context() as changed:
        changed.setattr(Data, "tables", lambda *_: pytest.fail("the rows are read again"))
        assert counted(data, "train", 20, file, 16)[0].tolist() == before.tolist()
    assert max(counted(data, "train", 20, file, 5)[0]) == 5 < max(before)
