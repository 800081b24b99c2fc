"""`kdcore push` with the hub's real client, against an imitation of the hub on this machine."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
from transformers import pipeline

from kdcore import cli
from kdcore.distil.finished import Finished
from kdcore.distil.folder import copy_model
from kdcore.evaluation.score import KEPT
from kdcore.report.card import known_scores
from tests import on_disk, tiny
from tests.unit import hub as imitation

TEXTS = tiny.texts(6, seed=5)["sentence"].tolist()


@pytest.fixture(scope="module")
def student(tiny_ingredients: on_disk.Ingredients, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCORE_WORK", str(folder / "work"))
        (folder / "copy").mkdir()
        copy_model(on_disk.distilled(tiny_ingredients), folder / "copy")
    return folder / "copy"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Path) -> Iterator[imitation.Hub]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # not imitated; git's large files are
    monkeypatch.setenv("HF_TOKEN", imitation.TOKEN)
    disable_progress_bars()
    with imitation.running() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        yield running
    enable_progress_bars()


@pytest.fixture
def push(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """push(*args): exit code, and the last line that `kdcore push` says."""

    def called(*args: Path | str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["kdcore", "push", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, "".join(capsys.readouterr()).strip().splitlines()[-1]

    return called


def test_what_the_hub_has_is_the_student_as_transformers_loads_it(
    student: Path, hub: imitation.Hub, push: Callable[..., tuple[int, str]], tmp_path: Path
):
    assert push(student, "me/small") == (0, f"{hub.address}/me/small/commit/{'0' * 40}")
    for name, content in hub.repositories["me/small"]["main"].items():
        (tmp_path / "down").mkdir(exist_ok=True)
        (tmp_path / "down" / name).write_bytes(content)
    classify, own = (
        pipeline("text-classification", str(place), device="cpu") for place in (tmp_path / "down", student)
    )
    assert classify(TEXTS) == own(TEXTS)
    assert Finished.open(tmp_path / "down", "-").fingerprint == Finished.open(student, "-").fingerprint
    assert not hub.private
    weights = (student / "model.safetensors").read_bytes()
    assert hub.large == {hashlib.sha256(weights).hexdigest(): weights}  # the commit named it, and did not hold it


@pytest.mark.parametrize(("without_xet", "status"), [(True, "403"), (False, "501")])
def test_weights_that_the_large_file_storage_refuses_are_one_message_and_no_commit(
    student: Path,
    hub: imitation.Hub,
    push: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    without_xet: bool,
    status: str,
):
    hub.full = True
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", without_xet)
    code, message = push(student, "me/small")
    assert (code, message.startswith("me/small: the weights can't be uploaded (")) == (2, True), message
    assert status in message
    assert hub.repositories == {"me/small": {"main": {}}}


def test_the_card_has_the_scores_of_the_students_own_point_and_of_its_seeds(
    student: Path, hub: imitation.Hub, push: Callable[..., tuple[int, str]], tmp_path: Path
):
    facts = json.loads((student / "run.json").read_text())
    own = {key: facts[key] for key in KEPT} | {"metric": "accuracy", "fidelity": {"agreement": 0.9}}
    points = tmp_path / "metrics/main/points/tiny"
    points.mkdir(parents=True)
    for seed, score in enumerate((0.75, 0.85)):  # mean 0.8, half width 12.706 × 0.0707 / √2 = 0.635, cut at 1
        point = own | {"seed": seed, "score": score, "scores": {"validation": {"accuracy": score}}}
        point["test"] = {"scores": {"test": {"accuracy": score - 0.25}}}
        (points / f"sid-s{seed}.json").write_text(json.dumps(point))
    other = own | {"method": "soft", "epochs": 99, "score": 0.1, "scores": {"validation": {"accuracy": 0.1}}}
    (points / "soft-s0.json").write_text(json.dumps(other))
    (points / "teacher-s0.json").write_text(
        json.dumps({"method": "teacher", "seed": facts["teacher_seed"], "score": 0.95})
    )
    code, said = push(student, "me/scored", "--private", "--revision", "next")
    assert code == 0, said
    assert hub.private == {"me/scored"}
    assert hub.repositories["me/scored"]["main"] == {}
    card = ModelCard(hub.repositories["me/scored"]["next"]["README.md"].decode())
    results = [(result.dataset_split, result.metric_type, result.metric_value) for result in card.data.eval_results]
    assert results == [("validation", "accuracy", 0.75), ("test", "accuracy", 0.5)]
    assert "| accuracy, this recipe over seeds | 0.800 [0.165, 1.000] (95% t interval over 2 seeds) |" in card.text
    assert "| accuracy of the teacher | 0.9500 |" in card.text
    assert "| answers as the teacher | 90.0% |" in card.text


def test_the_interval_of_several_teachers_is_over_these(student: Path, tmp_path: Path):
    facts = json.loads((student / "run.json").read_text())
    own = {key: facts[key] for key in KEPT} | {"metric": "accuracy", "fidelity": {}}
    for seed, score in enumerate((0.75, 0.85, 0.75, 0.85)):
        point = own | {"seed": seed, "teacher_seed": seed % 2, "score": score}
        (tmp_path / f"s{seed}.json").write_text(json.dumps(point | {"scores": {"validation": {"accuracy": score}}}))
    known = known_scores(facts, tmp_path)
    assert known
    assert known.seeds == "0.800 [0.165, 1.000] (95% t interval over 2 teachers)"  # as that of the two seeds above


@pytest.mark.parametrize(
    ("repository", "token", "said"),
    [
        ("small", imitation.TOKEN, "REPO: must be OWNER/NAME, found 'small'"),
        ("me/a b", imitation.TOKEN, "REPO: Repo id must use alphanumeric chars"),
        ("me/small", None, "me/small: the hub needs a token that may write: run `hf auth login`, or set HF_TOKEN"),
        ("me/small", "hf_wrong", "me/small: the hub answers 401 Invalid username or password: it does not know "),
        (
            "you/small",
            imitation.TOKEN,
            "you/small: the hub answers 403 You don't have the rights to create a model under you: the token may not "
            "write for you; take one that may (`hf auth login`, HF_TOKEN), or another owner",
        ),
    ],
)
def test_what_the_hub_refuses_is_one_message(
    student: Path,
    hub: imitation.Hub,
    push: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    repository: str,
    token: str | None,
    said: str,
):
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    code, message = push(student, repository)
    assert (code, message.startswith(said)) == (2, True), message
    assert hub.repositories == {}


def test_without_a_network_that_is_said(
    student: Path, hub: imitation.Hub, push: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    code, message = push(student, "me/small")
    assert (code, message.startswith("me/small: the hub can't be reached")) == (2, True), message
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert push(student, "me/small") == (2, "me/small: the hub is switched off: unset HF_HUB_OFFLINE")


def test_what_is_no_student_is_not_pushed(
    tiny_ingredients: on_disk.Ingredients, hub: imitation.Hub, push: Callable[..., tuple[int, str]], tmp_path: Path
):
    teacher = tiny_ingredients.teacher
    assert push(teacher, "me/small") == (2, f"{teacher}: is a teacher; name the folder of a student")
    assert push("none", "me/small")[1].startswith("none: manifest.json can't be read")
    assert hub.repositories == {}
    assert os.listdir(tmp_path) == [] or os.listdir(tmp_path) == ["work"]
