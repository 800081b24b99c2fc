"""The hub source, on a local repository of the same layout: configurations, splits, names of labels."""

from pathlib import Path

import pandas as pd
import pytest

from kdcore.data import sources
from kdcore.data.tasks import GLUE, Task
from kdcore.errors import UserError
from tests.unit.raw_files import data, in_memory

datasets = pytest.importorskip("datasets")

CARD = """---
configs:
- config_name: rte
  data_files:
  - {split: train, path: rte/train.parquet}
  - {split: validation, path: rte/validation.parquet}
  - {split: test, path: rte/test.parquet}
- config_name: own
  data_files:
  - {split: train, path: own/train.parquet}
---
"""
RTE = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1], "idx": [0, 1]}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "repository"
    for name in ("rte", "own"):
        (folder / name).mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    names = datasets.Features(
        {
            "sentence1": datasets.Value("string"),
            "sentence2": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["not_entailment", "entailment"]),  # the other way round
            "idx": datasets.Value("int32"),
        }
    )
    for split, label in {"train": [0, 1], "validation": [1, 0], "test": [-1, -1]}.items():
        rows = datasets.Dataset.from_dict({**RTE, "label": label}, features=names)
        rows.to_parquet(folder / "rte" / f"{split}.parquet")
    pd.DataFrame({"review": ["a"], "stars": ["good"]}).to_parquet(folder / "own" / "train.parquet")
    return folder


def test_a_configuration_has_the_tasks_name(repository: Path):
    raw = sources.read(GLUE["rte"], data(repository, "hub"))
    assert list(in_memory(raw)) == ["train", "validation", "test"]
    assert in_memory(raw)["train"].columns.tolist() == ["sentence1", "sentence2", "label"]
    assert raw.origin["source"] == "hub"
    assert raw.origin["revision"] == "main"
    assert raw.origin["configuration"] == "rte"


def test_labels_are_matched_by_name_and_not_by_id(repository: Path):
    frames = in_memory(sources.read(GLUE["rte"], data(repository, "hub")))
    assert frames["train"]["label"].tolist() == ["not_entailment", "entailment"]
    assert frames["test"]["label"].tolist() == [-1, -1]


def test_an_absent_configuration_is_an_error(repository: Path):
    with pytest.raises(UserError, match=r"mrpc \(data.hub\): cannot be loaded: .*'mrpc' not found. Available: "):
        sources.read(GLUE["mrpc"], data(repository, "hub"))


def test_an_absent_split_and_column_are_one_error(repository: Path):
    task = Task("own", ("text",), "stars", ("bad", "good"), ("accuracy",))
    with pytest.raises(UserError) as error:
        sources.read(task, data(repository, "hub"))
    assert error.value.problems == [
        "train: has no column 'text', has ['review', 'stars']",
        "validation: not found, has train; data.splits names another, data.validation_share takes a share of train",
    ]


def test_an_absent_repository_is_an_error(tmp_path: Path):
    with pytest.raises(UserError, match=r"nowhere rte \(data.hub\): cannot be loaded: "):
        sources.read(GLUE["rte"], data(tmp_path / "nowhere", "hub"))


def test_what_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = []
    rows = datasets.Dataset.from_dict(RTE)

    def load_dataset(*args: object, **kwargs: object) -> object:
        asked.append((args, kwargs))
        return datasets.DatasetDict({"train": rows, "validation": rows})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    sources.read(GLUE["rte"], data(tmp_path, "hub").model_copy(update={"hub": "nyu-mll/glue", "revision": "abc"}))
    assert asked == [(("nyu-mll/glue",), {"name": "rte", "revision": "abc"})]
