"""SECURITY.md, held against kdcore's source: no pickle, no model's own code, safetensors only, no shell, no network."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from transformers import dynamic_module_utils

from kdcore import cli
from tests import on_disk, tiny
from tests.unit.raw_files import write_params

ROOT = Path(__file__).parents[2]
PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {"torch.load", "torch.save", "os.system", "os.popen", "eval", "exec", "pd.read_pickle", "pickle.load"}
CALLS |= {"shutil.unpack_archive"}  # archives are never unpacked: a name in one may lead anywhere
ENDS = (".to_pickle", ".extractall")
# What reaches another machine, and who may: rows are read from a hub, and a commit is asked for, where params.yaml
# names one; `push` writes there when it is told to; the card is formatted with the hub's own library.
NETWORK = {"urllib", "http", "ftplib", "smtplib", "ssl", "requests", "httpx", "aiohttp", "huggingface_hub", "datasets"}
MAY = {
    "kdcore/data/hub.py": "imports datasets",
    "kdcore/hub.py": "imports huggingface_hub",
    "kdcore/push.py": "imports huggingface_hub",
    "kdcore/distil/card.py": "imports huggingface_hub",
}
# A keyword that is a hole unless it is literally this.
SAFE = {"trust_remote_code": False, "shell": False, "allow_pickle": False, "use_safetensors": True}


def complaints(source: str) -> Iterator[str]:
    """Every place in the source that breaks a promise, as `line: what`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            yield from (f"{node.lineno}: imports {n}" for n in names if n.split(".")[0] in PICKLES | NETWORK)
        if isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {what}" for what in unsafe(node))


def unsafe(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    if name in CALLS or name.endswith(ENDS):
        yield f"calls {name}"
    given = {k.arg: k.value for k in call.keywords}
    for keyword, value in given.items():
        if keyword in SAFE and not (isinstance(value, ast.Constant) and value.value is SAFE[keyword]):
            yield f"{keyword}={ast.unparse(value)}"
    if "AutoModel" in name and name.endswith(".from_pretrained") and "use_safetensors" not in given:
        yield f"{name} without use_safetensors=True"


def test_onnx_runtime_neither_names_the_machine_nor_tells_its_makers(tmp_path: Path):
    """Its import alone writes an id to HOME and queues events, unless the variable says otherwise."""
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    told = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = "from kdcore.cli.command import set_up_libraries as up; up(); import onnxruntime"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=told | {"HOME": str(tmp_path)}, check=True)
    assert not [*tmp_path.rglob("*")]


@pytest.mark.parametrize("path", sorted((ROOT / "kdcore").rglob("*.py")), ids=lambda path: path.stem)
def test_the_library_keeps_its_promises(path: Path):
    found = list(complaints(path.read_text(encoding="utf-8")))
    allowed = MAY.get(path.relative_to(ROOT).as_posix())
    assert [what for what in found if not (allowed and allowed in what)] == []


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
        "archive.extractall(folder)",
        "from urllib.request import urlopen",
    ],
)
def test_a_broken_promise_is_found(source: str):
    assert len(list(complaints(source))) == 1


@pytest.mark.parametrize("file", [ROOT / "dvc.yaml", ROOT / "stages/dvc.yaml"], ids=lambda f: f.parent.name)
def test_a_stages_command_line_holds_only_checked_names_and_numbers_of_params(file: Path):
    """Nothing of the data has a way into the shell; what a matrix gives is checked when params.yaml is read."""
    stages = YAML(typ="safe").load(file)["stages"].values()
    inserted = {name for stage in stages for name in re.findall(r"\$\{([^}]*)\}", str(stage.get("cmd")))}
    items = {f"item.{name}" for name in ("task", "method", "seed", "layers", "rows", "init", "layer_map")}
    assert inserted <= items | {"student.layers", "tasks[0]", "teacher.seeds[0]"}


# A model's own code

EVIL = "import pathlib\npathlib.Path({marker!r}).touch()\nclass Evil: pass\n"


def config_of_its_own(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}))


def tokenizer_of_its_own(folder: Path) -> None:
    tiny.save_pretrained(folder, layers=6)
    code = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(code))
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize("make", [config_of_its_own, tokenizer_of_its_own])
@pytest.mark.usefixtures("store")
def test_the_code_that_a_model_brings_is_never_run_whatever_a_user_would_answer(
    tmp_path: Path,
    tiny_ingredients: on_disk.Ingredients,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], None],
):
    """In a terminal transformers asks `Do you wish to run the custom code? [y/N]`."""
    folder, marker = tmp_path / "model", tmp_path / "ran"
    folder.mkdir()
    make(folder)
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    write_params(tmp_path / "params.yaml", {"model.name": str(folder)})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dynamic_module_utils, "TIME_OUT_REMOTE_CODE", 15)
    monkeypatch.setattr("builtins.input", lambda _: "y")
    monkeypatch.setattr(
        sys, "argv", ["kdcore", "teacher", "tiny", "0", str(tiny_ingredients.data), "out", "point.json"]
    )
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert not marker.exists()
    assert capsys.readouterr().err.startswith((f"{folder}: no ", f"{folder}: architecture 'evil' can't be captured"))
    assert not (tmp_path / "out").exists()


# DVC


def test_dvc_sends_nothing_home():
    config = (ROOT / ".dvc/config").read_text()
    assert "analytics = false" in config
    assert "check_update = false" in config
