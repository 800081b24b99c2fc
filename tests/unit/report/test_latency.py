"""What was measured, as tables; every number by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from kdcore.errors import UserError
from kdcore.report.latency import Latency, blocks, read_latencies, read_latency, timed
from kdcore.report.markdown import to_markdown

MACHINE = {"processor": "A Processor", "threads": 2, "python": "3.11", "torch": "2.13", "onnxruntime": "1.32"}


def measured(layers: int, runtime: str, batch: int, p50: float) -> dict[str, Any]:
    timed = {"p50_ms": p50, "p95_ms": 2 * p50, "rows_per_second": 1000 * batch / p50}
    return {"layers": layers, "runtime": runtime, "threads": 1, "batch": batch, **timed}


FACTS = {
    "task": "movies",
    "machine": MACHINE,
    "parameters": {"6": 12, "3": 6},
    "rows": 1000,
    "tokens": 26.8,
    "requests": {"1": 200, "32": 40},
    "measured": [
        *(measured(6, "torch", 1, 16.0), measured(6, "torch", 32, 320.0), measured(6, "ONNX float32", 1, 8.0)),
        *(measured(3, "torch", 1, 8.0), measured(3, "torch", 32, 160.0), measured(3, "ONNX float32", 1, 4.0)),
    ],
}


def run(method: str, layers: int) -> dict[str, Any]:
    return {"task": "movies", "method": method, "layers": layers, "cost": {"encoder_and_pooler": 2 * layers}}


def test_a_run_is_told_the_milliseconds_of_its_depth_and_only_those():
    told = timed([run("sid", 3), run("sid", 2)], {"movies": Latency.model_validate(FACTS)})
    assert told == [run("sid", 3) | {"cost": {"encoder_and_pooler": 6, "latency_ms": 8.0}}, run("sid", 2)]
    assert timed([run("sid", 3)], {}) == [run("sid", 3)]


def test_what_was_measured_of_another_teacher_is_not_shown(tmp_path: Path):
    (tmp_path / "movies.json").write_text(json.dumps(FACTS))
    assert list(read_latencies(tmp_path, [run("teacher", 6), run("sid", 3)])) == ["movies"]
    wider = run("teacher", 6) | {"cost": {"encoder_and_pooler": 13}}
    assert read_latencies(tmp_path, [wider]) == {}
    assert read_latencies(tmp_path / "nowhere", [run("teacher", 6)]) == {}
    (tmp_path / "movies.json").write_text(json.dumps({key: FACTS[key] for key in FACTS if key != "parameters"}))
    assert read_latencies(tmp_path, [run("teacher", 6)]) == {}  # of an older kdcore, that did not say whose it was


def test_a_table_has_a_line_per_model_the_teachers_first_beside_which_others_are_read():
    text = to_markdown(blocks(Latency.model_validate(FACTS)))
    lines = [line for line in text.splitlines() if line.startswith("| teacher") or line.startswith("| student")]
    assert lines == [
        "| teacher, 6 layers | torch | 16.0 | 32.0 | 62.5 | 1.0 | 320 | 640 | 100 | 1.0 |",
        "| teacher, 6 layers | ONNX float32 | 8.00 | 16.0 | 125 | 2.0 |  |  |  |  |",
        "| student, 3 layers | torch | 8.00 | 16.0 | 125 | 2.0 | 160 | 320 | 200 | 2.0 |",
        "| student, 3 layers | ONNX float32 | 4.00 | 8.00 | 250 | 4.0 |  |  |  |  |",
    ]
    assert "A Processor, 2 threads in all; torch 2.13, onnxruntime 1.32, python 3.11." in text
    assert "200 requests of 1 and 40 requests of 32 validation rows (26.8 tokens on average)" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"measured": []}, "measured: Tuple should have at least 1 item"),
        ({"measured": [measured(3, "torch", 1, -1.0)]}, "measured.0.p50_ms: Input should be greater than 0"),
    ],
)
def test_a_broken_file_is_named_with_what_makes_it_again(tmp_path: Path, changes: dict[str, Any], said: str):
    (tmp_path / "movies.json").write_text(json.dumps(FACTS | changes))
    with pytest.raises(UserError, match=r"run `dvc repro stages/dvc\.yaml:latency`") as error:
        read_latency(tmp_path / "movies.json")
    assert said in str(error.value)
    with pytest.raises(UserError, match=r"none\.json: can't be read"):
        read_latency(tmp_path / "none.json")
