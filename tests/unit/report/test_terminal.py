"""The end of a run: scores, what training took, where the page is; a table in a terminal, a line a task elsewhere."""

import io
import sys
from pathlib import Path

import pytest

from kdcore.report import points
from kdcore.report.summary import baselines, summarise
from kdcore.report.terminal import conclude
from tests.unit.report import synthetic_points as synthetic

PAGE = Path("metrics/main/report.html")


@pytest.fixture
def runs(tmp_path: Path) -> list[points.Run]:
    """Teacher and two seeds of soft, whose run.json below tmp_path/runs says 30 s and 31 s, 4,200 GFLOP each."""
    synthetic.write(tmp_path / "movies/teacher-s0.json", synthetic.teacher("movies"))
    for seed, score in enumerate((0.80, 0.82)):
        path = tmp_path / f"movies/soft-s{seed}.json"
        synthetic.write(path, synthetic.point("movies", "soft", seed, score=score))
        synthetic.write(tmp_path / f"runs/movies/soft-s{seed}/run.json", {"seconds": 30.0 + seed, "gflop": 4200.0})
    return points.read(points.headline(tmp_path, ["movies"], ["soft"], [0, 1], [0]))


def test_elsewhere_it_is_a_line_a_task_and_two_more(
    runs: list[points.Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    conclude(summarise(runs, ["method"], baselines, 0.95), runs, tmp_path / "runs", PAGE)
    # Half width of two seeds: 12.7062 * 0.0141421 / sqrt(2) = 0.127; no further than 1.
    assert capsys.readouterr().out.splitlines() == [
        "movies, accuracy: teacher 0.868, soft 0.810 ± 0.127",
        "2 students took 61 s to train (8,400 GFLOP), now or in an earlier run",
        "the page is metrics/main/report.html",
    ]


def test_what_speaks_against_a_score_stands_beside_it(
    runs: list[points.Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    runs = [run | {"degenerate": run["method"] == "soft"} for run in runs]
    conclude(summarise(runs, ["method"], baselines, 0.95), runs, tmp_path / "runs", PAGE)
    assert "soft 0.810 ± 0.127 (one answer for all)" in capsys.readouterr().out


def test_students_of_a_small_model_did_not_cost_nothing(
    runs: list[points.Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for seed in (0, 1):
        synthetic.write(tmp_path / f"runs/movies/soft-s{seed}/run.json", {"seconds": 1.0, "gflop": 0.021})
    conclude(summarise(runs, ["method"], baselines, 0.95), runs, tmp_path / "runs", PAGE)
    assert "2 students took 2 s to train (0.042 GFLOP)" in capsys.readouterr().out


def test_in_a_terminal_it_is_a_table(runs: list[points.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    conclude(summarise(runs, ["method"], baselines, 0.95), runs, tmp_path / "runs", PAGE)
    text = shown.getvalue()
    header = next(line for line in text.splitlines() if "method" in line)
    assert "degenerate runs" in header
    assert "0.810 ± 0.127" in text
    assert text.splitlines()[-1] == "the page is metrics/main/report.html"
