"""`kdcore latency`: every depth by every runtime, in a file that names the machine; students need not be trained."""

import io
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from kdcore import cli
from kdcore import latency as measuring
from kdcore.report.latency import read_latency
from tests import on_disk
from tests.unit.raw_files import write_params

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


@pytest.fixture(scope="module")
def measured(tiny_ingredients: on_disk.Ingredients, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the tiny teacher of 4 layers and of its students, in a folder of its own."""
    folder = tmp_path_factory.mktemp("latency")
    own = {"text": ["sentence"], "label": "label", "labels": ["bad", "good"], "metrics": ["accuracy"]}
    own["methods"] = {"sid": {"student": {"layers": 3}}}  # a depth of its own
    write_params(folder / "params.yaml", {"student.layers": 1, "study.depth.layers": [1, 4, 5], "task.tiny": own})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KDCORE_WORK", str(folder / "work"))
        patch.setattr(measuring, "REQUESTS", {1: 4, 8: 2})
        patch.setattr(measuring.latency, "__defaults__", ({1: 4, 8: 2},))
        paths = map(str, (tiny_ingredients.data, tiny_ingredients.teacher, folder / "tiny.json"))
        patch.setattr(sys, "argv", ["kdcore", "latency", "tiny", *paths])
        torch.set_num_threads(2)
        with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        assert (
            said.getvalue().splitlines()[-1].startswith(f"latency: the tables are {folder / 'tiny.md'}; `dvc repro` ")
        )
        assert torch.get_num_threads() == 2
    return folder / "tiny.json"


def test_every_depth_is_measured_by_every_runtime_on_one_and_on_all_threads(measured: Path):
    found = read_latency(measured)
    keys = [(one.layers, one.runtime, one.threads, one.batch) for one in found.measured]
    runtimes = ("torch", "ONNX float32", "ONNX int8")
    wanted = {(d, r, t, b) for d in (1, 3, 4) for r in runtimes for t in (1, 2) for b in (1, 8)}
    assert (set(keys), len(keys)) == (wanted, len(wanted))
    assert found.teacher == 4


def test_whose_it_is_is_told_by_the_weights_of_encoder_and_pooler(
    measured: Path, tiny_ingredients: on_disk.Ingredients
):
    model = AutoModel.from_pretrained(tiny_ingredients.teacher)
    weights = {part: sum(p.numel() for p in getattr(model, part).parameters()) for part in ("encoder", "pooler")}
    layers = {depth: weights["encoder"] * depth // 4 + weights["pooler"] for depth in (1, 3, 4)}
    assert read_latency(measured).parameters == layers


def test_rows_per_second_and_milliseconds_are_of_one_request(measured: Path):
    for one in read_latency(measured).measured:
        assert 0 < one.p50_ms <= one.p95_ms
        assert one.rows_per_second == pytest.approx(1000 * one.batch / one.p50_ms, rel=0.01)


def test_the_file_names_the_machine_and_what_was_asked(measured: Path):
    facts = json.loads(measured.read_text())
    assert facts["machine"].keys() >= {"processor", "threads", "torch", "onnxruntime", "transformers", "python"}
    assert facts["machine"]["threads"] == 2
    assert (facts["rows"], facts["requests"]) == (24, {"1": 4, "8": 2})
    assert facts["machine"]["processor"] in measured.with_suffix(".md").read_text()


def test_what_other_work_took_meanwhile_is_kept_and_told(measured: Path):
    facts = json.loads(measured.read_text())
    assert 0 <= facts["others"] <= 1
    assert f"other work took {facts['others']:.0%} of the processors' time" in measured.with_suffix(".md").read_text()


def test_other_work_is_all_that_processors_did_but_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By hand: user, nice, system, irq, softirq, steal; two processors work 6 s in ten, 1 s of which is ours."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(measuring, "STAT", stat)
    assert measuring._used() is None
    tick = os.sysconf("SC_CLK_TCK")
    stat.write_text(f"cpu  {tick} {tick} {tick} {99 * tick} {99 * tick} {tick} {tick} {tick} 7 7\ncpu0 1\n")
    used = measuring._used()
    assert used is not None
    assert used[1] == 6
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert measuring._others((0, 0, 0), (10, 6, 1)) == 0.25
    assert measuring._others((0, 0, 0), (10, 6, 6.5)) == 0
    assert measuring._others(None, used) is None


def test_without_the_extra_its_name_is_said(tiny_ingredients: on_disk.Ingredients, monkeypatch: pytest.MonkeyPatch):
    from kdcore.errors import UserError

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    opened = tiny_ingredients.opened()
    with pytest.raises(UserError, match=r"pip install 'kdcore\[export\]'"):
        measuring.latency(opened["data"], opened["teacher"], [1])
