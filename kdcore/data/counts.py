"""How many tokens prepared rows have, by a model's tokenizer.json alone. No transformers, and so no torch, here."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from kdcore.artefacts import digest, place_of_store, sha256, write_bytes
from kdcore.data.prepared import Data

CHUNK = 4096  # rows that are in memory at once


def counted(data: Data, split: str, rows: int, tokenizer: Path, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) tokens of the first `rows` rows of a split, special ones included; (N,) whether a row has a label.

    tokenizer: the file. They are counted once, and kept in the store. Raises ValueError where the file is none.
    """
    import tokenizers

    what = [data.fingerprint, split, rows, sha256(tokenizer), max_length, tokenizers.__version__]
    note = place_of_store() / "counts" / digest(what)
    if note.is_file():
        found = np.frombuffer(note.read_bytes(), np.int32).reshape(2, -1)
    else:
        found = _count(data, split, rows, tokenizer, max_length)
        with suppress(OSError):  # a store that is read-only
            write_bytes(note, found.tobytes())
    return found[0], found[1].astype(bool)


def _count(data: Data, split: str, rows: int, file: Path, max_length: int) -> np.ndarray:
    """(2, N) int32: tokens, and 1 where there is a label."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # it raises nothing more particular
        raise ValueError(f"{file}: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    parts = [np.empty((2, 0), np.int32)]
    for table in data.tables(split, 0, rows, CHUNK):
        texts = table.column("text_a").to_pylist()
        if table.column("text_b").null_count < len(table):
            texts = [*zip(texts, table.column("text_b").to_pylist(), strict=True)]
        lengths = [len(one.ids) for one in tokenizer.encode_batch_fast(texts)]
        parts.append(np.asarray([lengths, table.column("label").is_valid().to_pylist()], np.int32))
    return np.concatenate(parts, axis=1)
