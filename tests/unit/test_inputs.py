"""What names of models mean now, as the stage `inputs` writes it: folders, hub names, and hubs that do not answer."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from kdcore import artefacts, inputs
from kdcore.inputs import write_inputs
from kdcore.params.sections import Data, Model, Teacher

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub whose answer is hub["sha"]; none can be had where that is None. hub["asked"] counts."""
    state = {"sha": OLD, "asked": 0}

    def answer(self: Any, name: str, **how: Any) -> Any:
        state["asked"] += 1
        if state["sha"] is None:
            raise ConnectionError("Name or service not known")
        return SimpleNamespace(sha=state["sha"])

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", answer)
    return state


@pytest.fixture
def written(store: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """written(model, teacher, data): what is written of them, for the task `own`, in the place of what was."""

    def made(model: Model | None = None, teacher: Teacher | None = None, data: Data | None = None) -> dict[str, Any]:
        out = tmp_path / "inputs"
        asked = (data or Data(), model or Model(name="./absent"), {"own": teacher or Teacher()})
        write_inputs(out, ["prepare"], {"": asked}, tmp_path / "latency")
        return json.loads((out / "models/own.json").read_text()) | {"data": json.loads((out / "data.json").read_text())}

    return made


def test_a_folder_is_its_files_and_is_hashed_once(
    written: Callable[..., dict[str, Any]],
    tmp_path: Path,
    tiny_classifier: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
):
    folder = shutil.copytree(tiny_classifier(), tmp_path / "classifier")
    teacher = Teacher(finetuned=str(folder))
    before = written(teacher=teacher)
    assert before["finetuned"]["name"] == str(folder)
    hashed: list[Path] = []
    honest = inputs.artefacts.sha256
    monkeypatch.setattr(inputs.artefacts, "sha256", lambda path: hashed.append(path) or honest(path))
    assert written(teacher=teacher) == before
    (folder / "README.md").write_text("No part of the model.")
    assert written(teacher=teacher) == before
    weights = folder / "model.safetensors"
    assert weights not in hashed
    content, times = bytearray(weights.read_bytes()), (weights.stat().st_atime_ns, weights.stat().st_mtime_ns)
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=times)  # as touch -r sets them back
    assert written(teacher=teacher)["finetuned"]["files"] != before["finetuned"]["files"]
    assert weights in hashed


def test_a_store_that_is_read_only_only_costs_time(
    written: Callable[..., dict[str, Any]], store: Path, monkeypatch: pytest.MonkeyPatch
):
    write = artefacts.write_bytes

    def refusing(path: Path, content: bytes) -> None:
        if path.is_relative_to(store):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        write(path, content)

    monkeypatch.setattr(artefacts, "write_bytes", refusing)
    assert written()["model"] == {"name": "./absent", "files": None}
    assert not (store / "inputs.json").exists()


def test_a_folder_that_is_not_there_is_left_to_the_command_that_needs_it(written: Callable[..., dict[str, Any]]):
    assert written()["model"] == {"name": "./absent", "files": None}


@pytest.mark.parametrize("revision", [None, "main"])
def test_a_branch_of_a_hub_is_the_commit_that_it_means_now(
    hub: dict[str, Any], written: Callable[..., dict[str, Any]], revision: str | None
):
    teacher = Teacher(finetuned="someone/classifier", revision=revision)
    assert written(teacher=teacher)["finetuned"] == {"name": "someone/classifier", "commit": OLD}
    hub["sha"] = NEW
    assert written(teacher=teacher)["finetuned"]["commit"] == NEW


def test_a_hub_is_asked_about_a_name_once_for_all_tasks(hub: dict[str, Any], store: Path, tmp_path: Path):
    asked = (Data(), Model(name="someone/encoder"), {f"task-{number}": Teacher() for number in range(9)})
    for answer, commit in ((OLD, OLD), (None, OLD), (NEW, NEW)):
        hub.update(sha=answer, asked=0)
        write_inputs(tmp_path / "inputs", ["prepare"], {"": asked, "glue": asked}, None)
        files = [*tmp_path.glob("inputs/**/models/*.json")]
        assert hub["asked"] == 1
        assert [json.loads(file.read_text())["model"]["commit"] for file in files] == [commit] * 18


def test_a_hub_that_does_not_answer_changes_nothing_and_says_so(
    hub: dict[str, Any], written: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
):
    model = Model(name="someone/encoder")
    before = written(model=model)
    hub["sha"] = None
    assert written(model=model) == before
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        "someone/encoder: the hub does not say which commit main is now (Name or service not known); "
        f"still taken for {OLD}"
    )
    assert written(model=Model(name="someone/another"))["model"]["commit"] is None


def test_what_the_cache_of_a_hub_has_is_known(
    hub: dict[str, Any], written: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub["sha"] = None
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--someone--encoder/refs").mkdir(parents=True)
    (tmp_path / "models--someone--encoder/refs/main").write_text(NEW)
    assert written(model=Model(name="someone/encoder"))["model"]["commit"] == NEW


def test_a_pinned_commit_is_not_asked_for(hub: dict[str, Any], written: Callable[..., dict[str, Any]]):
    data = Data(source="hub")
    found = written(model=Model(name="someone/encoder", revision=NEW), data=data)
    assert found["model"]["commit"] == NEW
    assert found["data"] == {"name": "nyu-mll/glue", "commit": data.revision}
    assert hub["asked"] == 0


def test_a_branch_of_a_data_set_is_its_commit(hub: dict[str, Any], written: Callable[..., dict[str, Any]]):
    assert written(data=Data(source="hub", revision="main"))["data"]["commit"] == OLD
    assert written()["data"] == {}


def test_latencies_are_named_by_their_content_and_may_be_absent(written: Callable[..., dict[str, Any]], tmp_path: Path):
    written()
    assert json.loads((tmp_path / "inputs/latency.json").read_text()) == {}
    (tmp_path / "latency").mkdir()
    (tmp_path / "latency/movies.json").write_text("{}")
    written()
    # printf '{}' | sha256sum
    empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert json.loads((tmp_path / "inputs/latency.json").read_text()) == {"movies": empty}
