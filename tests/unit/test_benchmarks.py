"""What the benchmarks make of their measurements; the measurements themselves are no tests."""

import importlib
import operator

import pytest

from benchmarks import peers, step
from benchmarks.machine import peak_resident, private_now
from benchmarks.table import markdown, number, ratio, spread
from benchmarks.terms import Outcome, Terms
from benchmarks.worker import JobError, NotInstalledError, Worker, working


def outcomes(*seconds: float) -> list[Outcome]:
    return [Outcome(each, examples=120, gflop=60.0, signals=each / 10) for each in seconds]


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


def test_a_ratio_compares_what_was_measured_side_by_side():
    assert ratio([10.0, 200.0, 9.0], [1.0, 100.0, 3.0]) == 3.0  # of 10, 2 and 3


def test_the_line_of_a_peer_says_how_many_times_as_fast_ours_is():
    found = {"kdcore all": outcomes(2.0, 2.0), "other": outcomes(8.0, 8.0)}
    lines = peers.table(found, dict.fromkeys(found, 5_000_000), sgemm=60.0).splitlines()
    assert [cell.strip() for cell in lines[-1].split("|")[1:-1]] == [
        "other",
        "15.0 (15.0 to 15.0)",  # 120 examples in 8 s
        "4.00 ×",
        "5 MB",
        "7.50",  # 60 GFLOP in 8 s
        "12.5%",
    ]


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
