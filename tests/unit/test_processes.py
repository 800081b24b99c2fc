"""Of several processes that a launcher starts all train, and the first does the rest and speaks; the others end."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import accelerate
import pytest

from kdcore import cli, console, processes
from kdcore.errors import UserError
from kdcore.runs import Run
from tests.unit.test_cli import COMMANDS, some_arguments

LAUNCHED = {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launcher, and nothing that another test has dismissed."""
    monkeypatch.setattr(processes, "_dismissed", False)
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """rank(n): this process is number n of two, as torchrun says it."""

    def become(number: int) -> None:
        for name, value in (LAUNCHED | {"LOCAL_RANK": str(number), "RANK": str(number)}).items():
            monkeypatch.setenv(name, value)

    return become


def test_a_command_without_a_launcher_is_one_process_whatever_a_cluster_sets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("RANK", "3")
    assert (processes.launched(), processes.count(), processes.first()) == (1, 1, True)
    assert processes.agreed(lambda: 7) == 7


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE must be a number of at least 1, found 'x'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE must be a number of at least 1, found '0'"),
        ({"RANK": None}, "RANK must be a number of at least 0, found 'nothing'"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK must be a number of at least 0, found '-1'"),
        ({"MASTER_ADDR": None}, "MASTER_ADDR must be a host, found 'nothing'"),
        (dict.fromkeys(("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")), "MASTER_PORT must be a number"),
    ],
    ids=str,
)
def test_what_no_launcher_would_say_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, str | None], complaint: str
):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    for name, changed in changes.items():
        monkeypatch.delenv(name) if changed is None else monkeypatch.setenv(name, changed)
    assert run(monkeypatch, "prepare", "tiny", "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("LOCAL_RANK is set as by a launcher: ")
    assert complaint in line
    assert line.endswith("unset LOCAL_RANK, or start with torchrun or `accelerate launch`")


def test_the_others_end_without_an_error_and_the_first_goes_on_alone(rank: Callable[[int], None]):
    rank(1)
    with pytest.raises(SystemExit) as ended:
        processes.dismiss()
    assert ended.value.code == 0
    rank(0)
    processes.dismiss()
    assert (processes.launched(), processes.count(), processes.first()) == (2, 1, True)
    assert processes.agreed(lambda: 7) == 7


def test_processes_that_would_train_apart_are_refused(rank: Callable[[int], None], monkeypatch: pytest.MonkeyPatch):
    rank(0)
    monkeypatch.setattr(accelerate, "PartialState", lambda cpu: SimpleNamespace(num_processes=1, device="cpu"))
    with pytest.raises(UserError, match="2 were started, and accelerate joins only 1"):
        processes.agreed(lambda: 7)


def test_only_the_first_speaks(rank: Callable[[int], None], capsys: pytest.CaptureFixture[str]):
    for number in (1, 0):
        rank(number)
        console.say(f"line of {number}")
        console.warn(f"of {number}")
    assert capsys.readouterr() == ("line of 0\n", "warning: of 0\n")


def test_only_the_first_writes_a_result(rank: Callable[[int], None], tmp_path: Path):
    rank(1)
    with pytest.raises(SystemExit):
        Run(tmp_path / "run").finish(lambda folder: pytest.fail(f"writes {folder}"))
    assert list(tmp_path.iterdir()) == []


# The commands


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["kdcore", *args])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_of_a_command_that_does_not_train_the_others_do_nothing(
    rank: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)  # without a params.yaml: a process that went on would complain
    rank(1)
    assert run(monkeypatch, "prepare", "tiny", "out") == 0
    assert capsys.readouterr() == ("", "")
    rank(0)
    assert run(monkeypatch, "prepare", "tiny", "out") == 2
    assert "params.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_others_take_part_in_the_commands_that_train_and_in_no_other(
    rank: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
):
    """Who takes part finds that there is no params.yaml."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.chdir(tmp_path)
    rank(1)
    trains = command in ("teacher", "student", "point")
    assert run(monkeypatch, command, *some_arguments(COMMANDS[command])) == (2 if trains else 0)


STUDENT = ("student", "tiny", "sid", "0", "data", "teacher", "targets", "out")


@pytest.mark.parametrize(("number", "waits"), [(0, []), (1, [3])])
def test_a_mistake_is_said_by_the_first_and_by_another_only_where_that_lives_on(
    rank: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, waits: list[int]
):
    """A launcher ends the others as soon as one has failed: while the second waits here, it would be gone."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.chdir(tmp_path)
    rank(number)
    assert run(monkeypatch, *STUDENT) == 2
    assert slept == waits


@pytest.mark.parametrize("number", [0, 1])
def test_a_crash_that_may_come_of_another_ones_end_waits_before_it_is_shown(
    rank: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, number: int
):
    def crash(**_: object) -> None:
        raise RuntimeError("Connection closed by peer")

    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(cli, "app", crash)
    rank(number)
    with pytest.raises(RuntimeError, match="Connection closed"):
        cli.main()
    assert slept == [10]
