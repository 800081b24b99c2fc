"""The door: what is wrong ends in one message and exit code 2, what is stopped in a clear line, and fast."""

import inspect
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from kdcore import cli
from kdcore.cli.command import declared, keys
from kdcore.data.tasks import GLUE
from kdcore.distil import teacher as stage
from kdcore.interrupt import Interrupted
from kdcore.params.sections import TaskEntry
from kdcore.studies import OWN
from tests import on_disk, tiny
from tests.pipeline.conftest import ROOT, SMALL, edit_params

HEAVY = {"torch", "transformers", "pandas", "datasets", "accelerate", "matplotlib", "scipy", "sklearn"}
COMMANDS = {command.callback.__name__: command.callback for command in cli.app.registered_commands}


@pytest.fixture
def project(
    tmp_path: Path, store: Path, tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """project(edits): a folder with the tiny project's params.yaml, changed by dotted key; the test runs in it."""

    def made(**edits: object) -> Path:
        (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
        outside = {"data.path": str(tmp_path / "rows"), "model.name": str(tiny_folder())}
        edit_params(tmp_path / "params.yaml", SMALL | outside | {key.replace("__", "."): v for key, v in edits.items()})
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return made


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    """The exit code of `python -m kdcore ...`."""
    monkeypatch.setattr(sys, "argv", ["kdcore", *map(str, args)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_inputs_names_a_teacher_that_teaches_no_student(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = project(teacher__seeds=[0, 1], seeds=[0, 2])
    capsys.readouterr()  # of what is saved for the project
    assert run(monkeypatch, "inputs", folder / "inputs") == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: teacher.seeds: 1 teaches no student, and is trained all the same: students with ")
    assert len(err.splitlines()) == 1


def test_a_command_of_one_task_that_reads_a_knob_which_tasks_may_have_of_their_own_declares_the_tasks():
    sections = {*OWN} & {*TaskEntry.model_fields}
    for name, body in COMMANDS.items():
        knobs = {key for key in declared[name.rstrip("_")] if key.partition(".")[0] in sections} - {"teacher.seeds"}
        if "task" in inspect.signature(body).parameters and knobs:
            assert "task.{task}" in declared[name], name


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ([], "params.yaml: seeds: 0 is asked for, but metrics/main/points/rte/sid-s0.json is missing; "),
        (
            ["--study", "glue"],
            "params.yaml: study.glue.seeds: 5 is asked for, but metrics/glue/points/rte/sid-s5.json is missing; "
            "`dvc repro stages/dvc.yaml:glue` makes it\n",
        ),
        (["--study", "depth"], "must be glue, found 'depth'"),
    ],
)
def test_a_submission_without_its_points_says_which_key_asks_and_what_makes_them(
    project: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study: list[str],
    said: str,
):
    project(tasks=["rte"], task=SMALL["task"] | {"rte": {}}, study__glue__tasks=["rte"], study__glue__seeds=[5])
    capsys.readouterr()
    assert run(monkeypatch, "submission", "sid", "sent", *study) == 2
    assert said in capsys.readouterr().err


def test_a_submission_looks_at_the_test_rows_of_all_tasks_before_it_works_on_the_first(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = project(tasks=["wnli", "rte"], task=SMALL["task"] | {"wnli": {}, "rte": {}}, seeds=[0])
    point = json.loads((ROOT / "metrics/glue/points/rte/sid-s0.json").read_text())
    del point["sha256"]
    for task, unseen in (("wnli", 146), ("rte", 145)):
        rows = {"train": tiny.texts(8, pairs=True), "validation": tiny.texts(8, pairs=True)}
        splits = rows | {"test": tiny.texts(unseen, pairs=True)}
        made = replace(GLUE[task], text=("first", "second"), labels=("0", "1"))
        on_disk.prepared(folder, splits, made)
        (folder / "metrics/main/points" / task).mkdir(parents=True)
        (folder / "metrics/main/points" / task / "sid-s0.json").write_text(json.dumps(point | {"task": task}))
    capsys.readouterr()
    assert run(monkeypatch, "submission", "sid", "sent") == 2
    said = capsys.readouterr()
    assert said.err == "RTE.tsv: must have 3,000 rows, those of the server's test set, found 145\n"
    assert (said.out, (folder / "sent").exists()) == ("", False)


def test_a_studys_own_task_that_the_server_lacks_is_named_by_its_key(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    project(task=SMALL["task"] | {"rte": {}}, study__glue__tasks=["rte", "tiny"])
    capsys.readouterr()
    assert run(monkeypatch, "submission", "sid", "sent", "--study", "glue") == 2
    assert capsys.readouterr().err.startswith("params.yaml: study.glue.tasks.1: must be a task of GLUE (")


def python(code: str, *args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *args], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


# What is fast


def test_help_lists_every_stage_and_imports_nothing_heavy():
    found = python(
        "import sys; sys.argv = ['kdcore', '--help']\n"
        "from kdcore.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    assert set(COMMANDS) <= set(found.stdout.split())
    assert {"kdcore.cli", "typer"} <= set(found.stderr.split())
    assert not HEAVY & {name.partition(".")[0] for name in found.stderr.split()}


def test_help_begins_with_what_is_typed_by_hand_and_the_rest_is_what_dvc_runs():
    files = [(ROOT / name).read_text() for name in ("dvc.yaml", "stages/dvc.yaml")]
    stages = set(re.findall(r"python -m kdcore (\w+)", "\n".join(files)))
    listed = [command.name for command in cli.app.registered_commands]
    assert listed[: len(cli.BY_HAND)] == list(cli.BY_HAND)
    assert set(listed[len(cli.BY_HAND) :]) == stages


def some_arguments(command: Callable[..., None]) -> list[str]:
    """Arguments of the right kinds: nothing is read of them before params.yaml is."""
    words = []
    for name, parameter in inspect.signature(command).parameters.items():
        value = {"method": "sid", "study": "depth", "seed": "1", "engine": "ray"}.get(name, "x")
        if parameter.default is inspect.Parameter.empty:
            words += [f"--{name}", value] if "Option" in str(parameter.annotation) else [value]
    return words


def test_a_wrong_value_in_params_stops_every_command_before_anything_heavy_is_imported(tmp_path: Path):
    (tmp_path / "params.yaml").write_text("tasks: [movies]\n")
    script = """
import json, sys
from kdcore import cli, door
for name, args in json.loads(sys.argv[1]).items():
    sys.argv = ["kdcore", name, *args]
    try:
        cli.main()
    except SystemExit as ended:
        print(name, ended.code, *({module.partition(".")[0] for module in sys.modules} & set(json.loads(HEAVY))))
""".replace("HEAVY", repr(json.dumps(sorted(HEAVY))))
    arguments = {name: some_arguments(command) for name, command in COMMANDS.items() if keys(name)}
    found = python(script, json.dumps(arguments), cwd=tmp_path)
    assert found.stdout.splitlines() == [f"{name} 2" for name in arguments], found.stderr
    assert found.stderr.count("params.yaml: ") == len(arguments)


@pytest.mark.parametrize("arguments", [("params",), ("--version",)])
def test_a_command_that_reads_no_params_needs_no_such_file(tmp_path: Path, arguments: tuple[str, ...]):
    found = python("from kdcore.cli import main; main()", *arguments, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "name a classifier (--teacher) and its rows (--train), or try --example"),
        (("--teacher", "x"), "name a classifier (--teacher) and its rows (--train), or try --example"),
        (("--example", "--train", "x.csv"), "brings a teacher and rows of its own"),
        (
            ("--teacher", "x", "--train", "x.csv", "--label", "stars", "--unlabelled"),
            "--unlabelled: says that no row has a label, and --label names 'stars'",
        ),
    ],
)
def test_a_project_needs_a_classifier_and_rows_or_the_example(tmp_path: Path, arguments: tuple[str, ...], problem: str):
    found = python("from kdcore.cli import main; main()", "init", "own", *arguments, cwd=tmp_path)
    assert found.returncode == 2
    assert problem in found.stderr
    assert not [*tmp_path.iterdir()]


# What is wrong


def test_a_wrong_params_is_one_message_and_exit_code_2_without_a_traceback(project: Callable[..., Path]):
    folder = project()
    document = YAML().load(folder / "params.yaml")
    document["teacher"]["learning_rate"] = -1
    document["student"]["layer"] = document["student"].pop("layers")
    YAML().dump(document, folder / "params.yaml")
    found = python("from kdcore.cli import main; main()", "prepare", "tiny", "out", cwd=folder)
    assert found.returncode == 2
    assert found.stdout == ""
    first, *problems = found.stderr.splitlines()
    assert first == f"params.yaml: {len(problems)} problems"
    assert "  student.layer: unknown key, did you mean 'layers'?" in problems
    assert any(line.startswith("  teacher.learning_rate: must be a number from 1e-9 to 10") for line in problems)
    assert [path.name for path in folder.iterdir()] == ["params.yaml"]


def test_a_folder_without_params_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "prepare", "movies", "out") == 2
    assert capsys.readouterr().err.startswith("params.yaml: ")


def teach(folder: Path, monkeypatch: pytest.MonkeyPatch, data: Path) -> int:
    return run(monkeypatch, "teacher", "tiny", 0, data, folder / "teacher", folder / "point.json")


def test_a_missing_model_is_named(
    project: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    folder = project(model__name="./not-here")
    capsys.readouterr()
    assert teach(folder, monkeypatch, tiny_ingredients.data) == 2
    out, err = capsys.readouterr()
    assert err == "not-here: no model here: a local model is a folder with config.json\n"
    assert out == ""
    assert not (folder / "teacher").exists()
    assert not (folder / "point.json").exists()


@pytest.mark.parametrize("key", ["model__name", "teacher__finetuned"])
def test_an_architecture_that_cannot_be_captured_is_named_with_those_that_can(
    project: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    key: str,
):
    other = tiny.save_finetuned(tmp_path / "other", tiny.UNSUPPORTED)
    folder = project(**{key: str(other)})
    capsys.readouterr()
    assert teach(folder, monkeypatch, tiny_ingredients.data) == 2
    known = "bert, camembert, deberta, deberta-v2, distilbert, electra, modernbert, mpnet, roberta, xlm-roberta"
    assert capsys.readouterr().err == f"{other}: architecture 'albert' can't be captured; these can: {known}\n"
    assert not (folder / "teacher").exists()


def test_data_of_another_task_are_refused(
    project: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    folder = project()
    assert run(monkeypatch, "teacher", "movies", 0, tiny_ingredients.data, folder / "teacher", folder / "p.json") == 2
    assert capsys.readouterr().err == f"{tiny_ingredients.data}: holds task 'tiny', not 'movies'\n"


def test_data_that_were_not_prepared_are_named_with_what_to_run(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = project()
    assert teach(folder, monkeypatch, Path("data/tiny")) == 2
    err = capsys.readouterr().err
    assert "data/tiny: manifest.json can't be read (" in err
    assert "run `dvc repro -f prepare`" in err


def test_a_teacher_below_its_floor_is_an_error_that_writes_no_point(
    project: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    folder = project(teacher__floor=1.0, teacher__rows=8, teacher__epochs=1)
    assert teach(folder, monkeypatch, tiny_ingredients.data) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("params.yaml: teacher.floor: the teacher must reach 1.0, found accuracy 0.")
    assert not (folder / "point.json").exists()


def test_a_student_below_its_floor_is_an_error_that_keeps_it_in_the_store_alone(
    project: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    folder = project(
        student__floor=1.0,
        student__layers=1,
        student__rows=24,
        distill__epochs_per_layer=1,
        distill__classification_epochs=1,
    )
    made = tiny_ingredients.places
    assert run(monkeypatch, "student", "tiny", "soft", 0, *made, folder / "out") == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("params.yaml: student.floor: tiny soft, 1 layer, seed 0 must reach 1.0, found accuracy 0.")
    assert last.endswith("It stays in the store, for a lower floor; the others are trained by `dvc repro -k`")
    assert not (folder / "out").exists()
    # A study takes the same student from the store, and shows what it scores.
    knobs = ("-S", "student.rows=24", "-S", "student.layers=1")
    assert run(monkeypatch, "point", "tiny", "soft", 0, *made, folder / "out.json", *knobs) == 0
    assert json.loads((folder / "out.json").read_text())["score"] < 1.01
    assert len(list((folder / "work").glob("student-*/result"))) == 1


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["prepare"],
        ["student", "tiny", "pidd", "0", "d", "t", "s", "o"],
        ["student", "tiny", "pid", "two", "d", "t", "s", "o"],
        ["point", "tiny", "pidd", "0", "d", "t", "s", "o"],
        ["point", "tiny", "pid", "0", "d", "t", "s", "o", "--study", "width"],
        ["plan", "--tokens", "inf"],
        ["plan", "--seconds", "inf"],
        ["launch", "slurm", "--gpus", "inf"],
        ["launch", "slurm", "--gpus", "nan"],
    ],
    ids=lambda args: args[-1] if len(args) < 3 else " ".join(args[-2:]),
)
def test_a_wrong_command_line_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str]
):
    assert run(monkeypatch, *args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: ")
    assert "Traceback" not in err


def test_an_error_that_is_no_users_mistake_is_not_hidden(
    project: Callable[..., Path], tiny_ingredients: on_disk.Ingredients, monkeypatch: pytest.MonkeyPatch
):
    folder = project()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(stage, "fine_tune", broken)
    monkeypatch.setattr(sys, "argv", ["kdcore", "teacher", "tiny", "0", str(tiny_ingredients.data), "t", "p"])
    with pytest.raises(RuntimeError, match="a bug of ours"):
        cli.main()
    assert not (folder / "p").exists()


# What is stopped


@pytest.mark.parametrize(("signum", "name", "code"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "SIGINT", 130)])
def test_a_stopped_run_says_so_in_one_line_and_exits_as_a_shell_expects(
    project: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signum: int,
    name: str,
    code: int,
):
    def stopped(*_: object, **__: object) -> None:
        raise Interrupted(signum)

    monkeypatch.setattr(stage, "fine_tune", stopped)
    assert teach(project(), monkeypatch, tiny_ingredients.data) == code
    said = capsys.readouterr().err
    assert said == f"stopped by {name}: a checkpoint is written, the same command goes on from it\n"


def test_ctrl_c_outside_training_ends_the_command_without_a_traceback(
    project: Callable[..., Path],
    tiny_ingredients: on_disk.Ingredients,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Nothing is half-written then: what a command writes appears when it is complete."""

    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "fine_tune", pressed)
    assert teach(project(), monkeypatch, tiny_ingredients.data) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_while_python_still_imports_is_one_line(tmp_path: Path):
    """Sent when one of these modules is about to be imported: the first is one of ours, the last takes seconds."""
    for module in ("kdcore.cli", "pydantic", "ruamel.yaml", "torch"):
        code = (
            "import builtins, os, signal, sys\n"
            "real = builtins.__import__\n"
            "def importing(name, *rest, **more):\n"
            f"    if name == {module!r} or (name == 'kdcore' and {module!r} == 'kdcore.cli'):\n"
            "        os.kill(os.getpid(), signal.SIGINT)\n"
            "    return real(name, *rest, **more)\n"
            "from kdcore import __main__\n"
            "builtins.__import__ = importing\n"
            "sys.argv = ['kdcore', 'plan', '--seconds', '0']\n"
            "__main__.main()\n"
        )
        stopped = python(code)
        assert stopped.returncode == 130, (module, stopped)
        assert stopped.stderr.startswith("stopped by SIGINT: "), (module, stopped)
        assert len(stopped.stderr.splitlines()) == 1, (module, stopped)
