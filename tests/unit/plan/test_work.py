"""The plan's arithmetic and bytes, by hand and against what a run writes; which lines a task has."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcore.cli.opening import signals_asked
from kdcore.data import tasks
from kdcore.distil import extraction, shards
from kdcore.distil.methods import INTERNAL, InternalLoss, Method
from kdcore.errors import UserError
from kdcore.model.cost import Shape, attention_bytes
from kdcore.params.read import load
from kdcore.plan import work
from kdcore.plan.lengths import Lengths
from kdcore.plan.shapes import encoder_of
from kdcore.plan.training import added
from kdcore.plan.work import Planned, TaskPlan, students
from kdcore.studies import STUDIES
from tests import on_disk, tiny
from tests.distilling import encoder, examples
from tests.on_disk import Ingredients
from tests.pipeline.conftest import ROOT

LENGTHS = np.asarray([5, 3])
# The tiny BERT: width 32, 64 inside. A layer costs 2 per weight and token and 4 · n² · 32 for its attention. A pass's
# last layer has queries and keys of all tokens, and the rest for the first token of each of two examples: a row of the
# map, and the layer's input mixed by each of 4 heads.
LAYER = 2 * (4 * 32 * 32 + 2 * 32 * 64) * (5 + 3) + 4 * (25 + 9) * 32
LAST = 2 * (2 * 32 * 32 * (5 + 3) + (2 * 32 * 32 + 2 * 32 * 64) * 2) + (2 + 2 * 4) * (5 + 3) * 32
HEAD = 2 * (32 * 32 + 2 * 32) * 2  # pooler and classifier, on each example's first token


PARAMS = load(ROOT / "params.yaml")


def planned(method: str, **changes: Any) -> Planned:
    """Two layers, and one epoch per phase."""
    knobs = {"epochs_per_layer": 1, "classification_epochs": 1} | changes
    own = PARAMS.student.model_copy(update={"layers": 2})
    return Planned("it", Method.parse(method), own, PARAMS.distill.model_copy(update=knobs), PARAMS.train)


def shape(layers: int) -> Shape:
    return encoder_of(tiny.config("bert"), layers).shape


def flops(method: str, **changes: Any) -> dict[str, float]:
    return planned(method, **changes).flops(shape(2), LENGTHS)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # Backward costs twice forward. Layer 1 alone, layers 1 and 2, then everything: one epoch each.
        ("sid", 3 * (LAST + LAYER + LAST + LAYER + LAST + HEAD)),
        ("pid", 3 * (LAST + LAYER + LAST + LAYER + LAST + HEAD)),
        ("none", 3 * 3 * (LAYER + LAST + HEAD)),
        ("all", 3 * 3 * (LAYER + LAST + HEAD)),
    ],
)
def test_a_student_by_hand(method: str, expected: int):
    assert sum(flops(method).values()) == expected
    assert planned(method).epochs == 3


def test_a_head_that_trains_alone_costs_a_forward_pass():
    whole, head = flops("sid"), flops("sid", trains="head")
    assert sum(whole.values()) - sum(head.values()) == 2 * (LAYER + LAST + HEAD)
    assert head["forward"] == LAYER + LAST + HEAD


def test_every_run_costs_the_same_and_so_does_every_epoch():
    twice = flops("sid", epochs_per_layer=2, classification_epochs=2)
    assert twice == added([flops("sid")], runs=2) == added([flops("sid"), flops("sid")])


def test_only_training_that_compares_maps_is_counted_as_such():
    kinds = {method: set(flops(method)) for method in ("soft", "all", "sid", "sid-cos")}
    assert kinds == {
        "soft": {"training"},
        "all": {"internal"},
        "sid": {"internal", "training"},
        "sid-cos": {"training"},
    }
    assert set(flops("sid", weights={"cos": 1.0})) == {"training"}


def test_a_live_teacher_runs_up_to_the_top_layer_that_is_matched():
    teacher = shape(4)
    # Student layers 1 and 2 match teacher layers 2 and 4: two layers in the first phase, four in the second.
    assert work.live(planned("sid"), (2, 4), teacher, LENGTHS) == {"maps": LAYER + LAST + 3 * LAYER + LAST}
    assert work.live(planned("soft"), (2, 4), teacher, LENGTHS) == {}
    assert work.live(planned("sid-cos"), (2, 4), teacher, LENGTHS) == {}
    assert work.live(planned("sid"), (2, 4), teacher, LENGTHS, stored=True) == {}


def test_a_teacher_of_hidden_states_runs_whatever_is_stored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(INTERNAL, "hid", InternalLoss("hid", "hidden_mse", "", "hidden"))
    one = planned("sid-hid", weights={"hid": 1.0})
    # Every token of the matched layers 2 and 4 is read, the last layer's too: of the student's layers 1 and 2 likewise.
    assert work.live(one, (2, 4), shape(4), LENGTHS, stored=True) == {"forward": 6 * LAYER}
    assert sum(one.flops(shape(2), LENGTHS).values()) == 3 * (3 * LAYER + LAYER + LAST + HEAD)


@pytest.mark.parametrize("method", ["soft", "sid"])
def test_the_plan_of_a_student_is_what_its_run_writes_down(method: str, tiny_ingredients: Ingredients, store: Path):
    folder = on_disk.distilled(tiny_ingredients, method)
    lengths = np.load(tiny_ingredients.targets / "train" / "lengths.npy")
    expected = planned(method).flops(shape(2), lengths)
    recorded = json.loads((folder / "run.json").read_text())
    assert round(sum(expected.values()) / 1e9, 3) == recorded["gflop"] > 0
    assert planned(method).epochs == recorded["epochs"]


# Bytes


def written(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.npy"))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_signals_take_the_bytes_that_were_written(split: str, tiny_ingredients: Ingredients):
    folder = tiny_ingredients.targets / split
    lengths = np.load(folder / "lengths.npy")
    need = work.signal_bytes(encoder_of(tiny.config("bert"), 4), lengths, "float16", stored=True)
    assert need.maps + need.rest == written(folder)
    assert need.maps == attention_bytes(lengths, 4, 4, 2) + 128  # one file, its header


def test_many_files_and_no_maps_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 8_000)
    found = examples(rows=12)
    for stored in (True, False):
        folder = tmp_path / str(stored)
        folder.mkdir()
        facts = extraction.extract(encoder(), found, folder, dtype="float32", attention=stored, batch_size=4)
        need = work.signal_bytes(encoder_of(tiny.config("bert"), 4), found.lengths, "float32", stored)
        assert need.maps + need.rest == written(folder)
        assert (need.maps > 0) == stored
        assert (len(facts["shards"]) > 1) == stored


# A task's plan

PLENTY = 10**12
ROWS = np.full(4000, 16)
KNOWN = Lengths(
    tasks.MOVIES, ROWS, np.ones(4000, dtype=bool), {"validation": ROWS[:100], "validation_other": ROWS[:50]}, "given"
)


def plan(free: int = PLENTY, study: str | None = None, layers: int = 5, rows: int = 400, **changes: Any) -> TaskPlan:
    """The repository's own params, of a two-layer student; changes: to sections."""
    sections = {"student": {"layers": 2}} | changes
    params = PARAMS.model_copy(
        update={name: getattr(PARAMS, name).model_copy(update=changed) for name, changed in sections.items()}
    )
    planned = students(params, STUDIES[study] if study else None, "movies")
    _, mapped = signals_asked(params, "movies", study, layers)
    return TaskPlan(params, planned, tiny.config("bert", layers=layers), (rows, mapped), KNOWN, free)


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
    assert made.checkpoints < plan().checkpoints


def test_three_teachers_cost_three_times_as_much_and_the_students_what_they_did():
    one, three = ({line.what: line for line in plan(teacher={"seeds": seeds}).works} for seeds in ((0,), (0, 1, 2)))
    for what in ("fine-tuned", "signals"):
        assert (three[what].runs, three[what].total) == (3, pytest.approx(3 * one[what].total))
    assert three["sid"] == one["sid"]


@pytest.mark.parametrize(("study", "names"), [("depth", ["none-L1", "none-L2"]), ("data_size", ["soft-n250"])])
def test_a_study_has_a_line_per_cell_of_its_grid(study: str, names: list[str]):
    found = [line.what for line in plan(study=study).works if line.stage == "student"]
    grid = PARAMS.study[study]
    assert found[: len(names)] == names
    assert len(found) == len(grid["methods"]) * len(grid.get("layers") or grid["rows"]) + 1


def test_a_student_of_more_rows_costs_more_and_a_deeper_one_too():
    for study in ("depth", "data_size"):
        soft = [line.total for line in plan(study=study).works if line.what.startswith("soft")]
        assert soft == sorted(set(soft))


def test_a_student_that_is_deeper_than_the_teacher_is_refused():
    with pytest.raises(UserError, match=r"student\.layers: must be 1 to 3 \(the teacher's depth\), found 4"):
        plan(study="depth", layers=3)


def test_more_rows_than_the_task_has_mean_all_of_them():
    assert lines(plan(rows=5000, student={"layers": 2, "rows": 5000}, teacher={"rows": None})) == lines(
        plan(rows=4000, student={"layers": 2, "rows": 4000}, teacher={"rows": 9999})
    )


def test_the_disk_holds_signals_checkpoints_and_every_model():
    made = plan()
    signals = sum(one.maps + one.rest for one in made.signals.values())
    weights = {n: 4 * made.encoder(n).parameter_counts()["total"] for n in (2, 5)}
    assert made.models == weights[5] + 12 * weights[2]
    assert made.checkpoints == 3 * 3 * weights[5]
    assert made.tokens == (4000 + 100 + 50) * (16 * 3 + 16) + 3 * 8  # three bytes a token, sixteen a row
    assert made.disk == made.tokens + signals + made.models + made.checkpoints
