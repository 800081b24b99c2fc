"""An exported classifier answers as the classifier does, in every family, and nothing is written where it would not."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kdcore import export as exporting
from kdcore.data.examples import Examples, encode
from kdcore.data.tasks import Task
from kdcore.errors import UserError
from kdcore.model.encoder import Encoder
from kdcore.model.names import tokenizer_of
from kdcore.model.predict import logits_of
from tests import tiny

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
ROOT = Path(__file__).parents[2]
TASK = Task("tiny", ("sentence",), "label", ("bad", "good"), ("accuracy",))
TEXTS = ["a good film", "the plot was dull and the cast was weak", "lovely"]


def rows(folder: Path, count: int = 48) -> Examples:
    texts = tiny.texts(count, seed=3)
    frame = pd.DataFrame({"text_a": texts["sentence"], "text_b": None, "label": texts["label"]})
    return encode(tokenizer_of(folder), frame, 24)


def exported(folder: Path, out: Path, int8: bool = False) -> dict[str, Any]:
    return exporting.export(folder, TASK, rows(folder), out, int8, 16)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_server_of_the_docs_answers_as_transformers_without_torch(
    family: str, tiny_classifier: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from transformers import pipeline

    folder = tiny_classifier(family, 2)
    exported(folder, tmp_path / "served")
    monkeypatch.chdir(tmp_path)
    answers = server_of_the_docs()(TEXTS)
    expected = pipeline("text-classification", str(folder), device="cpu")(TEXTS)
    for (label, share), answer in zip(answers, expected, strict=True):
        assert (label, share) == (answer["label"], pytest.approx(answer["score"], abs=1e-5))


def test_the_server_of_the_docs_answers_a_regression_by_its_number(
    tiny_classifier: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tiny_classifier("bert", 2, ("score",))
    task = replace(TASK, labels=(), metrics=("pearson",))
    exporting.export(folder, task, rows(folder), tmp_path / "served", False, 16)
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"text_a": TEXTS, "text_b": None, "label": 0.0})
    wanted = logits_of(Encoder.load(folder), encode(tokenizer_of(folder), frame, 24), 16)[:, 0]
    assert server_of_the_docs()(TEXTS) == pytest.approx(wanted.tolist(), abs=1e-5)


def server_of_the_docs() -> Callable[[list[str]], list[Any]]:
    """`classify` of docs/serving.md, made from the folder `served` of the working directory."""
    Path("served/run.json").write_text('{"max_length": 24}')  # a student's own has it
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/serving.md").read_text(), re.DOTALL)
    assert "torch" not in code
    assert "transformers" not in code
    server: dict[str, Any] = {}
    exec(code.replace("model_quantized", "model"), server)  # noqa: S102  (float32: int8 answers nearly as torch)
    return server["classify"]


def test_int8_is_a_quarter_of_the_matrices_and_its_difference_is_said(
    tiny_classifier: Callable[..., Path], tmp_path: Path
):
    facts = exported(tiny_classifier("bert", 2), tmp_path / "out", int8=True)
    assert facts == json.loads((tmp_path / "out/export.json").read_text())
    assert facts["float32"]["largest_difference"] < 1e-5 < facts["int8"]["largest_difference"]
    size = {name: (tmp_path / "out/onnx" / name).stat().st_size for name in ("model.onnx", "model_quantized.onnx")}
    assert size["model_quantized.onnx"] < size["model.onnx"]


def test_no_processor_has_to_multiply_unsigned_by_signed_in_int8(tiny_classifier: Callable[..., Path], tmp_path: Path):
    """Without VNNI such products overflow: a file that was written where they don't would answer otherwise there."""
    exported(tiny_classifier("bert", 2), tmp_path / "out", int8=True)
    graph = onnx.load(tmp_path / "out/onnx/model_quantized.onnx").graph
    kinds = {one.name: one.data_type for one in graph.initializer}
    weights = [node.input[1] for node in graph.node if node.op_type == "MatMulInteger"]
    assert {kinds[name] for name in weights if name in kinds} == {onnx.TensorProto.UINT8}


@pytest.mark.parametrize(
    ("broken", "int8", "said"),
    [
        (
            "write_float32",
            False,
            r"otherwise: logits differ by up to [\d.]+, [\d.]+% of the rows are answered as by torch",
        ),
        ("write_int8", True, r"as by torch, and 90% must be; use --no-int8 \(in Python int8=False\) for float32 alone"),
    ],
)
def test_a_model_that_would_answer_otherwise_is_not_written(
    broken: str,
    int8: bool,
    said: str,
    tiny_classifier: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Another model's ONNX file stands in for what a faulty export would write."""
    exported(tiny_classifier("bert", 2, ("bad", "good"), 7), tmp_path / "other")
    other = (tmp_path / "other/onnx/model.onnx").read_bytes()
    monkeypatch.setattr(exporting, broken, lambda *paths: paths[-1].write_bytes(other))
    with pytest.raises(UserError, match=said):
        exported(tiny_classifier("bert", 2), tmp_path / "out", int8)
    assert not (tmp_path / "out").exists()


def test_without_the_extra_its_name_is_said(
    tiny_classifier: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'kdcore\[export\]'"):
        exported(tiny_classifier("bert", 2), tmp_path / "out")
    assert not (tmp_path / "out").exists()
