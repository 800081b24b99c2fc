"""What a study is asked for and cannot have: one message that names the params key, and nothing half-written."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from kdcore import cli
from tests.pipeline.conftest import TASK, Project

Refused: TypeAlias = Callable[[Project, str], str]
POINT = f"point {TASK} sid 0 data/{TASK} runs/teacher/{TASK} runs/targets/{TASK} out/point.json"


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """refused(project, command): what `kdcore <command>` says when it refuses; it must leave `out` alone.

    It runs in this process: importing torch takes longer than any of these commands.
    """

    def said(project: Project, command: str) -> str:
        monkeypatch.chdir(project.root)
        monkeypatch.setenv("KDCORE_WORK", str(tmp_path / "work"))
        monkeypatch.setattr(sys, "argv", ["kdcore", *command.split()])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 2
        assert not (project.root / "out").exists()
        return capsys.readouterr().err.strip()

    return said


def test_an_unknown_study_is_named_with_those_that_exist(finished: Project, refused: Refused):
    said = refused(finished, "curve dept metrics/dept/points metrics/teacher out")
    allowed = "methods | glue | depth | data_size | convergence | ablation | tune"
    assert said.endswith(f"Invalid value for 'study': must be {allowed}, found 'dept', did you mean 'depth'?")


INITS = (
    "must be teacher | teacher_lower | pretrained | pretrained_lower | random, found 'randm', did you mean 'random'?"
)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("-S student.layers=9 --study depth", "study.depth.layers: must be 1 to 4 (the teacher's depth), found 9"),
        ("-S student.layers=9", "student.layers: must be 1 to 4 (the teacher's depth), found 9"),
        ("-S student.layer=2", "student.layer: unknown key, did you mean 'layers'?"),
        ("-S student.init=randm", f"student.init: {INITS}"),
        ("-S student.init=randm --study ablation", f"study.ablation.inits: {INITS}"),
        ("-S distill.trains=tail", "distill.trains: must be model | head, found 'tail'"),
    ],
)
def test_a_student_that_cannot_be_is_refused_by_its_params_key(
    finished: Project, refused: Refused, options: str, said: str
):
    """A hub's name hides the depth when params are read, so that the library finds it, of the teacher itself."""
    hidden = "-S model.name=somebody/model"
    assert refused(finished, f"{POINT} {hidden} {options}") == f"params.yaml: {said}"


def test_a_depth_above_the_teachers_is_refused_before_anything_runs(finished_copy: Project, refused: Refused):
    finished_copy.edit({"study.depth.layers": [1, 5]})
    said = refused(finished_copy, "curve depth metrics/depth/points metrics/teacher out")
    assert said.startswith("params.yaml: study.depth.layers: must be at most 4, the teacher's layers (model.name)")


def test_a_size_above_the_data_means_all_of_them_and_says_so(finished_copy: Project):
    finished_copy.edit({"study.data_size.rows": [16, 500]})
    command = f"targets {TASK} data/{TASK} runs/teacher/{TASK}/s0 out --study data_size"
    said = finished_copy.run("python", "-m", "kdcore", *command.split(), warm=True).stdout
    assert f"{TASK} teacher, seed 0: {TASK}/train: 500 rows are asked for, and all 96 are taken" in said.splitlines()


def test_a_missing_run_is_named_by_its_params_key(finished_copy: Project, refused: Refused):
    finished_copy.edit({"seeds": [0, 1]})
    said = refused(finished_copy, "plots metrics/main/points runs/student out")
    assert said.startswith("params.yaml: seeds: 1 is asked for, but metrics/main/points/tiny/none-s1.json")
    assert said.endswith("`dvc repro` makes them")
    said = refused(finished_copy, "errors data runs/predictions out")
    assert said.startswith("params.yaml: seeds: 1 is asked for, but runs/predictions/tiny/none-s1.parquet")


def test_a_study_that_never_ran_says_how_to_run_it(finished: Project, refused: Refused):
    said = refused(finished, "curve ablation metrics/ablation/points metrics/teacher out")
    assert "study.ablation.methods: sid is asked for" in said
    assert said.endswith("`dvc repro stages/dvc.yaml:ablation` makes them")


def test_equal_students_keep_their_own_names(finished_copy: Project):
    # Without the cosine loss, sid and sid-kl are the same student: one run, two points.
    finished_copy.edit({"distill.weights": {"kl": 1.0}})
    for method in ("sid", "sid-kl"):
        options = f"out/{method}.json -S student.layers=2"
        command = f"point {TASK} {method} 0 data/{TASK} runs/teacher/{TASK} runs/targets/{TASK} {options}"
        finished_copy.run("python", "-m", "kdcore", *command.split(), warm=True)
    points = [json.loads((finished_copy.root / f"out/{method}.json").read_text()) for method in ("sid", "sid-kl")]
    assert [found.pop("method") for found in points] == ["sid", "sid-kl"]
    assert len({found.pop("sha256") for found in points}) == 2
    assert points[0] == points[1]
