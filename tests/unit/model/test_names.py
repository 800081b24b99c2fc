"""Model names: where they lead, what identifies the weights behind them, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from kdcore.data import embedded
from kdcore.errors import UserError
from kdcore.model.names import check_length, check_vocabulary, save_tokenizer, tokenizer_identity, tokenizer_of
from kdcore.model.places import identity, resolve
from tests import tiny


def test_a_folder_and_a_path_are_places_and_other_names_are_the_hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    assert resolve("mine") == Path("mine")
    assert resolve("~/mine") == tmp_path / "mine"
    assert resolve("./absent") == Path("./absent")
    assert resolve("/absent/model") == Path("/absent/model")
    assert resolve("~nobody-of-this-name/model") == Path("~nobody-of-this-name/model")
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
    with pytest.raises(UserError, match=r"^model\.max_length: at most 128 for mine, found 129"):
        check_length(config, 129, "mine")


# Tokenizers that do not fit


def changed(folder: Path, file: str, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The folder, with one of its JSON files changed."""
    content = json.loads((folder / file).read_text(encoding="utf-8"))
    change(content)
    (folder / file).write_text(json.dumps(content))
    return folder


def test_a_tokenizer_without_padding_pads_with_what_attention_masks(tmp_path: Path):
    folder = changed(tiny.save_finetuned(tmp_path), "tokenizer_config.json", lambda config: config.pop("pad_token"))
    assert tokenizer_of(folder).pad_token == "[PAD]"


def test_a_tokenizer_that_knows_no_padding_token_pads_with_another_special_one(tmp_path: Path):
    folder = changed(tiny.save_finetuned(tmp_path), "tokenizer_config.json", lambda config: config.pop("pad_token"))

    def forget(content: dict[str, Any]) -> None:
        content["model"]["vocab"]["padding"] = content["model"]["vocab"].pop("[PAD]")
        content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "[PAD]"]

    assert tokenizer_of(changed(folder, "tokenizer.json", forget)).pad_token == "[SEP]"


@pytest.mark.parametrize("lacks", ["any", "single", "pair"])
def test_a_tokenizer_that_adds_no_cls_is_refused(tmp_path: Path, lacks: str):
    def change(content: dict[str, Any]) -> None:
        if lacks == "any":
            content["post_processor"] = None
        else:
            content["post_processor"][lacks].pop(0)

    folder = changed(tiny.save_finetuned(tmp_path), "tokenizer.json", change)
    with pytest.raises(UserError, match=r"its tokenizer puts no \[CLS\] before a text"):
        tokenizer_of(folder)


def test_ids_beyond_the_embeddings_are_refused_with_both_sizes(tmp_path: Path):
    words = tiny.tokenizer()
    rows = len(words)
    tiny.save_finetuned(tmp_path)
    words.add_tokens(["brandnew", "newer"])
    words.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=rf"token ids up to {rows + 1}, its embeddings {rows} rows"):
        tokenizer_of(tmp_path)


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_a_model_of_one_token_type_is_given_none(tmp_path: Path, family: str):
    folder = changed(tiny.save_finetuned(tmp_path, family), "config.json", lambda c: c.update(type_vocab_size=1))
    tokenizer = tokenizer_of(folder)
    assert "token_type_ids" not in tokenizer("a", "b")
    tokenizer.save_pretrained(tmp_path / "saved")
    shutil.copy(folder / "config.json", tmp_path / "saved")
    assert "token_type_ids" not in tokenizer_of(tmp_path / "saved")("a", "b")


def test_a_tokenizers_broken_files_are_refused(tmp_path: Path):
    for number, content in enumerate(("", "{broken", "[]", "{}", '{"model": {"type": "NoSuch"}}')):
        folder = tiny.save_finetuned(tmp_path / str(number))
        (folder / "tokenizer.json").write_text(content)
        with pytest.raises(UserError, match=r"its tokenizer can't be used|no tokenizer can be read"):
            tokenizer_of(folder)


# Files that contradict each other

WORDS = "The Film was LOVELY, naïve 2026"
NORMALISED = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
BERT = {"tokenizer_class": "BertTokenizer"}
OTHERWISE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # what tokenizer_config.json and tokenizer.json say
    "cased by its config": (BERT | {"do_lower_case": False}, {}),
    "cased by tokenizer.json": (BERT, {"normalizer": {"type": "BertNormalizer", **NORMALISED, "lowercase": False}}),
    "accents kept": (BERT, {"normalizer": {"type": "BertNormalizer", **NORMALISED, "strip_accents": False}}),
    "words split otherwise": (BERT, {"pre_tokenizer": {"type": "WhitespaceSplit"}}),
    "no special tokens": (BERT, {"post_processor": None}),
    "another class": ({"tokenizer_class": "RobertaTokenizer"}, {}),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_tokenizer_that_transformers_makes_otherwise_than_tokenizer_json_says_is_refused(tmp_path: Path, name: str):
    """With the two ways out, each of which is right: tokenizer.json as it is, or what transformers makes of it."""
    config, content = OTHERWISE[name]
    folder = changed(tiny.save_finetuned(tmp_path), "tokenizer_config.json", lambda said: said.update(config))
    changed(folder, "tokenizer.json", lambda said: said.update(content))
    written = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(WORDS).ids
    made = AutoTokenizer.from_pretrained(folder)(WORDS)["input_ids"]
    assert written != made
    with pytest.raises(UserError, match=r"if the model was trained by tokenizer\.json, as by") as error:
        tokenizer_of(folder)
    other = shutil.copytree(folder, tmp_path / "other")
    changed(other, "tokenizer_config.json", lambda said: said.update(tokenizer_class="PreTrainedTokenizerFast"))
    line = str(error.value).split('python -c "')[1].removesuffix('"')
    exec(line)  # noqa: S102
    for place, ids in ((folder, made), (other, written)):
        if name not in ("no special tokens", "another class"):  # refused, and of more tokens than the embeddings have
            assert tokenizer_of(place)(WORDS)["input_ids"] == ids


@pytest.mark.parametrize("name", ["vocab.txt", "vocab.json"])
def test_a_vocabulary_that_is_not_the_one_of_tokenizer_json_is_refused(tmp_path: Path, name: str):
    folder = tiny.save_finetuned(tmp_path)
    ids = dict(sorted(tiny.tokenizer().get_vocab().items(), key=lambda entry: entry[1]))

    def write(ids: dict[str, int], *more: str) -> None:
        tokens = sorted(ids, key=ids.__getitem__)
        (folder / name).write_text("\n".join([*tokens, *more]) if name == "vocab.txt" else json.dumps(ids))

    for same in (ids, dict(list(ids.items())[:50])):
        write(same, "another 7", "")
        assert tokenizer_of(folder)("a film") == tiny.tokenizer()("a film")
    write(ids | {"film": ids["plot"], "plot": ids["film"]})
    with pytest.raises(UserError, match=rf"{name} and tokenizer.json number tokens differently \('(film|plot)': "):
        tokenizer_of(folder)


def test_tokenizers_of_one_file_that_split_special_tokens_or_not_are_two(tmp_path: Path):
    whole = tokenizer_of(tiny.save_finetuned(tmp_path))
    split = tokenizer_of(
        changed(tmp_path, "tokenizer_config.json", lambda said: said.update(split_special_tokens=True))
    )
    assert whole("a [SEP] film")["input_ids"] != split("a [SEP] film")["input_ids"]
    assert tokenizer_identity(whole) != tokenizer_identity(split)


def test_a_tokenizers_own_code_is_named_and_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    own = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    folder = changed(tiny.save_finetuned(tmp_path / "model"), "tokenizer_config.json", lambda said: said.update(own))
    save_tokenizer(tokenizer_of(folder), tmp_path / "student")
    assert "its tokenizer's own code (auto_map) never runs" in capsys.readouterr().out
    assert "auto_map" not in json.loads((tmp_path / "student/tokenizer_config.json").read_text())


def test_other_tokens_than_the_teachers_are_refused(tmp_path: Path, tiny_folder: Callable[..., Path]):
    check_vocabulary(str(tiny_folder("bert")), None, tiny_folder("bert"))
    with pytest.raises(UserError, match="its tokenizer is not that of the teacher"):
        check_vocabulary(str(tiny_folder("roberta")), None, tiny_folder("bert"))


def test_a_tokenizers_files_have_the_names_that_transformers_4_knows(tmp_path: Path):
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": ["film"]})
    save_tokenizer(tokenizer_of(tiny.save_finetuned(tmp_path / "read")), tmp_path / "plain")
    save_tokenizer(tokenizer, tmp_path / "extra")
    plain, extra = (json.loads((tmp_path / name / "tokenizer_config.json").read_text()) for name in ("plain", "extra"))
    assert plain["tokenizer_class"] == extra["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert extra["additional_special_tokens"] == ["film"]
    assert not {"is_local", "local_files_only", "extra_special_tokens"} & {*plain, *extra}
    again = AutoTokenizer.from_pretrained(tmp_path / "extra")
    assert again.extra_special_tokens == ["film"]
    assert again("a film, films") == tokenizer("a film, films")


def test_a_tokenizer_that_pads_on_the_left_pads_on_the_right_also_where_it_is_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tiny.save_finetuned(tmp_path / "model")
    tokenizer = tokenizer_of(changed(folder, "tokenizer_config.json", lambda said: said.update(padding_side="left")))
    assert "pads on the left, where the classifier reads [CLS]; it pads on the right here" in capsys.readouterr().out
    save_tokenizer(tokenizer, tmp_path / "student")
    for own in (tokenizer, AutoTokenizer.from_pretrained(tmp_path / "student")):
        ids = own(["a film", "its music was lovely"], padding=True)["input_ids"]
        assert [row[0] for row in ids] == [own.cls_token_id] * 2


def test_a_vocabulary_as_sentencepiece_saved_it_is_read(tmp_path: Path):
    """As DeBERTa-v3 is published: spm.model, and no tokenizer.json."""
    words = tmp_path / "words.txt"
    words.write_text("\n".join(tiny.texts(64)["sentence"]))
    pieces = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    numbered = {f"{name}_id": number for number, name in enumerate(pieces)}
    named = {f"{name}_piece": piece for name, piece in pieces.items()}
    folder = tmp_path / "model"
    tiny.model("deberta-v2").save_pretrained(folder)
    SentencePieceTrainer.train(
        input=str(words), model_prefix=str(folder / "spm"), vocab_size=40, minloglevel=2, **numbered, **named
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    own = SentencePieceProcessor(model_file=str(folder / "spm.model"))
    text = "a lovely film was good"
    found = tokenizer_of(folder).encode(text)
    assert found == [own.piece_to_id("[CLS]"), *own.encode(text), own.piece_to_id("[SEP]")]
