"""What is other for a study, a task or a method: which of several values a knob then has, and what is said of it."""

from pathlib import Path

import pytest

from kdcore.door import params_for
from kdcore.errors import UserError
from kdcore.params.overrides import every, of_task, values, with_changes
from kdcore.params.read import load
from kdcore.params.sections import TaskEntry
from tests.unit.raw_files import write_params

RTE = {
    "teacher": {"epochs": 5},
    "student": {"layers": 2},
    "distill": {"weights": {"kl": 2.0}},
    "methods": {"sid": {"student": {"layers": 4}, "train": {"clip": 0.5}}},
}
READS = ("model", "teacher", "student", "distill", "train", "tasks", "seeds")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose params.yaml overrides knobs for RTE."""
    own = {"tasks": ["rte", "cola"], "data.source": "hub", "task.rte": RTE, "model.name": "a/hub-name"}
    write_params(tmp_path / "params.yaml", own)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("task", "method", "found"),
    [
        ("cola", "sid", (3, 3, 1.0)),
        ("rte", None, (5, 2, 1.0)),
        ("rte", "soft", (5, 2, 1.0)),
        ("rte", "sid", (5, 4, 0.5)),
        (None, None, (3, 3, 1.0)),
    ],
)
def test_the_narrowest_wins(here: Path, task: str | None, method: str | None, found: tuple[float, ...]):
    params = params_for(READS, task=task, method=method).params
    assert (params.teacher.epochs, params.student.layers, params.train.clip) == found


def test_a_choice_that_was_applied_is_not_what_tuning_compares_with(here: Path):
    own = {"tasks": ["rte"], "data.source": "hub", "task.rte": RTE, "model.name": "a/hub-name"}
    write_params(here / "params.yaml", own | {"study.tune.knobs": {"train": {"clip": [0.1]}}})
    params = params_for(READS, "tune", task="rte", method="sid").params
    assert (params.train.clip, params.student.layers) == (1.0, 4)  # what it does not tune stays the method's own


def test_one_weight_leaves_the_others(here: Path):
    assert params_for(READS, task="rte").params.distill.weights == {"kl": 2.0, "cos": 1.0}


def test_what_the_command_line_sets_wins_over_the_task(here: Path):
    given = params_for(READS, None, ["student.layers=1"], "rte", "sid")
    assert (given.params.student.layers, given.params.train.clip) == (1, 0.5)
    assert "student.layers" not in given.names
    whole = params_for(READS, None, ["distill.weights={kl: 3, cos: 0}"], "rte", "sid")
    assert whole.params.distill.weights == {"kl": 3, "cos": 0}


def test_each_task_may_have_a_fine_tuned_teacher_of_its_own(here: Path):
    own = {"tasks": ["rte", "cola"], "data.source": "hub", "model.name": "a/hub-name"}
    own |= {
        "task.rte": {"teacher": {"finetuned": "a/b", "revision": "1f"}},
        "task.cola": {"teacher": {"finetuned": "c/d"}},
    }
    write_params(here / "params.yaml", own)
    found = {task: params_for(READS, task=task).params.teacher for task in ("rte", "cola", "mrpc")}
    assert {task: (one.finetuned, one.revision) for task, one in found.items()} == {
        "rte": ("a/b", "1f"),
        "cola": ("c/d", None),
        "mrpc": (None, None),
    }


def test_a_study_has_its_own_tasks_and_knobs_and_a_task_is_narrower(here: Path):
    given = params_for(READS, "glue", task="rte")
    params = given.params
    assert (params.tasks, len(params.seeds), params.teacher.seeds) == (
        ("cola", "mrpc", "rte", "qqp"),
        5,
        (0, 1, 2, 3, 4),
    )
    assert (params.model.name, params.student.rows, params.student.layers) == ("embedded-12", 1000, 2)
    assert given.names["student.rows"] == "study.glue.student.rows"
    assert given.names["student.layers"] == "task.rte.student.layers"
    assert params_for(READS, "glue", task="cola").params.student.layers == 6


def test_a_mistake_of_a_study_is_said_of_the_study(tmp_path: Path):
    wrong = {"study.glue.tasks": ["mrcp"], "study.glue.train": {"accumulate": 99}}
    path = write_params(tmp_path / "params.yaml", {"model.name": "a/hub-name", **wrong})
    assert load(path).study["glue"]["tasks"] == ("mrcp",)
    with pytest.raises(UserError) as caught:
        load(path, study="glue")
    assert "study.glue.tasks.0: unknown task 'mrcp', did you mean 'mrpc'?" in caught.value.problems
    said = "study.glue.train.accumulate: must be at most train.batch_size (32), found 99"
    assert said in caught.value.problems


def test_a_start_before_fine_tuning_needs_another_model_than_the_teacher(tmp_path: Path):
    model = {"model.name": "a/hub-name", "teacher.finetuned": "a/hub-name"}
    path = write_params(tmp_path / "params.yaml", {**model, "student.init": "pretrained"})
    with pytest.raises(UserError, match=r"student\.init: pretrained starts from model\.name, which is the teacher"):
        load(path)
    path = write_params(tmp_path / "params.yaml", model)
    load(path)
    with pytest.raises(UserError, match=r"study\.ablation\.inits: pretrained starts from model\.name"):
        load(path, study="ablation")
    load(write_params(path, {**model, "model.name": "a/other-name", "student.init": "pretrained"}))


def test_all_of_a_tasks_own_is_listed_with_its_keys():
    entry = TaskEntry.model_validate(RTE)
    assert {one.key: one.value for one in every("rte", entry)} == {
        "task.rte.teacher.epochs": 5,
        "task.rte.student.layers": 2,
        "task.rte.distill.weights.kl": 2.0,
        "task.rte.methods.sid.student.layers": 4,
        "task.rte.methods.sid.train.clip": 0.5,
    }
    assert every("cola", None) == every("cola", TaskEntry()) == []


def test_sections_that_are_not_there_stay_away():
    assert with_changes({}, values(of_task("rte", TaskEntry.model_validate(RTE)))) == {}
