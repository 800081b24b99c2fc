"""docs/extending.md: each of its diffs, applied to a copy of the tree, gives what the page says."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.pipeline.conftest import ROOT, SMALL, TASK, Project

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
SECTIONS = {
    title: re.findall(r"```diff\n(.*?)```", body, re.DOTALL)[0]
    for title, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
MOST_FILES = {
    "A loss on [CLS]": 4,
    "A loss on all tokens' hidden states": 3,
    "A schedule": 2,
    "A task metric": 1,
    "A study": 3,
    "An encoder family": 1,
}


def files(diff: str) -> dict[str, list[str]]:
    """The hunks of each file."""
    parts = re.findall(r"^\+\+\+ b/(.*?)\n(.*?)(?=^--- |\Z)", diff, re.DOTALL | re.MULTILINE)
    return {name: re.split(r"^@@.*\n", body, flags=re.MULTILINE)[1:] for name, body in parts}


def apply(root: Path, title: str) -> None:
    """Replace what stands in the context and the removed lines, which must be there once, by the page's own lines."""
    for name, hunks in files(SECTIONS[title]).items():
        text = (root / name).read_text(encoding="utf-8")
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if not line.startswith("+"))
            assert text.count(before) == 1, f"{name}: not there once:\n{before}"
            text = text.replace(before, "".join(line[1:] for line in lines if not line.startswith("-")))
        (root / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("title", SECTIONS)
def test_a_change_touches_as_few_files_as_it_is_meant_to(title: str):
    assert len(files(SECTIONS[title])) <= MOST_FILES[title]


@pytest.fixture(scope="module")
def changed(new_project: Callable[..., Project]) -> Callable[..., Project]:
    """changed(titles, params): a tiny project to which the sections' diffs are applied."""

    def made(*titles: str, **params: object) -> Project:
        project = new_project()
        given = project.params()
        own = {"data.path": given["data"]["path"], "model.name": given["model"]["name"]}
        shutil.copyfile(ROOT / "params.yaml", project.root / "params.yaml")  # as the page's diffs know it
        for title in titles:
            apply(project.root, title)
        project.edit(deepcopy(SMALL) | own | params)
        project.commit(", ".join(titles))
        return project

    return made


@pytest.fixture(scope="module")
def grown(changed: Callable[..., Project]) -> Project:
    """A project with one more loss, schedule, metric and study, after its headline run and the study."""
    titles = ("A loss on [CLS]", "A schedule", "A task metric", "A study")
    methods, knobs = ["soft", "sid-mse", "two-mse"], {"student.rows": 16, f"task.{TASK}.metrics": ["balanced"]}
    project = changed(*titles, methods=methods, **knobs, **{"study.temperature.methods": ["soft"]})
    project.run("dvc", "repro", "plots", "stages/dvc.yaml:temperature", warm=True)
    return project


def history(project: Project, method: str) -> list[dict[str, str]]:
    text = (project.root / f"runs/student/{TASK}/{method}-s0/history.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


def test_a_loss_on_cls_and_a_schedule_train_and_are_in_every_table(grown: Project):
    rows = history(grown, "sid-mse")
    assert float(rows[0]["cls_mse_1"]) > 0
    assert "attention_kl_1" not in rows[0]
    point = json.loads((grown.root / f"metrics/main/points/{TASK}/sid-mse-s0.json").read_text())
    assert len(point["fidelity"]["cls_mse"]) == 2
    table = (grown.root / "metrics/main/table.md").read_text()
    assert "[CLS] squared error" in table
    assert "| sid-mse |" in table
    assert "| two-mse |" in table
    steps = [(row["phase"], bool(row["cls_mse_1"]), bool(row["cls_mse_2"])) for row in history(grown, "two-mse")]
    assert steps == [("layer 2", True, True)] * 2 + [("classification", False, False)]
    card = (grown.root / f"runs/student/{TASK}/two-mse-s0/README.md").read_text()
    assert "the teacher's internals in all layers at once, then its soft labels" in card


def test_a_loss_on_hidden_states_is_what_plain_hugging_face_code_computes(changed: Callable[..., Project]):
    """The point's value, of validation rows in padded batches, against one text at a time without kdcore's capture."""
    project = changed("A loss on all tokens' hidden states", methods=["none", "sid-hid"])
    project.run("dvc", "repro", f"evaluate@{TASK}", warm=True)
    assert float(history(project, "sid-hid")[0]["hidden_mse_1"]) > 0
    point = json.loads((project.root / f"metrics/main/points/{TASK}/sid-hid-s0.json").read_text())
    texts = pd.read_parquet(project.root / f"data/{TASK}/validation.parquet")["text_a"]
    folders = [project.root / f"runs/{name}" for name in (f"student/{TASK}/sid-hid-s0", f"teacher/{TASK}/s0")]
    student, teacher = (AutoModelForSequenceClassification.from_pretrained(folder).eval() for folder in folders)
    tokenizer = AutoTokenizer.from_pretrained(folders[0])
    errors: dict[int, list[float]] = {1: [], 2: []}  # student layers, which match the teacher's 2 and 4
    for text in texts:
        inputs = tokenizer(text, truncation=True, max_length=24, return_tensors="pt")
        with torch.inference_mode():
            own, theirs = (model(**inputs, output_hidden_states=True).hidden_states for model in (student, teacher))
        for layer, found in errors.items():
            found.append(float((own[layer] - theirs[2 * layer]).double().square().mean()))
    expected = [sum(found) / len(found) for found in errors.values()]
    assert point["fidelity"]["hidden_mse"] == pytest.approx(expected, rel=1e-3)


def test_a_task_metric_is_scored(grown: Project):
    point = json.loads((grown.root / f"metrics/teacher/{TASK}/s0.json").read_text())
    assert point["metric"] == "balanced"
    assert point["score"] == pytest.approx(0.5, abs=0.5)


def test_a_study_has_its_table_and_picture(grown: Project):
    folder = grown.root / "metrics/temperature"
    with (folder / "table.csv").open() as table:
        found = {(row["method"], row["temperature"]) for row in csv.DictReader(table) if row["method"] != "teacher"}
    assert found == {("soft", "1"), ("soft", "4")}
    assert (folder / "figures/temperature.png").stat().st_size > 10_000


PARITY = """
import sys; sys.path.insert(0, "{here}"); sys.path.insert(1, "{root}")
import torch
from tests import tiny
from kdcore.model.encoder import Encoder

tokenizer = tiny.tokenizer("bert")
inputs = dict(tokenizer(["a good film", "the plot was dull and weak"], padding=True, return_tensors="pt"))
plain = tiny.model("ernie")
plain.set_attn_implementation("eager")
with torch.inference_mode():
    expected = plain(**inputs, output_attentions=True, output_hidden_states=True)
    encoder = Encoder(tiny.model("ernie")).eval()
    internals = encoder(inputs, attention=range(1, 5))
real = inputs["attention_mask"].bool()
for layer in range(1, 5):
    maps = internals.attention[layer].exp()
    assert torch.allclose(maps[real[:, None].expand(maps.shape[:3])],
                          expected.attentions[layer - 1][real[:, None].expand(maps.shape[:3])], atol=1e-5)
    if layer < 4:
        assert torch.allclose(internals.cls[layer], expected.hidden_states[layer][:, 0], atol=1e-5)
assert torch.allclose(internals.logits, expected.logits, atol=1e-5)
print("equal")
"""


def test_an_encoder_family_is_captured_as_plain_hugging_face_computes_it(changed: Callable[..., Project]):
    project = changed("An encoder family")
    code = PARITY.format(here=project.root, root=ROOT)
    shown = subprocess.run([sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=False)
    assert shown.stdout.strip() == "equal", shown.stderr
