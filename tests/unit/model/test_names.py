"""Model names: where they lead, what identifies the weights behind them, and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcore.data import embedded
from kdcore.errors import UserError
from kdcore.model.names import check_length, identity, resolve, tokenizer_of
from tests import tiny


def test_a_folder_and_a_path_are_places_and_other_names_are_the_hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    assert resolve("mine") == Path("mine")
    assert resolve("~/mine") == tmp_path / "mine"
    assert resolve("./absent") == Path("./absent")
    assert resolve("/absent/model") == Path("/absent/model")
    assert resolve("bert-base-uncased") == "bert-base-uncased"
    assert resolve("google/electra-small-discriminator") == "google/electra-small-discriminator"


def test_the_embedded_model_is_where_it_was_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "folder", lambda: tmp_path)
    with pytest.raises(UserError, match="run `make embedded`"):
        resolve("embedded")
    (tmp_path / embedded.MODEL).mkdir(parents=True)
    assert resolve("embedded") == tmp_path / embedded.MODEL


def test_a_folders_identity_is_its_content(tmp_path: Path, tiny_folder: Callable[..., Path]):
    one, other = tmp_path / "one", tmp_path / "other"
    shutil.copytree(tiny_folder("bert"), one)
    shutil.copytree(one, other)
    assert identity(str(one), None) == identity(str(other), None)
    (other / "README.md").write_text("about the model")
    assert identity(str(one), None) == identity(str(other), None)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_byte_of_weights_config_or_tokenizer_is_another_identity(
    tmp_path: Path, tiny_folder: Callable[..., Path], name: str
):
    shutil.copytree(tiny_folder("bert"), tmp_path / "model")
    before = identity(str(tmp_path / "model"), None)
    content = (tmp_path / "model" / name).read_bytes()
    (tmp_path / "model" / name).write_bytes(content[:-1] + b" " + content[-1:])
    assert identity(str(tmp_path / "model"), None) != before


def test_a_path_without_a_model_has_no_identity(tmp_path: Path):
    with pytest.raises(UserError, match="no model here"):
        identity(str(tmp_path), None)
    with pytest.raises(UserError, match="no model here"):
        identity("./absent", None)


def test_an_unsupported_model_has_no_identity(tmp_path: Path):
    with pytest.raises(UserError, match="'mpnet' can't be captured"):
        identity(str(tiny.save_finetuned(tmp_path, tiny.UNSUPPORTED)), None)


def test_a_hub_model_that_cannot_be_reached_is_a_users_error():
    with pytest.raises(UserError, match="no-such-user/model: no model can be read"):
        identity("no-such-user/model", None)


def test_a_tokenizer_that_is_not_there_is_a_users_error(tmp_path: Path, tiny_folder: Callable[..., Path]):
    assert tokenizer_of(tiny_folder("bert")).model_max_length == tiny.MAX_TOKENS
    with pytest.raises(UserError, match=rf"{tmp_path}: no tokenizer can be read"):
        tokenizer_of(tmp_path)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_texts_are_no_longer_than_the_model_has_positions(family: str):
    config = tiny.config(family)
    check_length(config, 128, "mine")
    with pytest.raises(UserError, match=r"model\.max_length: at most 128 for mine, found 129"):
        check_length(config, 129, "mine")
