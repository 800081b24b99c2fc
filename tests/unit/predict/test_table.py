"""A table of predictions in every format, read back as a user would."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kdcore.data.tasks import MOVIES, Task
from kdcore.errors import UserError
from kdcore.predict.table import table, writer

# Two classes whose logits differ by ln 3: probabilities 3/4 and 1/4.
LOGITS = np.array([[np.log(3.0), 0.0], [0.0, np.log(3.0)]])
SCORES = Task("scores", ("text",), "label", (), ("pearson",))


def test_classes_come_with_their_name_and_probabilities():
    found = table(MOVIES, LOGITS)
    assert list(found) == ["row", "prediction", "p_negative", "p_positive"]
    assert found["prediction"].tolist() == ["negative", "positive"]
    assert found["p_positive"].tolist() == pytest.approx([0.25, 0.75])


def test_a_regression_is_a_number():
    found = table(SCORES, np.array([[1.5], [-2.0]]))
    assert found.to_dict("list") == {"row": [0, 1], "prediction": [1.5, -2.0]}


READ = {
    ".csv": pd.read_csv,
    ".tsv": lambda path: pd.read_csv(path, sep="\t"),
    ".jsonl": lambda path: pd.DataFrame([json.loads(line) for line in Path(path).read_text().splitlines()]),
    ".parquet": pd.read_parquet,
}


@pytest.mark.parametrize("ending", READ)
def test_every_format_reads_back(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    path.write_bytes(writer(path)(table(MOVIES, LOGITS)))
    found = READ[ending](path)
    assert found["prediction"].tolist() == ["negative", "positive"]
    assert found["p_negative"].tolist() == pytest.approx([0.75, 0.25], abs=1e-6)


def test_another_ending_is_refused():
    with pytest.raises(UserError, match=r"out.xlsx: must end in .csv \| .tsv \| .jsonl \| .parquet"):
        writer(Path("out.xlsx"))


def test_labels_that_differ_in_case_are_two_columns():
    countries = Task("countries", ("text",), "label", ("us", "US"), ("accuracy",))
    predicted = table(countries, LOGITS)
    assert predicted["prediction"].tolist() == ["us", "US"]
    assert predicted["p_us"].tolist() == pytest.approx([0.75, 0.25])
    assert predicted["p_US"].tolist() == pytest.approx([0.25, 0.75])
