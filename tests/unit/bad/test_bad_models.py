"""What people get wrong in their models.

Each ends the command in one message that names the place, the value and what is allowed, with exit code 2, without a
traceback, and nothing is half-written.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from kdcore import cli
from tests import on_disk, tiny
from tests.pipeline.conftest import SMALL
from tests.unit.raw_files import write_params

# Models: what is done to a good folder -> what the command says of it.


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tiny.model().state_dict(), folder / "pytorch_model.bin")


def shortened(by: int) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 if by == HALF else -by])

    return cut


def config(**changes: Any) -> Callable[[Path], None]:
    """The model's config, and the weights that fit it, with these changes."""

    def changed(folder: Path) -> None:
        found = AutoConfig.from_pretrained(folder)
        for key, value in changes.items():
            setattr(found, key, value)
        AutoModel.from_config(found).save_pretrained(folder)

    return changed


def said_by_config(**changes: Any) -> Callable[[Path], None]:
    """config.json alone with these changes: the weights are what they were."""

    def changed(folder: Path) -> None:
        found = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(found | changes))

    return changed


def renamed_token(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace('"lovely"', '"lonely"'))


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


HALF = 0
ROWS = {"teacher.rows": 32, "student.rows": 24}  # as many as the tiny task has
NO_MODEL, WEIGHTS = "no model here: a local model is a folder with config.json", "weights can't be read: "
TEACHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, NO_MODEL),
    "an empty folder": (lambda folder: [file.unlink() for file in folder.iterdir()], NO_MODEL),
    "no config": (without("config.json"), NO_MODEL),
    "no weights": (without("model.safetensors"), WEIGHTS),
    "pickled weights only": (pickled, WEIGHTS),
    "half of the weights": (shortened(HALF), WEIGHTS),
    "all but a byte of the weights": (shortened(1), WEIGHTS),
    "weights of another width": (said_by_config(hidden_size=64), WEIGHTS),
    "no tokenizer": (without("tokenizer.json", "tokenizer_config.json"), "no tokenizer can be read: "),
    "an unknown architecture": (
        said_by_config(model_type="no-such-thing"),
        "architecture 'no-such-thing' can't be captured",
    ),
    "an architecture that is no encoder": (said_by_config(model_type="gpt2"), "architecture 'gpt2' can't be captured"),
}
STUDENTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "other heads": (config(num_attention_heads=8), "num_attention_heads is 8, but the teacher at {teacher} has 4"),
    "another width": (config(hidden_size=64), "hidden_size is 64, but the teacher at {teacher} has 32"),
    "another vocabulary": (renamed_token, "its tokenizer is not that of the teacher at {teacher}: they differ in 'lo"),
    "too few layers": (config(num_hidden_layers=3), "num_hidden_layers is 3, but the teacher at {teacher} has 4"),
}


@pytest.fixture
def refused_model(
    tmp_path: Path,
    store: Path,
    tiny_ingredients: on_disk.Ingredients,
    tiny_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """refused_model(spoil, command): what it says of a copy of a good model that was spoiled, after its name."""

    def said(spoil: Callable[[Path], object], *command: object, **changes: Any) -> str:
        folder = shutil.copytree(tiny_folder("bert"), tmp_path / "model")
        spoil(folder)
        write_params(
            tmp_path / "params.yaml", SMALL | ROWS | {"data.path": str(tmp_path), "model.name": str(folder)} | changes
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["kdcore", *map(str, command)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        err = capsys.readouterr().err
        assert ended.value.code == 2
        assert "Traceback" not in err
        assert {path.name for path in tmp_path.iterdir()} <= {"model", "params.yaml", store.name}
        made = [*store.glob("*/result"), *store.glob("*/checkpoints")]
        assert {path.parent.name.partition("-")[0] for path in made} <= {"tokens"}  # of the data, which are good
        last = err.splitlines()[-1]
        assert last.startswith(f"{folder}: "), err
        return last.removeprefix(f"{folder}: ")

    return said


@pytest.mark.parametrize("name", TEACHERS)
def test_a_bad_model(refused_model: Callable[..., str], tiny_ingredients: on_disk.Ingredients, name: str):
    spoil, said = TEACHERS[name]
    assert refused_model(spoil, "teacher", "tiny", 0, tiny_ingredients.data, "out", "point.json").startswith(said)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_model_that_is_not_like_the_teacher(
    refused_model: Callable[..., str], tiny_ingredients: on_disk.Ingredients, name: str
):
    spoil, said = STUDENTS[name]
    found = tiny_ingredients
    command = ("student", "tiny", "sid", 0, *found.places, "out")
    assert refused_model(spoil, *command, **{"student.init": "pretrained"}).startswith(
        said.format(teacher=found.teacher)
    )
