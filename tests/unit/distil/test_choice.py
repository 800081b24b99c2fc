"""Stored or live: what is measured, by real passes and files, and that it is decided once."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdcore.artefacts import read_manifest
from kdcore.data.prepared import Data
from kdcore.data.tokens import tokenised
from kdcore.distil import choice
from kdcore.distil.choice import Choice
from kdcore.distil.finished import Finished
from kdcore.distil.pace import Pace
from kdcore.distil.targets import write_targets
from kdcore.distil.written import Targets
from kdcore.params import sections
from tests import on_disk
from tests.distilling import train
from tests.on_disk import Ingredients

AUTO = sections.Targets.model_validate({"store": "auto", "dtype": "float16", "disk_gb": 1.0})
MILLISECONDS = Choice(0.001, 0.002, 0.003, 10, "disk", "a GPU", "bf16", "choice-1")


def chosen(made: Ingredients, targets: sections.Targets = AUTO, **other: Any) -> Choice | None:
    asked: dict[str, Any] = {"rows": 24, "mapped": {2, 4}, "batch_size": 16, "train": train()} | other
    teacher = asked.pop("teacher", on_disk.opened(made.teacher))
    return choice.chosen(Data.open(made.data), teacher, targets, **asked)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure here as on a GPU."""
    monkeypatch.setattr(choice, "on_gpu", lambda: True)


def never(*_: Any) -> Any:
    raise AssertionError("measured again")


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_maps_of_a_row_are_written_read_and_computed(
    tiny_ingredients: Ingredients, tmp_path: Path, store: Path, cold: bool, precision: str
):
    data, teacher = Data.open(tiny_ingredients.data), on_disk.opened(tiny_ingredients.teacher)
    examples = tokenised(data, "train", teacher.tokenizer, teacher.max_length)
    how = train(batch_size=8, accumulate=2, precision=precision)
    pace = Pace(teacher, examples, (2, 3), (2,), "float16", 16, how, tmp_path / "pace")
    written, read, live = pace.seconds(cold)
    assert 0 <= written < math.inf
    assert min(read, live) > 0
    assert pace.device == "cpu"
    facts = {name: read_manifest(tmp_path / "pace" / name, "") for name in ("stored", "live")}
    assert (facts["stored"]["layers"], bool(facts["stored"]["shards"])) == ([2, 3], True)
    assert facts["live"]["shards"] == []
    assert (tmp_path / "pace/stored/attention-00000.npy").stat().st_size > 128


def test_the_live_teacher_runs_no_layer_above_the_highest_that_is_mapped(
    tiny_ingredients: Ingredients, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
):
    from kdcore.model.encoder import Encoder

    data, teacher = Data.open(tiny_ingredients.data), on_disk.opened(tiny_ingredients.teacher)
    examples, depths, forward = tokenised(data, "train", teacher.tokenizer, 24), list[int | None](), Encoder.forward

    def counted(self: Encoder, inputs: Any, depth: int | None = None, *rest: Any) -> Any:
        depths.append(depth)
        return forward(self, inputs, depth, *rest)

    monkeypatch.setattr(Encoder, "forward", counted)
    Pace(teacher, examples, (1, 2, 3, 4), (1, 3), "float16", 16, train(), tmp_path / "pace").seconds(cold=False)
    assert {*depths} == {None, 3}  # None: extraction, which needs logits


def test_what_costs_fewer_seconds_is_chosen():
    assert MILLISECONDS.maps == "stored"  # 1 + 10 · 2 ms against 10 · 3 ms
    assert replace(MILLISECONDS, written=0.011).maps == "live"
    assert replace(MILLISECONDS, written=0.011, asked=20).maps == "stored"
    assert replace(MILLISECONDS, live=0.002).maps == "live"
    assert MILLISECONDS.applied(AUTO) == AUTO
    assert replace(MILLISECONDS, live=0.0).applied(AUTO).store == "live"


def test_a_processor_measures_nothing_and_keeps_nothing(
    tiny_ingredients: Ingredients, store: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert chosen(tiny_ingredients) is None
    assert [*store.glob("choice-*")] == []


@pytest.mark.usefixtures("gpu")
def test_it_is_measured_once_and_found_by_whoever_comes_later(
    tiny_ingredients: Ingredients, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    first = chosen(tiny_ingredients)
    assert first is not None
    (kept,) = store.glob("choice-*")
    assert (first.run, first.source, first.device) == (kept.name, "memory", "cpu")
    assert json.loads((kept / "result/choice.json").read_text()) == first.facts
    assert not (kept / "partial").exists()
    line = f"targets: attention maps {first}\n"
    assert f"ms live on cpu, and stored {1000 * first.read:.3g} ms to read from memory" in line
    assert capsys.readouterr().out == line
    monkeypatch.setattr(Pace, "seconds", never)
    teacher = on_disk.opened(tiny_ingredients.teacher)
    another_seed = Finished(teacher.folder, teacher.facts, "another")
    for other in ({}, {"mapped": {1}}, {"rows": None}, {"train": train(precision="bf16")}, {"teacher": another_seed}):
        assert chosen(tiny_ingredients, **other) == first
    assert capsys.readouterr().out == 5 * line
    monkeypatch.setattr(choice, "on_gpu", never)  # another machine, which has none
    assert chosen(tiny_ingredients) == first
    data = Data.open(tiny_ingredients.data)
    assert choice.known(choice.made_by(teacher, data, AUTO)) == first
    assert choice.known(choice.made_by(teacher, data, AUTO.model_copy(update={"dtype": "float32"}))) is None


@pytest.mark.usefixtures("gpu")
def test_where_params_maps_or_room_decide_nothing_is_measured(
    tiny_ingredients: Ingredients, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Pace, "seconds", never)
    for store_as in ("disk", "live"):
        assert chosen(tiny_ingredients, AUTO.model_copy(update={"store": store_as})) is None
    assert chosen(tiny_ingredients, AUTO.model_copy(update={"disk_gb": 0.0})) is None
    on_disk.signals(tmp_path, tiny_ingredients.data, tiny_ingredients.teacher, rows=16)
    assert chosen(tiny_ingredients) is None  # of more rows, maps are stored too
    assert [*store.glob("choice-*")] == []


@pytest.mark.usefixtures("gpu")
def test_a_damaged_one_is_named_and_decided_again(
    tiny_ingredients: Ingredients, store: Path, capsys: pytest.CaptureFixture[str]
):
    assert chosen(tiny_ingredients)
    (file,) = store.glob("choice-*/result/choice.json")
    file.chmod(0o644)
    file.write_text("{}")
    assert chosen(tiny_ingredients)
    assert (
        "warning: what was decided of stored maps is damaged, and has to be decided again: " in capsys.readouterr().err
    )
    assert json.loads(file.read_text())["asked"] == choice.ASKED


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("live", [True, False])
def test_what_is_chosen_is_what_students_get(
    tiny_ingredients: Ingredients, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, live: bool
):
    monkeypatch.setattr(Pace, "seconds", lambda *_, **__: (0.0, 2.0, 1.0) if live else (0.0, 1.0, 2.0))
    found = chosen(tiny_ingredients)
    assert found is not None
    data, teacher = Data.open(tiny_ingredients.data), on_disk.opened(tiny_ingredients.teacher)
    write_targets(data, teacher, tmp_path / "signals", found.applied(AUTO), 24, 16, {2, 4})
    signals = Targets.open(tmp_path / "signals", data, teacher)
    expected = "float16, live attention" if live else "float16"
    assert [signals.precision(split) for split in ("train", "validation")] == [expected] * 2
