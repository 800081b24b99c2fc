"""A text as its tokenizer cuts it, in pieces that can be read whatever the tokenizer's own marks are."""

from typing import Any

WORD_STARTS = ("Ġ", "▁")  # byte-level BPE and SentencePiece mark where a word starts


def readable(tokenizer: Any, texts: tuple[str, ...], max_length: int) -> tuple[str, ...]:
    """The tokens of one example (one text or a pair), cut to `max_length` as for the model.

    A piece that continues a word starts with ##, as WordPiece writes it. What the model does not see (case,
    unknown words) is not shown either.
    """
    encoded = tokenizer(*texts, truncation=True, max_length=max_length, verbose=False)
    tokens, words = encoded.tokens(), encoded.word_ids()
    if not any(token.startswith(WORD_STARTS) for token in tokens):
        return tuple(tokens)
    continues = [word is not None and word == before for before, word in zip([None, *words], words, strict=False)]
    return tuple(
        token if word is None else "##" * goes_on + _plain(tokenizer, token)
        for token, word, goes_on in zip(tokens, words, continues, strict=True)
    )


def _plain(tokenizer: Any, token: str) -> str:
    """A token without its mark, its bytes as the letters that they stand for; a lone mark is a space."""
    return tokenizer.convert_tokens_to_string([token]).strip().lstrip("▁") or "␣"
