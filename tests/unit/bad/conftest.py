"""What a command says of a mistake."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from kdcore import cli

Refused: TypeAlias = Callable[..., list[str]]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """refused(source, task): what `kdcore prepare <task> out` in tmp_path says is wrong with the source, by problem."""

    def problems(source: str, task: str = "movies") -> list[str]:
        there = sorted(tmp_path.rglob("*"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["kdcore", "prepare", task, "out"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert ended.value.code == 2
        assert out == ""
        assert sorted(tmp_path.rglob("*")) == there, "something was written"
        first, *rest = err.splitlines()
        assert first.startswith(f"{source}: "), err
        assert all(line.startswith("  ") for line in rest), err
        assert not rest or first == f"{source}: {len(rest)} problems"
        return [line[2:] for line in rest] or [first.removeprefix(f"{source}: ")]

    return problems
