"""The tokenizers of the models that params.yaml names, and how many tokens those take."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tokenizers
import transformers
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import convert_slow_tokenizer

from kdcore.artefacts import digest, write_json
from kdcore.console import say
from kdcore.errors import UserError
from kdcore.model.config import find_file, load_config, readable
from kdcore.model.families import positions
from kdcore.model.places import fingerprint, resolve

ODD = "The Ωmega ☃ of 2026, naïve"  # letters, digits, marks and signs that few vocabularies have
PROBES = (  # where the normalisers and splitters of two tokenizers may part
    ODD,
    " It's  a\tfilm's\u00a0plot:\r\n$3.50 (50%) @user #tag, ÉCOLE Straße  ",
    "ﬁne Ａ１ ½ … “quotes” cafe\u0301 zero\u200bwidth so\u00adft 中文字 日本語 한국어 İı ▁x " + "long" * 30,
)
SPECIAL = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
VOCABULARIES: dict[str, Callable[[str], dict[str, int]]] = {  # file -> its text -> the id of each token
    "vocab.txt": lambda text: {token: index for index, token in enumerate(text.split("\n"))},
    "vocab.json": json.loads,
}


def tokenizer_of(place: str | Path, revision: str | None = None) -> Any:
    """The tokenizer of the model at `place`: it puts [CLS] first, pads, and gives only ids that have an embedding.

    Where it has no padding token, another special token pads: attention masks it. Where it pads on the left, it pads on
    the right from here on: the classifier reads the first token. Where the model knows one type of token, it gives no
    types. Raises UserError where the model has no tokenizer, or one that does not fit it.
    """
    name = str(place)
    problem = "no tokenizer can be read"
    with readable(name, problem):
        _check_template(Path(place) / "tokenizer.json")
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # transformers makes one up, of no word
            raise UserError(name, f"{problem}: its files are missing, or hold no vocabulary")
        if "auto_map" in tokenizer.init_kwargs:
            kind = type(tokenizer).__name__
            say(f"{name}: its tokenizer's own code (auto_map) never runs; transformers makes a {kind} of its files")
        if tokenizer.is_fast:  # a class in Python (PhoBERT's, BERTweet's) reads other files in any version
            tokenizer = _as_written(place, revision, tokenizer)
            if contradictions := [*_contradictions(place, revision, tokenizer.get_vocab())]:
                raise UserError(name, contradictions)
    vocabulary = tokenizer.get_vocab()
    config = load_config(place, revision, labels={})
    with readable(name, "its tokenizer can't be used"):
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = _padding(tokenizer, vocabulary)
        if tokenizer.padding_side != "right":
            say(f"{name}: its tokenizer pads on the left, where the classifier reads [CLS]; it pads on the right here")
            tokenizer.padding_side = "right"
        if getattr(config, "type_vocab_size", 1) < 2:
            tokenizer.model_input_names = [key for key in tokenizer.model_input_names if key != "token_type_ids"]
        problems = _misfits(tokenizer, vocabulary, config)
    if problems:
        raise UserError(name, problems)
    return tokenizer


def tokenizer_identity(tokenizer: Any) -> str:
    """What determines the ids that a tokenizer gives to a text, wherever it was read from."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # one that is written in Python, or by another library
        with tempfile.TemporaryDirectory() as folder:
            save_tokenizer(tokenizer, Path(folder))
            parts: Any = fingerprint(Path(folder))
    else:
        parts = json.loads(backend.to_str())
        del parts["truncation"], parts["padding"]  # those of the last call
    kept = ("pad_token_id", "model_input_names", "truncation_side", "split_special_tokens")
    facts = {name: getattr(tokenizer, name) for name in kept}
    return digest({"parts": parts, **facts, "tokenizers": tokenizers.__version__})


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer's files so that transformers 4 reads them too.

    transformers 5 has other names for the class of a tokenizer that is no model's own, and for the list of further
    special tokens; both versions know the old ones. Where the tokenizer was read from is left out, and code of its own.
    """
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    said = json.loads(file.read_text(encoding="utf-8"))
    said = {key: value for key, value in said.items() if key not in ("auto_map", "is_local", "local_files_only")}
    if said.get("tokenizer_class") == "TokenizersBackend":
        said["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(said.get("extra_special_tokens"), list):
        said["additional_special_tokens"] = said.pop("extra_special_tokens")
    write_json(file, dict(sorted(said.items())))


def _check_template(file: Path) -> None:
    """Raises ValueError where a template adds tokens that it does not define: tokenizers would panic over them."""
    processor = (json.loads(file.read_text(encoding="utf-8")).get("post_processor") or {}) if file.is_file() else {}
    for part in (processor, *processor.get("processors", ())):
        pieces = (*part.get("single", ()), *part.get("pair", ()))
        used = {piece["SpecialToken"]["id"] for piece in pieces if "SpecialToken" in piece}
        if unknown := used - set(part.get("special_tokens", ())):
            raise ValueError(f"tokenizer.json: its post_processor adds {min(unknown)!r}, which it does not define")


def _as_written(place: str | Path, revision: str | None, tokenizer: Any) -> Any:
    """The tokenizer as transformers 4 reads its files, where what transformers 5 makes of them gives other ids.

    transformers 4 takes all of tokenizer.json, and most models were trained so. Most classes of transformers 5 take its
    vocabulary and make the rest anew: DeBERTa-v3's without the normalisation of SentencePiece, DeBERTa's with other
    pairs. Both put the settings of tokenizer_config.json over a BertNormalizer and over the first space of ByteLevel.
    """
    inputs = {"model_input_names": tokenizer.model_input_names}
    named = {f"{name}_token": getattr(tokenizer, f"{name}_token") for name in SPECIAL}
    if file := find_file(place, "tokenizer.json", revision, needed=False):
        known = tokenizers.Tokenizer.from_file(str(file)).get_vocab()
        special = {name: token for name, token in named.items() if token in known}
        whole = PreTrainedTokenizerFast.from_pretrained(place, revision=revision or "main", **special, **inputs)
    elif find_file(place, "spm.model", revision, needed=False):  # DeBERTa-v3 as it is published
        whole = PreTrainedTokenizerFast(tokenizer_object=convert_slow_tokenizer(tokenizer), **named, **inputs)
        whole.model_max_length = tokenizer.model_max_length
    else:
        return tokenizer
    written, made = whole.backend_tokenizer, tokenizer.backend_tokenizer
    for part, kind in (("normalizer", BertNormalizer), ("pre_tokenizer", ByteLevel)):
        if isinstance(getattr(written, part), kind) and isinstance(getattr(made, part), kind):
            setattr(written, part, getattr(made, part))
    added = "".join(f" {token} x{token}x" for token in whole.get_added_vocab() if token not in named.values())
    for text in (*PROBES, added):
        if any(whole(*texts)["input_ids"] != tokenizer(*texts)["input_ids"] for texts in ((text,), (text, text))):
            say(
                f"{place}: its tokenizer is read as by transformers 4, from the whole of its file; transformers "
                f"{transformers.__version__} makes a {type(tokenizer).__name__} of it that reads {text!r} otherwise"
            )
            return whole
    return tokenizer


def _contradictions(place: str | Path, revision: str | None, vocabulary: Mapping[str, int]) -> Iterator[str]:
    """Where another file numbers tokens otherwise than tokenizer.json: either may have trained the model."""
    if find_file(place, "tokenizer.json", revision, needed=False) is None:
        return
    for name, read in VOCABULARIES.items():
        listed = find_file(place, name, revision, needed=False)
        ids = read(listed.read_text(encoding="utf-8")) if listed else {}
        for token in [token for token, index in ids.items() if vocabulary.get(token, index) != index][:1]:
            yield (
                f"{name} and tokenizer.json number tokens differently ({token!r}: {ids[token]} and "
                f"{vocabulary[token]}): remove the one that the model was not trained with"
            )


def _padding(tokenizer: Any, vocabulary: dict[str, int]) -> str:
    usual = [token for token in ("[PAD]", "<pad>") if token in vocabulary]
    special = [tokenizer.sep_token, tokenizer.eos_token, tokenizer.cls_token, tokenizer.unk_token]
    return next(token for token in (*usual, *special) if token is not None)


def _misfits(tokenizer: Any, vocabulary: dict[str, int], config: Any) -> list[str]:
    tried = [tokenizer(*texts, return_special_tokens_mask=True) for texts in ((ODD,), (ODD, ODD))]
    most = max(*vocabulary.values(), *(max(one["input_ids"]) for one in tried), tokenizer.pad_token_id)
    problems = []
    if any(one["special_tokens_mask"][0] != 1 for one in tried):
        problems.append(
            "its tokenizer puts no [CLS] before a text (tokenizer.json: post_processor), and the classifier reads it "
            "from there"
        )
    if most >= config.vocab_size:
        problems.append(
            f"its tokenizer has token ids up to {most}, its embeddings {config.vocab_size} rows (config.json: "
            "vocab_size): save model and tokenizer together, after resize_token_embeddings"
        )
    types = getattr(config, "type_vocab_size", 1)
    if "token_type_ids" in tokenizer.model_input_names and max(tokenizer(ODD, ODD)["token_type_ids"]) >= types:
        problems.append(f"its tokenizer gives token types that the model has not: it knows {types} (type_vocab_size)")
    return problems


def check_length(config: Any, max_length: int, name: str | Path) -> None:
    """Raises UserError where the model has fewer positions than `max_length` tokens need."""
    most = positions(config.to_dict())
    if most is not None and max_length > most:
        raise UserError("model.max_length", f"at most {most} for {name}, found {max_length}")


def check_vocabulary(pretrained: str, revision: str | None, teacher: Path) -> None:
    """Raises UserError where two tokenizers differ in a token, or in its id.

    A student is fed by its teacher's tokenizer, so its embeddings must mean the same tokens.
    """
    own = tokenizer_of(resolve(pretrained), revision=revision).get_vocab()
    wanted = tokenizer_of(teacher).get_vocab()
    if own != wanted:
        token = min(word for word, _ in own.items() ^ wanted.items())
        raise UserError(
            pretrained,
            f"its tokenizer is not that of the teacher at {teacher}: they differ in {token!r}; "
            "a student can't start from these embeddings, let it start from the teacher (student.init)",
        )
