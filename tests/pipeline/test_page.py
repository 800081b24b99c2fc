"""What `dvc repro` leaves of the attention maps, and the page; and what makes the page again."""

import json
from pathlib import Path

import pytest

from kdcore.data.prepared import Data
from tests.pipeline.conftest import SMALL, TASK, Project

MAIN = Path("metrics/main")
COMPARE = [
    "python", "-m", "kdcore", "attention", TASK, f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}",
    f"runs/student/{TASK}", f"metrics/main/points/{TASK}", f"runs/predictions/{TASK}", "metrics/main/attention",
]  # fmt: skip
WRITE = ["python", "-m", "kdcore", "report", "metrics", "runs/student", "metrics/main/report.html"]


def test_it_leaves_the_maps_of_chosen_examples(finished: Project):
    found = json.loads((finished.root / MAIN / f"attention/{TASK}.json").read_text())
    assert [model["name"] for model in found["models"]] == ["teacher", "soft", "sid"]
    assert len(found["examples"]) == finished.params()["attention"]["examples"]
    point = json.loads((finished.root / MAIN / f"points/{TASK}/sid-s0.json").read_text())
    for shown, exact in zip(found["models"][2]["kl"], point["fidelity"]["attention_kl"], strict=True):
        assert shown == pytest.approx(exact, abs=5e-5)
    for kind in ("png", "svg"):
        assert (finished.root / MAIN / f"attention/figures/{TASK}/maps.{kind}").stat().st_size > 10_000


def test_it_leaves_the_page(finished: Project):
    text = (finished.root / MAIN / "report.html").read_text(encoding="utf-8")
    assert len(text) < 5e6
    assert f"<h1>{TASK}</h1>" in text
    assert all(method in text for method in SMALL["methods"])
    assert "dvc repro stages/dvc.yaml:depth" in text
    facts = json.loads((finished.root / f"runs/student/{TASK}/none-s0/run.json").read_text())
    for value in ("learning rate", facts["versions"]["processor"], facts["versions"]["commit"][:10]):
        assert value in text


def test_no_sentence_of_the_users_own_data_is_in_what_git_gets(finished: Project):
    sentences = Data.open(finished.root / f"data/{TASK}").frame("validation")["text_a"]
    files = [path for path in (finished.root / MAIN).rglob("*") if path.suffix in (".html", ".json", ".md", ".csv")]
    assert {path.name for path in files} >= {"report.html", "errors.json", "errors.md", "errors.csv", f"{TASK}.json"}
    found = [path.name for path in files if any(sentence in path.read_text() for sentence in sentences)]
    assert found == []


def test_a_method_that_was_not_run_is_left_out_with_a_line(finished_copy: Project):
    finished_copy.edit({"attention.internal": "all"})
    line = "attention.internal: all is not in `methods` (none, soft, pid, sid), so it is left out"
    assert line in finished_copy.run(*COMPARE, warm=True).stdout
    found = json.loads((finished_copy.root / MAIN / f"attention/{TASK}.json").read_text())
    assert [model["name"] for model in found["models"]] == ["teacher", "soft"]
    finished_copy.run(*WRITE, warm=True)
    assert line in (finished_copy.root / MAIN / "report.html").read_text()


def test_a_study_that_ran_makes_the_page_again(finished_copy: Project):
    assert "report" not in finished_copy.run("dvc", "status", "report").stdout
    (finished_copy.root / "stages/dvc.lock").write_text("schema: '2.0'\nstages: {}\n")  # as a study leaves one
    assert "stages" in finished_copy.run("dvc", "status", "report").stdout


def test_a_missing_result_is_one_message_and_exit_code_2(finished_copy: Project):
    (finished_copy.root / MAIN / f"attention/{TASK}.json").unlink()
    result = finished_copy.run(*WRITE, check=False, warm=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f"metrics/main/attention/{TASK}.json: can't be read")
    assert "Traceback" not in result.stderr
