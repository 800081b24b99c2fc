"""A finished model's folder under transformers 4, which servers still run: the same tokens, the same logits.

It needs that version in a folder of its own, and runs only where the variable names one:

    pip install --no-deps --target FOLDER 'transformers==4.57.*' 'huggingface_hub<1' 'tokenizers<0.23'
    KDCORE_TRANSFORMERS_4=FOLDER pytest tests/parity/test_old_transformers.py
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kdcore.distil.checkpoint import Record
from kdcore.distil.folder import write_model
from kdcore.model.encoder import Encoder
from kdcore.model.families import FAMILIES
from tests import tiny

FOLDER = os.environ.get("KDCORE_TRANSFORMERS_4")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason="KDCORE_TRANSFORMERS_4 names no folder with transformers 4"),
]
TEXTS = tiny.texts(3, seed=5)["sentence"].tolist()
ANSWER = """
import json, sys, torch, transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer
assert transformers.__version__.startswith("4."), transformers.__version__
folder, texts = sys.argv[1], json.loads(sys.argv[2])
words = AutoTokenizer.from_pretrained(folder)(texts, texts[::-1], padding=True, return_tensors="pt")
with torch.inference_mode():
    logits = AutoModelForSequenceClassification.from_pretrained(folder)(**words).logits
print(json.dumps([words["input_ids"].tolist(), logits.tolist()]))
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_4_reads_the_same_tokens_and_gives_the_same_logits(
    family: str, tiny_classifier: Callable[..., Path], tmp_path: Path
):
    tokenizer = tiny.tokenizer(family)
    tokenizer.add_special_tokens({"extra_special_tokens": ["the"]})
    write_model(tmp_path, Encoder.load(tiny_classifier(family)), tokenizer, {"max_length": 16}, Record())
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, str(tmp_path), json.dumps(TEXTS)],
        env=os.environ | {"PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids, logits = json.loads(done.stdout)
    words = AutoTokenizer.from_pretrained(tmp_path)(TEXTS, TEXTS[::-1], padding=True, return_tensors="pt")
    assert ids == words["input_ids"].tolist()
    with torch.inference_mode():
        own = AutoModelForSequenceClassification.from_pretrained(tmp_path)(**words).logits
    assert torch.allclose(torch.tensor(logits), own, atol=1e-5)
