"""The door: commands read what they declare, mistakes name file and key, what the machine refuses has advice."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcore import door
from kdcore.cli.command import keys
from kdcore.door import explained
from kdcore.errors import UserError
from kdcore.params.read import load
from kdcore.studies import STUDIES
from tests.pipeline.conftest import ROOT, SMALL, edit_params


@pytest.fixture
def project(tmp_path: Path, tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """project(): a folder with the tiny project's params.yaml; the test runs in it."""

    def made() -> Path:
        (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
        outside = {"data.path": str(tmp_path / "rows"), "model.name": str(tiny_folder())}
        edit_params(tmp_path / "params.yaml", SMALL | outside)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return made


# What a command reads


def test_a_command_cannot_read_what_it_does_not_declare(project: Callable[..., Path]):
    folder = project()
    params = door.params_for(keys("targets")).params
    assert params.student.rows == load(folder / "params.yaml").student.rows == SMALL["student.rows"]
    assert params.targets == load(folder / "params.yaml").targets
    for read in (lambda: params.teacher, lambda: params.student.init, lambda: params.evaluate.confidence):
        with pytest.raises(LookupError, match=r"is not among the params that this command declares: student\.layers, "):
            read()
    assert door.params_for(
        ["student.layers", *(f"student.{name}" for name in ("rows", "init", "head", "layer_map"))]
    ).params.student


def test_what_a_command_reads_is_right_as_a_whole(project: Callable[..., Path]):
    edit_params(project() / "params.yaml", {"teacher.rows": -1})
    with pytest.raises(UserError, match=r"teacher\.rows"):
        door.params_for(["student.rows"])


def test_of_the_studies_a_command_reads_the_one_that_it_names(project: Callable[..., Path]):
    project()
    assert "study.depth" not in keys("targets")
    params = door.params_for(keys("curve", "depth"), "depth").params
    assert {name: grid["layers"] for name, grid in params.study.items()} == {"depth": (1, 2)}


# How a mistake is said


@pytest.mark.parametrize(
    ("study", "source", "said"),
    [
        (None, "student.layers", "params.yaml: student.layers: 9 is too many"),
        ("depth", "student.layers", "params.yaml: study.depth.layers: 9 is too many"),
        ("data_size", "student.layers", "params.yaml: student.layers: 9 is too many"),
        ("ablation", "student.layer_map", "params.yaml: study.ablation.layer_maps: 9 is too many"),
        (None, "distill.weights.kl", "params.yaml: distill.weights.kl: 9 is too many"),
        ("depth", "student", "student: 9 is too many"),  # a folder of that name
        (None, "data/student.layers", "data/student.layers: 9 is too many"),
    ],
)
def test_a_knob_that_the_library_names_is_said_of_the_file_and_of_the_study_that_asks(
    study: str | None, source: str, said: str
):
    with pytest.raises(UserError) as caught, door.speaking_of_params(STUDIES[study].asks if study else {}):
        raise UserError(source, "9 is too many")
    assert str(caught.value) == said


# What the machine refuses


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "make room on that disk"),
        (errno.EACCES, "give this user permission"),
        (errno.EROFS, "make it writable, or work in another folder"),
        (errno.EEXIST, "move that file away, or write elsewhere"),
        (errno.EMFILE, "allow more open files (`ulimit -n`)"),
    ],
)
def test_a_fault_names_the_file_the_reason_and_what_to_do(code: int, advice: str):
    said = explained(OSError(code, os.strerror(code), "runs/x"))
    kept = "then run the same command again: what is finished is kept"
    assert said == f"runs/x: {os.strerror(code)}; {advice}, {kept}"


def test_a_fault_without_advice_is_only_named():
    assert (
        explained(FileNotFoundError(errno.ENOENT, "No such file or directory", "x")) == "x: No such file or directory"
    )
    assert explained(ConnectionError("refused")) == "refused"
    assert explained(OSError()) == "OSError"
