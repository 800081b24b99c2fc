"""The tokenizers of the models that params.yaml names, and how many tokens those take."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import tokenizers
from transformers import AutoTokenizer

from kdcore.artefacts import digest, write_json
from kdcore.console import say
from kdcore.errors import UserError
from kdcore.model.config import find_file, load_config, readable
from kdcore.model.families import positions
from kdcore.model.places import fingerprint, resolve

ODD = "The Ωmega ☃ of 2026, naïve"  # letters, digits, marks and signs that few vocabularies have
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
        vocabulary = tokenizer.get_vocab()
        if set(vocabulary) <= set(tokenizer.all_special_tokens):  # transformers makes one up, which knows no word
            raise UserError(name, f"{problem}: its files are missing, or hold no vocabulary")
        if contradictions := [*_contradictions(place, revision, tokenizer, vocabulary)]:
            raise UserError(name, contradictions)
    config = load_config(place, revision, labels={})
    with readable(name, "its tokenizer can't be used"):
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = _padding(tokenizer, vocabulary)
        if "auto_map" in tokenizer.init_kwargs:
            kind = type(tokenizer).__name__
            say(f"{name}: its tokenizer's own code (auto_map) never runs; transformers makes a {kind} of its files")
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


def _contradictions(
    place: str | Path, revision: str | None, tokenizer: Any, vocabulary: Mapping[str, int]
) -> Iterator[str]:
    """Where tokenizer.json gives other ids than the tokenizer, or than another file: either may have trained the model.

    transformers 4 reads all of tokenizer.json. Most classes of transformers 5 take its vocabulary, and make the rest.
    """
    file = find_file(place, "tokenizer.json", revision, needed=False)
    if file is None:
        return
    whole = tokenizers.Tokenizer.from_file(str(file))
    whole.no_truncation()
    whole.no_padding()
    for texts in ((ODD,), (ODD, ODD)):
        said, made = whole.encode(*texts), tokenizer(*texts)["input_ids"]
        if said.ids != made:
            own = tokenizer.convert_ids_to_tokens(made)
            first = next(pair for pair in zip_longest(said.tokens, own) if pair[0] != pair[1])
            yield (
                f"tokenizer.json and what transformers makes of it, a {type(tokenizer).__name__}, read {ODD!r} "
                f"differently, first {first[0]!r} and {first[1]!r}: if the model was trained by tokenizer.json, as by "
                "transformers 4, name PreTrainedTokenizerFast as tokenizer_class in tokenizer_config.json; else write "
                f"it anew: python -c \"from transformers import AutoTokenizer as T; T.from_pretrained('{place}')"
                f".save_pretrained('{place}')\""
            )
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
