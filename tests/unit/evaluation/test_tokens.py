"""Tokens that can be read: WordPiece's own, and those of byte-level BPE and SentencePiece without their marks."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from kdcore.evaluation.attention import readable
from tests import tiny

SPECIAL = {"<s>": 0, "</s>": 1, "<unk>": 2}


def fast(backend: Tokenizer) -> PreTrainedTokenizerFast:
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def byte_level() -> PreTrainedTokenizerFast:
    """Knows single bytes, `Ġfilm`, and no other merge."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*SPECIAL, *alphabet, "Ġf", "il", "ilm", "Ġfilm"]
    merges = [("Ġ", "f"), ("i", "l"), ("il", "m"), ("Ġf", "ilm")]
    backend = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return fast(backend)


def sentence_piece() -> PreTrainedTokenizerFast:
    pieces = [*((name, 0.0) for name in SPECIAL), ("▁fine", -1.0), ("▁film", -1.0), ("s", -2.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return fast(backend)


def test_wordpiece_is_shown_as_it_is():
    assert readable(tiny.tokenizer(), ("The filmx",), 16) == ("[CLS]", "the", "film", "##x", "[SEP]")


def test_a_byte_level_token_loses_its_mark_and_a_continued_word_gets_one():
    assert readable(byte_level(), ("a film so",), 16) == ("<s>", "a", "film", "␣", "##s", "##o", "</s>")


def test_a_sentencepiece_token_loses_its_mark():
    assert readable(sentence_piece(), ("fine films",), 16) == ("<s>", "fine", "film", "##s", "</s>")


def test_a_letter_of_several_bytes_is_never_shown_as_other_letters():
    tokens = readable(byte_level(), ("é film",), 16)
    assert len(tokens) == 5
    assert "Ã" not in "".join(tokens)


@pytest.mark.parametrize("texts", [("the film was good",), ("the film", "was good")])
def test_as_many_tokens_as_the_model_sees(texts):
    assert len(readable(tiny.tokenizer(), texts, 5)) == 5
