"""What the benchmarks make of their measurements; the measurements themselves are no tests."""

import importlib
import operator
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig

from benchmarks import gpu, jobs, peers, scaling, start, step, study
from benchmarks.machine import Sgemm, peak_resident, private_now
from benchmarks.material import TEACHER_LAYERS, Material, save_examples
from benchmarks.table import best, markdown, number, ratio, spread
from benchmarks.terms import Outcome, Terms
from benchmarks.worker import JobError, NotInstalledError, Worker, working
from kdcore.data.batches import Batch
from kdcore.data.examples import Examples
from kdcore.distil import training
from kdcore.distil.signals import Teaching
from kdcore.distil.training import Trainer
from tests import tiny

HEADER = 128  # bytes that open a .npy file


def outcomes(*seconds: float) -> list[Outcome]:
    return [Outcome(each, examples=120, gflop=60.0, signals=each / 10) for each in seconds]


def cells(table: str, line: int) -> list[str]:
    """Of a line of a Markdown table, whose first two lines are its header."""
    return [cell.strip() for cell in table.splitlines()[line].split("|")[1:-1]]


def test_a_table_lines_up():
    assert markdown(["", "s"], [["one", "1"], ["three", "22"]]).splitlines() == [
        "|       |   s |",
        "| :---- | --: |",
        "| one   |   1 |",
        "| three |  22 |",
    ]


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match="2 columns, but a row has 1 cells"):
        markdown(["", "s"], [["one"]])


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.4, "1,234"), (56.71, "56.7"), (8.9, "8.90"), (0.01234, "0.0123"), (0.0, "0")]
)
def test_numbers_have_three_digits(value: float, shown: str):
    assert number(value) == shown


def test_repeats_are_shown_as_median_and_range():
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"


def test_the_machines_best_is_said_by_both_libraries():
    assert best([Sgemm(200.0, 500.0), Sgemm(220.0, 400.0), Sgemm(210.0, 450.0)]) == (
        "sgemm, GFLOP/s: 210 (200 to 220) by torch's own product, 450 (400 to 500) by oneDNN"
    )


def test_a_ratio_compares_what_was_measured_side_by_side():
    assert ratio([10.0, 200.0, 9.0], [1.0, 100.0, 3.0]) == 3.0  # of 10, 2 and 3


def test_the_line_of_a_peer_says_how_many_times_as_fast_ours_is():
    found = {"kdcore all": outcomes(2.0, 2.0), "other": outcomes(8.0, 8.0)}
    assert cells(peers.table(found, dict.fromkeys(found, 5_000_000), sgemm=60.0), -1) == [
        "other",
        "15.0 (15.0 to 15.0)",  # 120 examples in 8 s
        "4.00 ×",
        "5 MB",
        "7.50",  # 60 GFLOP in 8 s
        "12.5%",
    ]


def test_a_further_student_does_not_pay_for_the_signals():
    """120 examples in 10 s, of which the signals took 1 s."""
    found = {f"kdcore {method}": outcomes(10.0) for method in peers.OURS}
    assert peers.notes(found, [Sgemm(60.0, 90.0)])[1] == (
        "from signals that are there, examples/s: "
        "all 13.3 (13.3 to 13.3), pid 13.3 (13.3 to 13.3), sid 13.3 (13.3 to 13.3)"
    )


def test_a_step_is_timed_from_the_end_of_the_first():
    assert step.mean_step([10.0, 11.0, 14.0]) == 2.0


def test_a_run_has_as_many_epochs_whatever_its_method():
    assert Terms(layers=3, epochs_per_layer=2, classification_epochs=4).whole == 10


def test_a_worker_runs_its_job_elsewhere():
    worker = Worker(operator.itemgetter, 1)
    assert worker.run("ab") == "b"
    with pytest.raises(JobError, match="IndexError"):
        worker.run("a")
    assert worker.resident > 0
    worker.close()


def test_a_package_that_is_not_there_is_left_out(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(NotInstalledError, match="no_such_package"):
        Worker(importlib.import_module, "no_such_package")
    with working({"other": (importlib.import_module, "no_such_package")}) as workers:
        assert workers == {}
    assert capsys.readouterr().out == "other: left out, no_such_package is not installed\n"


def test_a_process_knows_its_memory():
    assert peak_resident() >= private_now() >= 0


def test_extraction_is_compared_with_inference_of_both():
    own, plain = scaling.INFERENCE
    table = scaling.rates_table({own: [2.0, 2.0], plain: [1.0, 1.0], "signals": [2.5, 2.5]}, rows=100)
    assert cells(table, 0) == ["100 rows", "examples/s", f"of {own}", f"of {plain}"]
    assert cells(table, -1) == ["signals", "40.0 (40.0 to 40.0)", "80.0%", "40.0%"]  # 100 in 2.5 s, not in 2 or 1


def test_the_smallest_size_of_maps_is_the_sum_of_squares():
    config = BertConfig(num_hidden_layers=2, num_attention_heads=3, hidden_size=6)
    lengths = np.asarray([2, 3, 5])
    assert scaling.smallest(lengths, config) == (4 + 9 + 25) * 2 * 3 * 2  # numbers, layers, heads, bytes


@pytest.fixture
def material(tmp_path: Path) -> Material:
    """Examples of 2, 3 and 5 tokens; a teacher of six layers with four heads each, a student of two."""
    found = Material(tmp_path)
    tiny.save_finetuned(found.teacher, layers=TEACHER_LAYERS)
    tiny.save_finetuned(found.student(2), layers=2)
    tokens = np.full(10, 7, np.int32)
    save_examples(Examples(tokens, tokens * 0, np.asarray([0, 2, 5, 10]), np.zeros(3), 0), tmp_path / "examples.npz")
    return found


@pytest.fixture
def terms() -> Terms:
    return Terms(epochs_per_layer=0, classification_epochs=1, threads=torch.get_num_threads())


def test_examples_come_back_as_they_were_saved(material: Material):
    assert material.examples().lengths.tolist() == [2, 3, 5]


def test_maps_are_written_at_their_smallest_size(material: Material, terms: Terms):
    written = jobs.writing(material, terms, rows=2)()
    assert written == (4 + 9) * 6 * 4 * 2 + HEADER  # of the first two: numbers, layers, heads, bytes


def test_an_epoch_reads_what_was_written(material: Material, terms: Terms):
    jobs.writing(material, terms, rows=3)()
    seconds, reading = jobs.epoch(material, terms, written=3)(3, 2)
    assert 0 < reading < seconds


class Here:
    """A worker in this process."""

    def __init__(self, make: Callable[..., Callable[..., Any]], *args: Any) -> None:
        self.run, self.private, self.resident = make(*args), 30_000_000, 50_000_000

    def close(self) -> None: ...


def test_memory_and_disk_are_shown_at_both_sizes(material: Material, terms: Terms, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scaling, "Worker", Here)
    table = scaling.memory_table(material, replace(terms, layers=2), fewest=2, most=3)
    few, many = (4 + 9) * 6 * 4 * 2, (4 + 9 + 25) * 6 * 4 * 2
    own = ["30 MB", "50 MB"]
    assert [cells(table, line) for line in range(2, 6)] == [
        ["extraction, 2 rows", *own, "0 MB", f"{(few + HEADER) / few:.4f} ×"],
        ["extraction, 3 rows", *own, "0 MB", f"{(many + HEADER) / many:.4f} ×"],
        ["training, 2 rows", *own, "", ""],
        ["training, 3 rows", *own, "", ""],
    ]


def test_curves_are_measured_by_rows_and_by_depth(material: Material, terms: Terms, monkeypatch: pytest.MonkeyPatch):
    def epoch(_: Material, __: Terms, written: int) -> Callable[[int, int], tuple[float, float]]:
        assert written == 80
        return lambda rows, layers: (rows * layers, rows * layers / 40)

    monkeypatch.setattr(scaling, "Worker", Here)
    monkeypatch.setattr(jobs, "epoch", epoch)
    by_rows, by_depth, reading = scaling.curves(material, terms, [10, 20, 40, 80], repeats=2)
    assert [cells(by_rows, line)[:2] for line in (2, 5)] == [
        ["10", "30.0 (30.0 to 30.0)"],  # three layers
        ["80", "240 (240 to 240)"],
    ]
    assert [cells(by_depth, line)[1] for line in (2, 6)] == ["20.0 (20.0 to 20.0)", "100 (100 to 100)"]
    assert reading == "reading signals: 2.5% of the epoch of 80 rows"


def test_the_line_through_points_of_a_line_is_that_line():
    assert scaling.line_through([1, 2, 4], [5.0, 7.0, 11.0]) == pytest.approx((3.0, 2.0))
    assert scaling.off_the_line([1, 2, 4], [5.0, 7.0, 11.0]) == pytest.approx([0, 0, 0])


def test_a_cost_that_grows_faster_is_off_the_line():
    squares = [float(rows) ** 2 for rows in (1, 2, 4, 8)]
    assert max(map(abs, scaling.off_the_line([1, 2, 4, 8], squares))) > 0.2


def test_a_curve_shows_its_line():
    table = scaling.curve("layers, 64 rows", {1: [5.0, 5.0, 9.0], 2: [7.0], 4: [11.0]})
    assert cells(table, 2) == ["1", "5.00 (5.00 to 9.00)", "+0.0%"]
    assert cells(table, -1) == ["the line", "3.00 + 2.00 × layers", ""]


def test_reading_is_timed_by_itself(monkeypatch: pytest.MonkeyPatch):
    class Slow:
        def at(self, batch: Batch, *_: Any) -> Teaching:
            now[0] += 2.0
            return Teaching({}, {}, None)

        def are_stored(self, *_: Any) -> bool:
            return False

    now = [10.0]
    monkeypatch.setattr(jobs.time, "perf_counter", lambda: now[0])
    signals = jobs.Timed(Slow())
    batch = Batch(np.arange(1), {}, torch.zeros(1))
    for _ in range(3):
        signals.at(batch, (), ())
        now[0] += 5.0  # of a step
    assert signals.seconds == 6.0


def test_a_study_is_the_sum_of_its_steps():
    own = {study.TEACHER: [1.0, 2.0], study.SIGNALS: [1.0, 1.0], 1: [2.0, 3.0], 2: [4.0, 4.0]}
    table = study.table(own, {1: [10.0, 20.0], 2: [20.0, 20.0]})
    assert cells(table, 2) == ["teacher", "1.50 (1.00 to 2.00)", "", ""]
    assert cells(table, 5) == ["sid, 2 layers", "4.00 (4.00 to 4.00)", "20.0 (20.0 to 20.0)", "5.00 ×"]
    assert cells(table, -3) == ["students", "6.50 (6.00 to 7.00)", "35.0 (30.0 to 40.0)", "5.36 ×"]  # of 30/6 and 40/7
    assert cells(table, -2)[1:] == ["9.00 (8.00 to 10.0)", "35.0 (30.0 to 40.0)", "3.88 ×"]  # of 30/8 and 40/10
    assert cells(table, -1)[2:] == ["36.5 (31.0 to 42.0)", "4.04 ×"]  # of 31/8 and 42/10


def test_the_study_and_the_loop_take_turns(material: Material, terms: Terms, monkeypatch: pytest.MonkeyPatch):
    order: list[str | int] = []

    def job(who: str) -> Callable[..., Callable[[str | int], float]]:
        return lambda *_: lambda step: order.append(f"{who} {step}") or float(len(order))

    monkeypatch.setattr(study, "Worker", Here)
    monkeypatch.setattr(study, "Study", job("ours"))
    monkeypatch.setattr(study, "loop", job("loop"))
    own, others = study.measure(material, terms, repeats=1)
    assert order[:4] == ["ours teacher", "ours signals", "ours 1", "loop 1"]
    assert order[-2:] == ["ours 5", "loop 5"]
    assert (own[5], others[5]) == ([11.0], [12.0])


def test_a_study_runs_step_by_step(material: Material, terms: Terms):
    run = study.Study(material, replace(terms, epochs_per_layer=1))
    assert min(run(step) for step in (study.TEACHER, study.SIGNALS, 2)) > 0


def test_the_loop_is_given_as_many_epochs_as_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def make(material: Material, terms: Terms) -> Callable[[], Outcome]:
        asked.append(terms.layers)
        return lambda: Outcome(3.0, examples=64, gflop=1.0)

    monkeypatch.setattr(study.plain, "make", make)
    run = study.loop(Material(tmp_path), Terms(epochs=1, epochs_per_layer=2, classification_epochs=4))
    assert [run(1), run(5)] == [3.0 * 6, 3.0 * 14]
    assert asked == [1, 5]


def test_the_first_step_is_counted_from_where_torch_is_there():
    table = start.table({start.TORCH: [2.0, 3.0, 2.5], start.FIRST_STEP: [6.0, 5.0, 7.0]})
    assert cells(table, -1) == ["first optimizer step beyond importing torch", "3.50"]
    assert "beyond" not in start.table({start.TORCH: [2.0]})


def test_what_has_no_inputs_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("tasks: [movies]\nstudent: {layers: 3}\n", encoding="utf-8")
    (tmp_path / "data/movies").mkdir(parents=True)
    assert start.measure([start.FIRST_STEP], repeats=2) == {}
    said = "left out. runs/teacher/movies, runs/targets/movies: not there, run `make repro`"
    assert capsys.readouterr().out == f"{start.FIRST_STEP}: {said}\n"


def test_a_project_with_something_to_do_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dvc = tmp_path / "dvc"
    dvc.write_text('#!/bin/sh\necho "$1" >> said\nexit 1\n', encoding="utf-8")
    dvc.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "DVC", str(dvc))
    with pytest.raises(start.UnmeasurableError, match=r"`dvc status dvc\.yaml` says that there is something to do"):
        start.headline()
    assert (tmp_path / "said").read_text(encoding="utf-8") == "status\n"


# On a GPU, tried with tiny shapes wherever this runs


def test_the_script_for_a_gpu_runs_where_there_is_none(capsys: pytest.CaptureFixture[str]):
    """Everything but the compiled loop, the GPU's own figures and TextBrewer, which is not installed."""
    shape = gpu.TINY[1]
    with gpu.laid_out(shape, steps=4, threads=1) as bench:
        profile, found = gpu.profiled(bench), gpu.measured(bench, 1, float("inf"))
    loop, *others = found
    assert loop == gpu.LOOP
    assert {"kdcore all", "kdcore sid, bf16", *(f"kdcore all{option}" for option in gpu.OPTIONS)} <= {*others}
    assert [timing.steps for timing in found["kdcore all"]] == [2 * 4 - gpu.WARM]  # two epochs
    assert [timing.examples for timing in found[loop]] == [(4 - gpu.WARM) * shape.batch]
    assert capsys.readouterr().out.startswith("TextBrewer: left out, ModuleNotFoundError")
    assert cells(gpu.table(shape, found), 2)[::3] == [loop, "1.00 ×"]
    assert cells(gpu.profile_table({shape.name: profile}), 2)[2:] == ["0", "", "", ""]  # waits


def test_what_there_is_no_time_for_on_a_gpu_is_said(capsys: pytest.CaptureFixture[str]):
    with gpu.laid_out(gpu.TINY[0], steps=1, threads=1) as bench:
        assert gpu.measured(bench, 1, 0.0) == {}
        names = list(bench.contenders())
    assert capsys.readouterr().out.splitlines() == [f"{name}: left out, no time is left" for name in names]


def test_the_options_of_a_gpu_undo_what_they_say():
    with gpu.laid_out(gpu.TINY[1], steps=2, threads=1) as bench:
        seen = []
        for change in gpu.OPTIONS.values():

            def undone(loop: Trainer, change: Callable[[Trainer], None] = change) -> None:
                loop.readings.many, loop.ahead = 50, 2
                change(loop)
                with gpu.unknown_padding() if change in gpu.LOOKING else nullcontext():
                    batch = training.collate(loop.examples, np.arange(2))
                seen.append((batch.padded, loop.readings.many, loop.ahead))

            bench.ours("all", undone)
    known = seen[0][0]
    assert known is not None
    assert seen == [(known, 50, 2), (None, 50, 2), (known, 1, 2), (known, 50, 0), (None, 1, 0)]
