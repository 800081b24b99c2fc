"""The rows that are predicted come in the order of their source; a file with bad rows is refused as a whole."""

import pandas as pd
import pytest

from kdcore.data.prepared import Data
from kdcore.data.tasks import GLUE, MOVIES, Task
from kdcore.errors import UserError
from kdcore.predict.rows import rows_of_file, unseen_splits
from tests import on_disk, tiny

TASK = Task("tiny", ("sentence",), "label", ("bad", "good"), ("accuracy",))


def test_a_prepared_test_split_comes_in_the_order_of_its_source(tmp_path):
    test = tiny.texts(20, seed=3).drop(columns="label")
    rows = on_disk.rows() | {"test": test}
    data = on_disk.prepared(tmp_path, rows, TASK)
    stored = pd.read_parquet(data / "test.parquet")
    assert stored["text_a"].tolist() != test["sentence"].tolist()
    assert unseen_splits(Data.open(data))["test"]["text_a"].tolist() == test["sentence"].tolist()


def test_a_task_without_a_test_split_is_refused(tmp_path):
    data = on_disk.prepared(tmp_path, on_disk.rows(), TASK)
    with pytest.raises(UserError, match="has no test split to predict, has train, validation"):
        unseen_splits(Data.open(data))


def test_a_file_needs_no_label_and_may_name_its_columns_otherwise(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('id,review\n7,"fine, lovely"\n8,dull\n')
    found = rows_of_file(path, MOVIES, {"text": "review"})
    assert found["text_a"].tolist() == ["fine, lovely", "dull"]
    assert found["text_b"].isna().all()
    assert found["label"].isna().all()


def test_a_file_of_pairs_has_both_texts(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"premise": "a", "hypothesis": "b"}\n{"premise": "c", "hypothesis": "d"}\n')
    assert rows_of_file(path, GLUE["mnli"], {})[["text_a", "text_b"]].to_numpy().tolist() == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize(
    ("name", "content", "problems"),
    [
        ("rows.csv", "text\nfine\n \n\0\n", ["row 2 (line 3)", "row 3 (line 4)"]),
        ("rows.csv", "sentence\nfine\n", ["has no column 'text'"]),
        ("rows.csv", "text\n", ["at least 1 row"]),
        ("rows.xlsx", "text\n", ["must end in .parquet | .csv | .tsv | .jsonl"]),
        ("none.csv", None, ["cannot be read"]),
    ],
)
def test_a_bad_file_is_refused_with_every_problem(tmp_path, name, content, problems):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as refused:
        rows_of_file(path, MOVIES, {})
    for problem in problems:
        assert problem in str(refused.value)
    assert str(refused.value).count(name) == 1


def test_glues_own_test_files_are_read(tmp_path):
    path = tmp_path / "diagnostic.tsv"
    path.write_text('index\tsentence1\tsentence2\n0\tThe "cat" sat.\tIt sat.\n1\tA man.\tA dog.\n')
    assert rows_of_file(path, GLUE["mnli"], {})["text_a"].tolist() == ['The "cat" sat.', "A man."]


def test_a_test_file_that_lacks_a_row_is_refused(tmp_path):
    """The server counts them, so none may be left out."""
    path = tmp_path / "test.tsv"
    path.write_text("index\tquestion1\tquestion2\n0\tHow?\tWhy?\n1\tcut short\n")
    with pytest.raises(UserError, match="must have a prediction for every row, found 1 that end too early"):
        rows_of_file(path, GLUE["qqp"], {})
