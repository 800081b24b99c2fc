"""What reports read of models and predictions is as it was written, or it is named with what makes it again."""

import sys
from pathlib import Path

import pytest

from kdcore import cli
from kdcore.artefacts import new_folder, open_sealed, seal
from tests.unit.raw_files import OWN_TASK, write_params

# A command, the sealed folder that it reads, the file that is damaged, and what heals it.
READS = {
    "plots": ("plots points students out", "students/mine/none-s0", "history.csv", "dvc repro -f student"),
    "report": ("report metrics students out.html", "students/mine/none-s0", "run.json", "dvc repro -f student"),
    "errors": ("errors data predictions out", "predictions/mine", "teacher.parquet", "dvc repro -f evaluate"),
    "attention": (
        "attention mine data teacher targets students points predictions/mine out",
        "predictions/mine",
        "teacher.parquet",
        "dvc repro -f evaluate",
    ),
}


@pytest.mark.parametrize("command", READS)
def test_a_damaged_file_ends_the_command_that_reads_it(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
):
    line, folder, name, rerun = READS[command]
    with new_folder(tmp_path / folder) as aside:
        (aside / name).write_text("as written")
        seal(aside)
    (tmp_path / folder / name).write_text("as damaged")
    own = {"tasks": ["mine"], "task": OWN_TASK, "data.source": "local", "methods": ["none", "soft", "sid"]}
    write_params(tmp_path / "params.yaml", own)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kdcore", *line.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    problem = f"{name}: its content is not what was written (sha256 differs)"
    assert capsys.readouterr().err == f"{folder}: {problem}; run `{rerun}`\n"
    assert ended.value.code == 2
    assert not (tmp_path / "out").exists()


def test_only_what_is_asked_for_is_looked_at(tmp_path: Path):
    for name in ("read", "unread"):
        (tmp_path / name).write_text(name)
    seal(tmp_path)
    (tmp_path / "unread").write_text("damaged")
    assert set(open_sealed(tmp_path, "-", ["read"])["files"]) == {"read", "unread"}
