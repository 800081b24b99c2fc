"""Model names: where they lead, what identifies the weights behind them, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
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


# Files that say different things: which of them transformers 4 read, is what trained the model

WORDS = "The Film was LOVELY, naïve 2026"
NORMALISED = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
CASED = {"normalizer": {**NORMALISED, "lowercase": False}}
BERT = {"tokenizer_class": "BertTokenizer"}
OTHERWISE: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    # tokenizer_config.json, tokenizer.json, a text, and its tokens in transformers 4.57 (its file, its config over it)
    "cased by its config": (BERT | {"do_lower_case": False}, {}, "Film film", "[UNK] film"),
    "cased by tokenizer.json": (BERT, CASED, "Film film", "film film"),
    "cased by both": (BERT | {"do_lower_case": False}, CASED, "Film film", "[UNK] film"),
    "accents kept": (
        BERT,
        {"normalizer": {**NORMALISED, "strip_accents": False, "lowercase": True}},
        "é film",
        "e film",
    ),
    "Chinese not split": (BERT | {"tokenize_chinese_chars": False}, {}, "中中 film", "[UNK] film"),
    "words split otherwise": (BERT, {"pre_tokenizer": {"type": "WhitespaceSplit"}}, "it's film", "[UNK] film"),
    "another normaliser": (
        BERT,
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}},
        "ﬁlm Ａ",
        "film a",
    ),
    # As Korean RoBERTas were saved, whose tokens are WordPiece's, and models of many languages by another class.
    "another class": ({"tokenizer_class": "RobertaTokenizer"}, {}, "Film's", "film ' s"),
    "no class": ({"tokenizer_class": None}, {}, "Film's", "film ' s"),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_tokenizer_is_read_as_transformers_4_reads_it_and_saved_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    config, content, text, tokens = OTHERWISE[name]
    folder = changed(tiny.save_finetuned(tmp_path / "model"), "tokenizer_config.json", lambda said: said.update(config))
    changed(folder, "tokenizer.json", lambda said: said.update(content))
    tokenizer = tokenizer_of(folder)
    assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == ["[CLS]", *tokens.split(), "[SEP]"]
    made = AutoTokenizer.from_pretrained(folder)(text)
    assert ("is read as by transformers 4" in capsys.readouterr().out) == (tokenizer(text) != made)
    save_tokenizer(tokenizer, tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")(text) == tokenizer(text)
    assert tokenizer.pad_token == "[PAD]"


def test_a_tokenizer_json_without_cls_is_refused_also_where_transformers_5_adds_one(tmp_path: Path):
    folder = changed(tiny.save_finetuned(tmp_path), "tokenizer_config.json", lambda said: said.update(BERT))
    changed(folder, "tokenizer.json", lambda said: said.update(post_processor=None))
    with pytest.raises(UserError, match=r"its tokenizer puts no \[CLS\] before a text"):
        tokenizer_of(folder)


def test_a_deberta_v3_normalises_as_its_tokenizer_json_says(tmp_path: Path):
    """transformers 5 makes it anew without the normalisation that transformers 4 took from spm.model."""
    vocabulary = [
        [piece, -float(score)] for score, piece in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "▁fi", "ne", "▁a"])
    ]
    backend = Tokenizer(models.Unigram([tuple(entry) for entry in vocabulary], unk_id=3))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    folder = tiny.save_finetuned(tmp_path, "deberta-v2")
    (folder / "tokenizer.json").write_text(backend.to_str())
    said = {"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": False, "vocab_type": "spm"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    assert AutoTokenizer.from_pretrained(folder)("ﬁne")["input_ids"] != [1, 4, 5, 2]
    tokenizer = tokenizer_of(folder)
    assert tokenizer("ﬁne")["input_ids"] == [1, 4, 5, 2]
    assert tokenizer("ﬁne", "a")["input_ids"] == [1, 4, 5, 2, 6, 2]


def test_a_tokenizer_json_that_no_class_reads_changes_nothing(tmp_path: Path):
    """As PhoBERT is published: its class in Python reads vocab.txt and bpe.codes, in transformers 4 and 5."""
    folder = tiny.save_finetuned(tmp_path, "roberta")
    (folder / "vocab.txt").write_text("film 9\nit 8\n")
    (folder / "bpe.codes").write_text("f i 9\nfi l 8\nfil m</w> 7\ni t</w> 6\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PhobertTokenizer"}))
    tokenizer = tokenizer_of(folder)
    assert tokenizer("it film")["input_ids"] == [0, 5, 4, 2]


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
    read = tokenizer_of(folder)
    save_tokenizer(read, tmp_path / "saved")
    for text in ("a lovely film was good", "ａ ﬁlm\twas … good"):  # SentencePiece normalises the second
        ids = [own.piece_to_id("[CLS]"), *own.encode(text), own.piece_to_id("[SEP]")]
        assert read.encode(text) == AutoTokenizer.from_pretrained(tmp_path / "saved").encode(text) == ids
