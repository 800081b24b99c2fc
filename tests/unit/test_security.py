"""SECURITY.md, held against kdcore's source: no pickle, no remote code, safetensors only, no shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {"torch.load", "torch.save", "os.system", "os.popen", "eval", "exec", "pd.read_pickle", "pickle.load"}
# A keyword that is a hole unless it is literally this.
SAFE = {"trust_remote_code": False, "shell": False, "allow_pickle": False, "use_safetensors": True}


def complaints(source: str) -> Iterator[str]:
    """Every place in the source that breaks a promise, as `line: what`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            yield from (f"{node.lineno}: imports {n}" for n in names if n.split(".")[0] in PICKLES)
        if isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {what}" for what in unsafe(node))


def unsafe(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    if name in CALLS or name.endswith(".to_pickle"):
        yield f"calls {name}"
    given = {k.arg: k.value for k in call.keywords}
    for keyword, value in given.items():
        if keyword in SAFE and not (isinstance(value, ast.Constant) and value.value is SAFE[keyword]):
            yield f"{keyword}={ast.unparse(value)}"
    if "AutoModel" in name and name.endswith(".from_pretrained") and "use_safetensors" not in given:
        yield f"{name} without use_safetensors=True"


@pytest.mark.parametrize("path", sorted((ROOT / "kdcore").rglob("*.py")), ids=lambda path: path.stem)
def test_the_library_keeps_its_promises(path: Path):
    assert list(complaints(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import dump",
        "import torch\ntorch.load('weights.bin')",
        "AutoConfig.from_pretrained(name, trust_remote_code=True)",
        "AutoConfig.from_pretrained(name, trust_remote_code=flag)",
        "AutoModel.from_pretrained(name)",
        "AutoModel.from_pretrained(name, use_safetensors=None)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "np.load(path, allow_pickle=True)",
        "frame.to_pickle(path)",
    ],
)
def test_a_broken_promise_is_found(source: str):
    assert len(list(complaints(source))) == 1


def test_dvc_sends_nothing_home():
    config = (ROOT / ".dvc/config").read_text()
    assert "analytics = false" in config
    assert "check_update = false" in config
