"""A finished model whose files are not as they were written is refused, whichever file it is and whatever befell it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdcore.artefacts import seal
from kdcore.distil.checkpoint import Record
from kdcore.distil.finished import Finished
from kdcore.distil.folder import write_model
from kdcore.errors import UserError
from kdcore.model.encoder import Encoder
from tests import tiny

RERUN = "dvc repro -f teacher"


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


DAMAGE: dict[Callable[[Path], None], str] = {
    flip: "its content is not what was written (sha256 differs)",
    truncate: "has {} bytes where {} were written",
    Path.unlink: "is missing",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a finished model, by name."""
    folder = tmp_path_factory.mktemp("run")
    write_model(folder, Encoder(tiny.model("bert", 2)), tiny.tokenizer("bert"), {"max_length": 16}, Record())
    seal(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def folder(written: dict[str, bytes], tmp_path: Path) -> Path:
    for name, content in written.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "run.json", "history.csv"])
def test_damage_is_named_with_the_file_and_what_to_run(folder: Path, name: str, damage: Callable[[Path], None]):
    Finished.open(folder, RERUN)
    size = (folder / name).stat().st_size
    damage(folder / name)
    with pytest.raises(UserError) as raised:
        Finished.open(folder, RERUN)
    assert str(raised.value) == f"{folder}: {name}: {DAMAGE[damage].format(size - 1, size)}; run `{RERUN}`"


def test_the_weights_of_two_models_that_changed_places_are_refused(folder: Path):
    Encoder(tiny.model("bert", 2, seed=1)).model.save_pretrained(folder / "other")
    (folder / "other/model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors: its content is not what was written .*; run `dvc repro"):
        Finished.open(folder, RERUN)
