"""A reranker distilled from pairs without a label, as docs/without-labels.md shows it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import spearmanr
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests import tiny
from tests.pipeline.conftest import ROOT, Project
from tests.pipeline.test_installed import quicken

PAGE = (ROOT / "docs/without-labels.md").read_text(encoding="utf-8")
COMMANDS = [line.split() for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Callable[..., Path]) -> Project:
    """The page's commands up to the export, with a tiny reranker and 96 pairs."""
    folder = tmp_path_factory.mktemp("search")
    shutil.copytree(tiny_classifier(labels=("score",)), folder / "path/to/reranker")
    rows = tiny.texts(96, pairs=True, seed=3)
    rows = rows.rename(columns={"first": "query", "second": "passage"})[["query", "passage"]]
    rows.to_csv(folder / "pairs.csv", index=False)
    at = Project(folder)
    for command in COMMANDS:
        if command[0] == "cd":
            at = Project(folder / command[1])
            quicken(at.root / "params.yaml")
        else:
            at.run(*command, warm=True)
    return at


def logits(folder: Path, rows: pd.DataFrame) -> np.ndarray:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for one in rows.itertuples():
        with torch.inference_mode():
            found.append(float(model(**tokenizer(one.text_a, one.text_b, return_tensors="pt")).logits))
    return np.asarray(found)


def test_a_student_is_scored_by_the_teachers_ranks(project: Project):
    point = json.loads((project.root / "metrics/main/points/pairs/sid-s0.json").read_text())
    rows = pd.read_parquet(project.root / "data/pairs/validation.parquet")
    assert len(rows) == 10
    assert rows["label"].isna().all()
    teacher, student = (
        logits(project.root / f"runs/{name}", rows) for name in ("teacher/pairs/s0", "student/pairs/sid-s0")
    )
    assert point["metric"] == "teacher_spearman"
    assert point["score"] == pytest.approx(spearmanr(student, teacher).statistic, abs=1e-6)
    assert point["fidelity"]["score_mse"] == pytest.approx(float(np.square(student - teacher).mean()), rel=1e-3)
    assert "classification" not in point
    above = json.loads((project.root / "metrics/main/points/pairs/teacher-s0.json").read_text())
    assert above["score"] == pytest.approx(1.0)


def test_the_page_and_the_tables_speak_of_no_accuracy(project: Project):
    table = (project.root / "metrics/main/table.md").read_text()
    assert "teacher_spearman" in table
    assert "accuracy" not in table
    assert {row.split(" | ")[0].strip("| ") for row in table.splitlines() if row.startswith("| s")} == {"soft", "sid"}
    assert "a regression predicts numbers" in (project.root / "metrics/main/errors.md").read_text()
    assert (project.root / "metrics/main/report.html").stat().st_size > 10_000


def test_it_is_exported_and_asked(project: Project):
    assert list((project.root / "shipped").rglob("*.onnx"))
    scores = pd.read_csv(project.root / "scores.csv")
    assert len(scores) == 96


def test_init_writes_what_the_page_says(project: Project):
    written = yaml.safe_load((project.root / "params.yaml").read_text())
    said = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    assert written["task"]["pairs"] == said["task"]["pairs"]
