"""A command proves each file once: what it opened is handed on, and nothing is hashed or parsed again."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from kdcore import artefacts, cli, processes
from kdcore.data import tokens
from tests.on_disk import Ingredients
from tests.pipeline.conftest import ROOT, SMALL, TASK, edit_params

Run = Callable[..., tuple[Counter[str], Counter[str]]]


@pytest.fixture
def run(
    tmp_path: Path, tiny_ingredients: Ingredients, store: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Counter[str], Counter[str]]]:
    """run(command, …): how often it hashed each file, and how often it parsed each split."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    own = {"methods": ["soft", "sid"], "student.rows": 24, "model.name": str(tiny_ingredients.model)}
    edit_params(tmp_path / "params.yaml", SMALL | own)
    monkeypatch.chdir(tmp_path)
    places = [str(place) for place in tiny_ingredients.places]

    def ran(command: str, before: list[str], after: list[str]) -> tuple[Counter[str], Counter[str]]:
        hashed: Counter[str] = Counter()
        parsed: Counter[str] = Counter()

        def counted(path: Path, read: Callable[..., Any], **how: Any) -> Any:
            parsed.update([path.stem])
            return read(path, **how)

        sha256, read_table, file = artefacts.sha256, parquet.read_table, parquet.ParquetFile
        with monkeypatch.context() as patch:
            patch.setattr(processes, "_dismissed", False)
            patch.setattr(artefacts, "sha256", lambda path: hashed.update([str(path)]) or sha256(path))
            patch.setattr(parquet, "read_table", lambda path, **how: counted(path, read_table, **how))
            patch.setattr(parquet, "ParquetFile", lambda path: counted(path, file))
            cli.app([command, TASK, *before, *places, *after], standalone_mode=False)
        return hashed, parsed

    return ran


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file() and path.name != artefacts.MANIFEST}


def test_a_student_proves_each_file_once(run: Run, tiny_ingredients: Ingredients):
    hashed, parsed = run("student", ["sid", "0"], ["students/sid-s0"])
    assert set(hashed.values()) == {1}
    needed = (tiny_ingredients.data, tiny_ingredients.teacher, tiny_ingredients.targets)
    assert set().union(*map(files, needed)) <= set(hashed)
    assert parsed == {"train": 1, "validation": 2}  # to tokenise them, and the labels once more to score it


def test_what_was_tokenised_once_is_not_parsed_again(run: Run):
    run("student", ["soft", "0"], ["students/soft-s0"])
    tokens._opened.clear()  # another process
    hashed, parsed = run("student", ["sid", "0"], ["students/sid-s0"])
    assert parsed == {"validation": 1}  # its labels
    assert set(hashed.values()) == {1}
    assert sum("tokens-" in path for path in hashed) == 2 * len(["tokens", "types", "start", "labels"])


def test_an_evaluation_of_several_models_proves_each_file_once(run: Run, tiny_ingredients: Ingredients, tmp_path: Path):
    for method in ("soft", "sid"):
        run("student", [method, "0"], [f"students/{method}-s0"])
    hashed, _ = run("evaluate", [], ["students", "points", "predictions"])
    assert set(hashed.values()) == {1}
    assert files(tiny_ingredients.data) | files(tiny_ingredients.teacher) <= set(hashed)
    assert not files(tiny_ingredients.targets) & set(hashed)  # they were scored when they were trained
    assert {f"students/{method}-s0/model.safetensors" for method in ("soft", "sid")} <= set(hashed)
