"""`-S key=value`: checked like the file, which stays as it is."""

from pathlib import Path

import pytest

from kdcore.errors import UserError
from kdcore.params.read import load
from tests.pipeline.conftest import ROOT

FILE = str(ROOT / "params.yaml")


def test_values_are_yaml_and_the_file_stays_as_it_is():
    before = Path(FILE).read_bytes()
    params = changed(FILE, ["student.layers=2", "student.rows=null", "methods=[soft, sid]", "seeds=[7]"])
    assert (params.student.layers, params.student.rows) == (2, None)
    assert (params.methods, params.seeds) == (("soft", "sid"), (7,))
    assert Path(FILE).read_bytes() == before


def test_no_change_is_the_file():
    assert changed(FILE, []).student.layers == 3


def test_a_task_of_ones_own_may_be_added():
    task = "task.reviews={text: [review], label: stars, labels: [bad, good], metrics: [f1]}"
    params = changed(FILE, [task, "tasks=[reviews]", "data.source=local"])
    assert params.task["reviews"].label == "stars"


def test_what_is_wrong_is_said_as_it_would_be_of_the_file():
    with pytest.raises(UserError) as caught:
        changed(FILE, ["student.layer=2", "train.threads=0"])
    assert caught.value.source == FILE
    assert caught.value.problems == [
        "student.layer: unknown key, did you mean 'layers'?",
        "train.threads: must be an integer of at least 1, found 0",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("student.layers", r"-S: must be KEY=VALUE, e\.g\. student\.layers=6, found 'student\.layers'"),
        ("=3", r"-S: must be KEY=VALUE"),
        ("tasks=[qqp", r"-S: the value is not valid YAML, found 'tasks=\[qqp'"),
        ("student.layers.top=3", r"-S: student\.layers is a value, not a section, so it has no 'top'"),
    ],
)
def test_a_change_that_is_none_is_refused(change: str, problem: str):
    with pytest.raises(UserError, match=problem):
        changed(FILE, [change])
