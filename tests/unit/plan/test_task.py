"""One task's plan: which lines it has, where the signals go, and what would not do."""

from typing import Any

import numpy as np
import pytest

from kdcore.data import tasks
from kdcore.errors import UserError
from kdcore.params import load
from kdcore.plan.lengths import Lengths
from kdcore.plan.limits import exceeded
from kdcore.plan.memory import LIBRARIES
from kdcore.plan.students import students
from kdcore.plan.task import Asked, TaskPlan
from tests import tiny
from tests.pipeline.conftest import ROOT

PLENTY = 10**12
PARAMS = load(ROOT / "params.yaml")
ROWS = np.full(4000, 16)
FOUND = Lengths(
    tasks.MOVIES, ROWS, np.ones(4000, dtype=bool), {"validation": ROWS[:100], "validation_other": ROWS[:50]}, "given"
)


def asked(study: str | None = None, **changes: Any) -> Asked:
    """The repository's own params, of a two-layer student; changes: to sections, or arguments of Asked."""
    sections = {
        name: getattr(PARAMS, name).model_copy(update=changes.pop(name, {}))
        for name in ("teacher", "targets", "train", "distill")
    }
    student = PARAMS.student.model_copy(update={"layers": 2} | changes.pop("student", {}))
    grid = getattr(PARAMS.study, study).model_dump() if study else {}
    made = students(student, sections.pop("distill"), PARAMS.methods, study, grid)
    return Asked(made, **({"seeds": 3, "rows": 400, "batch_size": 64, "study": study} | sections | changes))


def plan(free: int = PLENTY, study: str | None = None, **changes: Any) -> TaskPlan:
    return TaskPlan(asked(study, **changes), tiny.config("bert", layers=5), FOUND, free)


def lines(made: TaskPlan) -> list[tuple[str, str, int, int]]:
    return [(line.stage, line.what, line.runs, line.rows) for line in made.works]


def test_the_headline_has_a_line_per_stage_and_method():
    assert lines(plan()) == [
        ("teacher", "fine-tuned", 1, 4000),
        ("targets", "signals", 1, 500),
        *(("student", method, 3, 400) for method in ("none", "soft", "pid", "sid")),
        ("student", "scores by epoch", 13, 100),
        ("evaluate", "scores, fidelity", 13, 150),
    ]


def test_a_teacher_that_is_fine_tuned_already_costs_nothing():
    made = plan(teacher={"finetuned": "somebody/model"})
    assert "teacher" not in {line.stage for line in made.works}
    assert [one.command for one in made.peaks] == ["targets", "student sid"]
    assert made.checkpoints < plan().checkpoints


@pytest.mark.parametrize(("study", "names"), [("depth", ["none-L1", "none-L2"]), ("data_size", ["soft-n250"])])
def test_a_study_has_a_line_per_cell_of_its_grid(study: str, names: list[str]):
    found = [line.what for line in plan(study=study).works if line.stage == "student"]
    grid = getattr(PARAMS.study, study).model_dump()
    assert found[: len(names)] == names
    assert len(found) == len(grid["methods"]) * len(grid.get("layers") or grid["rows"]) + 1


def test_a_student_of_more_rows_costs_more_and_a_deeper_one_too():
    for study in ("depth", "data_size"):
        soft = [line.flops for line in plan(study=study).works if line.what.startswith("soft")]
        assert soft == sorted(set(soft))


def test_a_student_that_is_deeper_than_the_teacher_is_refused_by_its_key():
    with pytest.raises(UserError, match=r"study\.depth\.layers: must be 1 to 3 \(the teacher's depth\), found 4"):
        TaskPlan(asked("depth", layers_key="study.depth.layers"), tiny.config("bert", layers=3), FOUND, PLENTY)


def test_more_rows_than_the_task_has_are_refused_by_their_key():
    with pytest.raises(UserError, match=r"study\.data_size\.rows: at most 4000, the rows of movies/train, found 5000"):
        plan(rows=5000, rows_key="study.data_size.rows")


# What would not do


def problems(made: TaskPlan, free: int = PLENTY, available: int = PLENTY) -> list[str]:
    return list(exceeded([made], made.asked.targets, free, available))


def test_what_fits_warns_of_nothing():
    assert problems(plan()) == []
    assert plan().stored == {"train": True, "validation": True}


def test_maps_beyond_disk_gb_mean_a_live_teacher_and_its_price():
    # 400 and 100 rows of 16 tokens, five layers of four heads, two bytes: 4.1 and 1.0 MB.
    made = plan(targets={"disk_gb": 0.002})
    assert made.stored == {"train": False, "validation": True}
    assert ("student", "live teacher", 6, 400) in lines(made)
    (said,) = problems(made)
    assert said.startswith("movies: targets.store: auto falls back to a live teacher for train: its maps need 4.1 MB")
    assert "TFLOP beside the students" in said


def test_a_live_teacher_that_was_asked_for_is_no_surprise():
    made = plan(targets={"store": "live"})
    assert not any(made.stored.values())
    assert problems(made) == []


def test_a_disk_that_is_too_full_for_the_maps_is_said_before_targets_refuses():
    made = plan(free=3_000_000, targets={"store": "disk"})
    said = problems(made, free=3_000_000)
    assert said[0] == (
        "movies: targets.store: disk needs 4.1 MB for the train maps, and 3 MB are free: targets will refuse"
    )
    assert said[-1].startswith("disk: ")


def test_memory_that_is_too_small_names_the_command_and_the_knobs():
    made = plan()
    student = max(made.peaks, key=lambda one: one.total)
    assert problems(made, available=student.total + LIBRARIES) == []
    (said,) = problems(made, available=student.total + LIBRARIES - 1)
    assert said.startswith(f"movies: {student.command} holds about ")
    assert "raise train.accumulate, or lower train.batch_size" in said


def test_accumulating_holds_less():
    teacher, _, student = plan().peaks
    smaller_teacher, _, smaller_student = plan(train={"accumulate": 4}).peaks
    assert smaller_teacher.activations * 4 == teacher.activations
    assert smaller_student.activations * 4 == student.activations


def test_the_disk_holds_signals_checkpoints_and_every_model():
    made = plan()
    signals = sum(one.maps + one.rest for one in made.signals.values())
    weights = {n: 4 * made.encoder(n).parameter_counts()["total"] for n in (2, 5)}
    assert made.models == weights[5] + 12 * weights[2]
    assert made.checkpoints == 3 * 3 * weights[5]
    assert made.disk == signals + made.models + made.checkpoints
