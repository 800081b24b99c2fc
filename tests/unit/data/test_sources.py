"""Raw rows from local files of every format, and from GLUE's real files where they are at hand."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from kdcore.data import sources
from kdcore.data.tasks import GLUE as TASKS
from kdcore.errors import UserError
from tests.unit.raw_files import GLUE, GOOD, PAIRS, REVIEWS, ROOT, VALIDATION, data, in_memory, write

CSV = 'review,stars\n"fine, ""really""",good\ndull,bad\n'
JSONL = '{"review": "fine", "stars": "good", "more": [1]}\n{"stars": 0, "review": "dull"}\n'


@pytest.mark.parametrize(
    ("kind", "text", "reviews", "stars"),
    [
        ("tsv", GOOD, ["fine film", "dull film", "lovely film"], ["good", "bad", "good"]),
        ("csv", CSV, ['fine, "really"', "dull"], ["good", "bad"]),
        ("jsonl", JSONL, ["fine", "dull"], ["good", 0]),
    ],
)
def test_local_text_files(tmp_path: Path, kind: str, text: str, reviews: list, stars: list):
    raw = sources.read(REVIEWS, data(write(tmp_path, "reviews", {f"train.{kind}": text, "validation.tsv": VALIDATION})))
    assert in_memory(raw)["train"].to_dict("list") == {"review": reviews, "stars": stars}
    assert list(in_memory(raw)) == ["train", "validation"]


def test_local_parquet(tmp_path: Path):
    write(tmp_path, "pairs", {})
    for split in ("train", "validation", "test"):
        frame = pd.DataFrame({"left": ["a", "b"], "right": ["c", "d"], "label": [1, None], "idx": [5, 6]})
        frame.to_parquet(tmp_path / "pairs" / f"{split}.parquet")
    frames = in_memory(sources.read(PAIRS, data(tmp_path)))
    assert list(frames) == ["train", "validation", "test"]
    assert frames["test"].columns.tolist() == ["left", "right", "label"]
    assert frames["test"].index.tolist() == [0, 1]


def test_columns_are_renamed(tmp_path: Path):
    files = {f"{split}.tsv": "text\tpolarity\tid\nfine\tgood\t1\n" for split in ("train", "validation")}
    raw = sources.read(
        REVIEWS, data(write(tmp_path, "reviews", files), columns={"review": "text", "stars": "polarity"})
    )
    assert in_memory(raw)["train"].to_dict("list") == {"review": ["fine"], "stars": ["good"]}
    assert raw.origin["columns"] == {"review": "text", "stars": "polarity"}


def test_columns_may_change_places(tmp_path: Path):
    files = {f"{split}.tsv": "left\tright\tlabel\nl\tr\tno\n" for split in ("train", "validation")}
    raw = sources.read(PAIRS, data(write(tmp_path, "pairs", files), columns={"left": "right", "right": "left"}))
    assert in_memory(raw)["train"].to_dict("list") == {"left": ["r"], "right": ["l"], "label": ["no"]}


def test_a_test_file_may_lack_labels(tmp_path: Path):
    files = {"train.tsv": GOOD, "validation.tsv": VALIDATION, "test.csv": "review\nwhat now\n"}
    frame = in_memory(sources.read(REVIEWS, data(write(tmp_path, "reviews", files))))["test"]
    assert frame.to_dict("list") == {"review": ["what now"], "stars": [None]}


def test_mnli_has_the_hubs_file_names(tmp_path: Path):
    text = "premise\thypothesis\tlabel\na\tb\tneutral\nc\td\t0\n"
    files = {
        "train.tsv": text,
        "validation_matched.tsv": text,
        "validation_mismatched.csv": text.replace("\t", ","),
    }
    raw = sources.read(TASKS["mnli"], data(write(tmp_path, "mnli", files)))
    assert set(in_memory(raw)) == {"train", "validation", "validation_mismatched"}


def test_the_origin_has_hashes_and_no_path_of_this_machine(tmp_path: Path):
    raw = sources.read(
        REVIEWS,
        data(write(tmp_path, "reviews", {"train.tsv": "review\tstars\n", "validation.tsv": VALIDATION})),
    )
    # sha256sum of "review\tstars\n"
    assert raw.origin["files"]["train"] == {
        "file": "reviews/train.tsv",
        "sha256": "cc1eb37deb7b499752523514e40e268deefce44f2c18b915a9217e3969efd373",
    }
    assert str(tmp_path) not in str(raw.origin)


@pytest.mark.parametrize(("split", "theirs", "lost"), [("validation", "train", "train"), ("test", "dev", None)])
def test_a_split_whose_file_stands_for_another_must_be_named(tmp_path: Path, split: str, theirs: str, lost: str | None):
    write(tmp_path, "reviews", {"train.tsv": GOOD, "validation.tsv": VALIDATION, "dev.tsv": VALIDATION})
    asked = data(tmp_path).model_copy(update={"splits": {split: theirs}})
    if lost is None:  # it has another name
        assert set(in_memory(sources.read(REVIEWS, asked))) == {"train", "validation", "test"}
    else:
        with pytest.raises(UserError, match=f"data.splits: must name {lost} too: its own name stands for another"):
            sources.read(REVIEWS, asked)


def test_only_the_hub_brings_in_datasets(tmp_path: Path):
    write(tmp_path, "reviews", {"train.tsv": GOOD, "validation.tsv": VALIDATION})
    code = (
        "import sys; from pathlib import Path; from kdcore.data import prepare; "
        "from tests.unit.raw_files import REVIEWS, data; "
        f"prepare.prepare(REVIEWS, data(Path({str(tmp_path)!r})), Path({str(tmp_path / 'out')!r})); "
        "print(sorted({'datasets', 'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not GLUE.is_dir(), reason="GLUE's files are not beside the checkout (../shared/data/glue)")
@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [
        ("cola", 8551, 1043),
        ("mrpc", 3668, 408),
        ("rte", 2490, 277),
        ("stsb", 5749, 1500),
        ("qqp", 37490, 5000),
    ],
)
def test_glue_is_read_from_a_local_folder(name: str, train: int, validation: int):
    frames = in_memory(sources.read(TASKS[name], data(GLUE)))
    assert {split: len(frame) for split, frame in frames.items()} == {
        "train": train,
        "validation": validation,
    }
    assert tuple(frames["train"].columns) == TASKS[name].columns
