"""What DVC cannot see makes stages run again: weights of a local teacher, and code; nothing else does."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.conftest import TASK, Project

STAGES = ("inputs", "prepare", "teacher", "targets", "student")


@pytest.fixture(scope="module")
def own(new_project: Callable[..., Project], tiny_classifier: Callable[..., Path]) -> Project:
    """A project with a classifier of the user's own in it, up to date as far as its student."""
    project = new_project({"methods": ["soft"], "student.layers": 1, "student.rows": 8})
    shutil.copytree(tiny_classifier(), project.root / "classifier")
    project.edit({"teacher.finetuned": "classifier", "model.name": "classifier"})
    project.run("dvc", "repro", "student", warm=True)
    return project


def ran(project: Project) -> set[str]:
    """The stages that `dvc repro` runs, and does not skip."""
    lines = project.run("dvc", "repro", "student", warm=True).stdout.splitlines()
    said = {line.split("'")[1].partition("@")[0] for line in lines if line.startswith("Running stage '")}
    assert said <= set(STAGES)
    return said


def test_a_run_with_nothing_new_looks_at_the_inputs_alone(own: Project):
    assert ran(own) == {"inputs"}


def test_a_comment_runs_nothing_and_a_schedule_what_is_trained(own: Project):
    schedule = own.root / "kdcore/distil/schedule.py"
    schedule.write_text(schedule.read_text(encoding="utf-8") + "\n# A remark.\n", encoding="utf-8")
    assert ran(own) == {"inputs"}
    schedule.write_text(schedule.read_text(encoding="utf-8") + "\nANOTHER = 1\n", encoding="utf-8")
    assert ran(own) >= {"inputs", "teacher", "student"}


def test_other_weights_of_a_local_teacher_run_teacher_and_students(own: Project):
    weights = own.root / "classifier/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    os.utime(weights)
    before = (own.root / f"runs/teacher/{TASK}/s0/model.safetensors").read_bytes()
    assert ran(own) == {"inputs", "teacher", "targets", "student"}
    assert (own.root / f"runs/teacher/{TASK}/s0/model.safetensors").read_bytes() != before
