"""An exported student in the libraries that serve it, which are no dependency of kdcore: Optimum, and transformers.js.

Each runs only where a variable names a folder that has it:

    pip install --no-deps --target FOLDER 'transformers==4.57.*' 'huggingface_hub<1' 'tokenizers<0.23' \\
        optimum optimum-onnx
    KDCORE_TRANSFORMERS_4=FOLDER pytest tests/parity/test_served.py

    npm install --prefix FOLDER --ignore-scripts @huggingface/transformers
    KDCORE_TRANSFORMERS_JS=FOLDER pytest tests/parity/test_served.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from transformers import pipeline

from kdcore.data.examples import encode
from kdcore.data.tasks import Task
from kdcore.export import export
from kdcore.model.names import save_tokenizer
from tests import tiny

TASK = Task("tiny", ("sentence",), "label", ("bad", "good"), ("accuracy",))
TEXTS = tiny.texts(6, seed=5)["sentence"].tolist()
PYTHON, NODE = os.environ.get("KDCORE_TRANSFORMERS_4"), os.environ.get("KDCORE_TRANSFORMERS_JS")
pytestmark = pytest.mark.slow
BY_OPTIMUM = """
import json, sys
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline
folder, file, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = ORTModelForSequenceClassification.from_pretrained(folder, file_name=file) if file else (
    ORTModelForSequenceClassification.from_pretrained(folder))
classify = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder), device="cpu")
print(json.dumps(classify(texts)))
"""
BY_NODE = """
import { pipeline, env } from "@huggingface/transformers";
const [folder, dtype, texts] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = folder.slice(0, folder.lastIndexOf("/") + 1);
const classify = await pipeline("text-classification", folder.slice(folder.lastIndexOf("/") + 1), { dtype });
console.log(JSON.stringify(await classify(JSON.parse(texts))));
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier, exported."""
    folder = tmp_path_factory.mktemp("served")
    tiny.save_finetuned(folder / "model", layers=2)
    tokenizer = tiny.tokenizer()
    save_tokenizer(tokenizer, folder / "model")
    rows = tiny.texts(24, seed=3)
    frame = pd.DataFrame({"text_a": rows["sentence"], "text_b": None, "label": rows["label"]})
    export(folder / "model", TASK, encode(tokenizer, frame, 24), folder / "out", True, 8)
    return folder / "out"


def said(*command: str, **environment: str) -> list[dict[str, object]]:
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(answers: list[dict[str, object]], served: Path, within: float) -> None:
    expected = pipeline("text-classification", str(served.parent / "model"), device="cpu")(TEXTS)
    for answer, wanted in zip(answers, expected, strict=True):
        share = answer["score"] if answer["label"] == wanted["label"] else 1 - answer["score"]
        assert share == pytest.approx(wanted["score"], abs=within)


@pytest.mark.skipif(PYTHON is None, reason="KDCORE_TRANSFORMERS_4 names no folder with Optimum")
@pytest.mark.parametrize(("file", "within"), [("", 1e-5), ("model_quantized.onnx", 0.05)])
def test_optimum_answers_as_torch(served: Path, file: str, within: float):
    check(
        said(sys.executable, "-c", BY_OPTIMUM, str(served), file, json.dumps(TEXTS), PYTHONPATH=str(PYTHON)),
        served,
        within,
    )


@pytest.mark.skipif(NODE is None, reason="KDCORE_TRANSFORMERS_JS names no folder with transformers.js")
@pytest.mark.parametrize(("dtype", "within"), [("fp32", 1e-5), ("q8", 0.05)])
def test_transformers_js_answers_as_torch(served: Path, dtype: str, within: float):
    script = Path(str(NODE)) / "answer.mjs"
    script.write_text(BY_NODE)
    check(said("node", str(script), str(served), dtype, json.dumps(TEXTS)), served, within)
