"""`kdcore plan` against what a real run then costs: its FLOPs in run.json, its bytes on disk; and its messages."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcore import cli
from kdcore.artefacts import read_manifest, write_json
from kdcore.data.prepared import Data
from kdcore.distil.choice import FILE, Choice, made_by
from kdcore.distil.finished import Finished
from kdcore.distil.written import Targets
from kdcore.errors import UserError
from kdcore.params.read import load
from kdcore.runs import name_of, open_run
from tests.pipeline.conftest import SMALL, TASK, Project

HUB = (
    "-S",
    "data.source=hub",
    "-S",
    "tasks=[qqp]",
    "-S",
    "task.qqp={}",
    "-S",
    "model.name=bert-base-uncased",
    "-S",
    "model.max_length=128",
)


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
    """The lines that `kdcore plan` prints in a project, without measuring the machine."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KDCORE_WORK", str(folder / "work"))
    capsys.readouterr()
    cli.app(["plan", "--seconds", "0", *args], standalone_mode=False)
    return capsys.readouterr().out.splitlines()


def cells(lines: list[str], *starts: str) -> list[str]:
    """The cells of the row whose first ones are `starts`."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    (found,) = [row for row in rows if row[: len(starts)] == list(starts)]
    return found


def test_a_plan_is_what_the_runs_then_write_down(
    finished: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """FLOPs to the three digits that are shown; the lengths are those of the task that is prepared."""
    lines = planned(finished.root, monkeypatch, capsys)
    runs = {method: finished.root / f"runs/student/{TASK}/{method}-s0" for method in SMALL["methods"]}
    rows = {("student", method): folder for method, folder in runs.items()}
    rows |= {("teacher", "fine-tuned"): finished.root / f"runs/teacher/{TASK}/s0"}
    for starts, folder in rows.items():
        recorded = json.loads((folder / "run.json").read_text())
        *_, count, epochs, tflop = cells(lines, *starts)
        assert float(tflop) == pytest.approx(recorded["gflop"] / 1e3, rel=6e-3, abs=5e-7)  # it is kept to 0.001 GFLOP
        assert (int(count), int(epochs)) == (recorded["rows"], recorded["epochs"])
    assert "counted in data/tiny" in "\n".join(lines)


def test_the_signals_take_the_disk_that_was_planned(
    finished: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lines = planned(finished.root, monkeypatch, capsys)
    for split in ("train", "validation"):
        files = (finished.root / f"runs/targets/{TASK}/s0/{split}").glob("*.npy")
        written = sum(file.stat().st_size for file in files)
        amount, unit = cells(lines, f"signals, {split}")[-1].split()
        assert float(amount) * {"kB": 1e3, "MB": 1e6}[unit] == pytest.approx(written, rel=6e-3)


def test_signals_are_planned_for_studies_and_other_methods_too(
    finished: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """As `kdcore targets` makes them, which the list `methods` does not concern."""
    changes = ("methods=[sid]", "student.rows=null", f"task.{TASK}.methods={{sid: {{student: {{rows: 8}}}}}}")
    lines = planned(finished.root, monkeypatch, capsys, *(word for change in changes for word in ("-S", change)))
    assert cells(lines, "student", "sid")[3] == "8"
    rows = Data.open(finished.root / "data" / TASK).splits
    assert cells(lines, "targets", "signals")[3] == str(rows["train"] + rows["validation"])


def test_a_study_is_planned_by_its_grid(
    finished: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lines = planned(finished.root, monkeypatch, capsys, "--study", "depth")
    assert lines[0] == "# Study depth"
    costs = [float(cells(lines, "student", f"soft-L{layers}")[-1]) for layers in SMALL["study.depth.layers"]]
    assert costs == sorted(set(costs))


def test_bert_base_on_qqp_is_planned_without_data_weights_or_hub(
    new_plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked = ("-S", "student.layers=6", "-S", "student.rows=null", "-S", "teacher.rows=null")
    lines = planned(new_plain, monkeypatch, capsys, *HUB, *asked)
    assert lines[2].startswith("Teacher: bert-base-uncased, 12 layers, 768 wide, 12 heads, 109.5 M parameters.")
    assert any(line.startswith("363,846 training rows of 31.0 tokens and 40,430 validation rows") for line in lines)
    # By hand, to what the lengths' spread leaves open: 3 · 2 · weights · tokens · 363,846 rows · 3 epochs. 31 tokens
    # meet 11 layers of 7.08 M weights and the last one's 1.77 M for queries, keys and values, [CLS] its other 5.31 M.
    weights = (11 * 7.08e6 + 1.77e6) * 31 + 5.31e6
    teacher = float(cells(lines, "teacher", "fine-tuned")[5].replace(",", ""))
    assert teacher == pytest.approx(3 * 2 * weights * 363_846 * 3 / 1e12, rel=0.02)
    assert cells(lines, "signals, train, 28 parts")[1] == "live teacher"


def test_a_plan_changes_nothing(project: Project):
    """It runs as a command, measures for a moment, and leaves git's view of the project as it was."""
    before = {path.name for path in project.root.iterdir()}
    shown = project.run(sys.executable, "-m", "kdcore", "plan", "--seconds", "0.1", "--rows", "96", "--tokens", "9")
    assert "Here, measured on models of this shape in GFLOP/s: " in shown.stdout
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert {path.name for path in project.root.iterdir()} == before


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("-S", "student.layers=1", "-S", "study.depth.layers=[9]", "--study", "depth"),
            "params.yaml: study.depth.layers: must be at most 4, the teacher's layers (model.name), found 9",
        ),
        (("-S", "student.layer=3"), "params.yaml: student.layer: unknown key, did you mean 'layers'?"),
        (("--shape", "bert-bas"), "--shape: unknown shape 'bert-bas', did you mean 'bert-base'?"),
        ((), f"plan: task {TASK!r} is not prepared, so give --rows and --tokens, or run `dvc repro prepare` first"),
    ],
)
def test_what_is_wrong_is_one_message(
    new_plain: Path,
    args: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    with pytest.raises(UserError) as caught:
        planned(new_plain, monkeypatch, capsys, *args)
    assert str(caught.value).startswith(said)


@pytest.fixture(scope="module")
def new_plain(new_project: Callable[..., Project]) -> Path:
    """A tiny project in which nothing has run, for reading only."""
    return new_project().root


def test_a_choice_of_live_maps_that_another_machine_made_holds_in_every_command(
    finished_copy: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A GPU measured and decided; this machine has none. Students then ask the teacher itself, under another name."""
    project = finished_copy
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("KDCORE_WORK", str(project.root / "work"))
    teacher = Finished.open(Path(f"runs/teacher/{TASK}/s0"), "")
    what = made_by(teacher, Data.open(Path("data") / TASK), load(Path("params.yaml")).targets)
    choice = Choice(0.001, 0.002, 0.0005, 10, "disk", "a GPU", "bf16", name_of("choice", what))
    assert not any("Attention maps" in line for line in planned(project.root, monkeypatch, capsys))
    with open_run("choice", what) as run:
        run.finish(lambda folder: write_json(folder / FILE, choice.facts))
    lines = planned(project.root, monkeypatch, capsys)
    assert f"Attention maps: {choice}." in lines
    assert cells(lines, "signals, train")[1] == "live teacher"
    assert int(cells(lines, "student", "live teacher")[2]) > 0
    arguments = (TASK, f"data/{TASK}", f"runs/teacher/{TASK}/s0", f"runs/targets/{TASK}/s0")
    said = project.run("python", "-m", "kdcore", "targets", *arguments).stdout
    assert f"targets: attention maps {choice}\n" in said
    signals = Targets.open(Path(arguments[-1]), Data.open(Path("data") / TASK), teacher)
    assert signals.precision("train") == "float16, live attention"
    assert read_manifest(Path(arguments[-1]), "")["choice"] == choice.facts
    jobs = map(json.loads, project.run("python", "-m", "kdcore", "jobs").stdout.splitlines())
    assert [job["found"] for job in jobs if job["stage"].startswith("targets@")] == [True]
