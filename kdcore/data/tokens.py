"""The rows of a prepared split → token ids in files, made once: every command and process maps them into memory."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from kdcore import processes
from kdcore.artefacts import digest, linking, read_manifest, store, write_json
from kdcore.code import code_digest
from kdcore.console import progress
from kdcore.data.examples import Examples, encode
from kdcore.data.prepared import Data
from kdcore.model.names import tokenizer_identity
from kdcore.runs import open_run

CHUNK = 4096  # rows that are tokenised together: a tokenizer's lists take 200 bytes a token
FEWEST = 2**14  # rows that are tokenised where fewer are asked for
STATE = "state.json"

_opened: dict[str, Examples] = {}  # what this process has proved and mapped


def tokenised(data: Data, split: str, tokenizer: Any, max_length: int, rows: int | None = None) -> Examples:
    """The first `rows` rows of a split (None: all) as examples; texts beyond `max_length` tokens are truncated.

    They are a run of the store, `tokens-…`, which each command makes or finds. Numbers of rows between two powers of
    two share one. Raises UserError for an absent split.
    """
    wanted = data.take(split, rows)
    made = rows_made(wanted, data.splits[split])
    what = {
        "data": data.fingerprint,
        "split": split,
        "rows": made,
        "tokenizer": tokenizer_identity(tokenizer),
        "max_length": max_length,
        "code": code_digest(__name__),
    }
    key = digest([str(store()), what])
    if key not in _opened:
        with processes.apart(), open_run("tokens", what) as run:
            if not run.finished:
                partial = run.folder / "partial"
                partial.mkdir(exist_ok=True)
                facts = _write(partial, data, split, made, tokenizer, max_length)
                run.finish(linking(partial), **facts)
            _opened[key] = _mapped(run.result, tokenizer.pad_token_id)
    return _opened[key].first(wanted)


def rows_made(wanted: int, there: int) -> int:
    """How many rows are tokenised where `wanted` of those that are there are asked for."""
    return min(there, max(FEWEST, 1 << (wanted - 1).bit_length()))


def token_bytes(tokens: int, rows: int, largest: int, typed: bool) -> int:
    """Bytes of the files of so many tokens and rows. largest: token id; typed: whether the tokenizer gives types."""
    return tokens * (width(largest).itemsize + typed) + (2 * rows + 1) * 8


def width(largest: int) -> np.dtype[Any]:
    """The type of ids that are `largest` at most."""
    return np.dtype(np.uint16 if largest < 2**16 else np.uint32)


def _write(folder: Path, data: Data, split: str, rows: int, tokenizer: Any, max_length: int) -> dict[str, Any]:
    """Write the flat arrays of Examples into `folder`, a file each; chunks that are there already are kept.

    Returns the facts that reading needs: the types of the arrays, and whether there are token types.
    """
    typed = "token_type_ids" in tokenizer.model_input_names
    ids = width(max(tokenizer.pad_token_id, *tokenizer.get_vocab().values()))
    kinds = {"tokens": ids, **({"types": np.dtype(np.uint8)} if typed else {})}
    kinds |= {"start": np.dtype(np.int64), "labels": np.dtype(np.float64)}
    done = _resumed(folder, kinds)
    with progress(f"{data.task.name}/{split}: tokens", rows, done["labels"]) as update:
        for frame in data.frames(split, done["labels"], rows, CHUNK):
            some = encode(tokenizer, frame, max_length)
            start = some.start if not done["start"] else some.start[1:] + done["tokens"]
            parts = {"tokens": some.tokens, "start": start, "labels": some.labels}
            parts |= {} if some.types is None else {"types": some.types}
            for name, values in parts.items():
                with (folder / f"{name}.bin").open("ab") as file:
                    file.write(_narrow(values, kinds[name]).tobytes())
                done[name] += len(values)
            write_json(folder / STATE, done)
            update(len(frame))
    return {"kinds": {name: kind.name for name, kind in kinds.items()}}


def _resumed(folder: Path, kinds: dict[str, np.dtype[Any]]) -> dict[str, int]:
    """Array -> numbers of it that are written; what a killed process wrote beyond them is cut off."""
    state, files = folder / STATE, {name: folder / f"{name}.bin" for name in kinds}
    for file in files.values():
        file.touch()
    done = json.loads(state.read_text(encoding="utf-8")) if state.is_file() else dict.fromkeys(kinds, 0)
    if any(files[name].stat().st_size < done[name] * kind.itemsize for name, kind in kinds.items()):
        done = dict.fromkeys(kinds, 0)  # the machine went down before the numbers were on its disk
    for name, kind in kinds.items():
        os.truncate(files[name], done[name] * kind.itemsize)
    return done


def _narrow(values: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    """The same numbers in another type. Raises ValueError where one does not fit it."""
    narrow = values.astype(kind)
    if kind.kind == "u" and not np.array_equal(narrow, values):
        raise ValueError(f"the tokenizer gives {values.max()}, which is beyond its own vocabulary")
    return narrow


def _mapped(folder: Path, pad: int) -> Examples:
    kinds = read_manifest(folder, "")["kinds"]
    arrays = {name: np.asarray(np.memmap(folder / f"{name}.bin", kind, "r")) for name, kind in kinds.items()}
    return Examples(arrays["tokens"], arrays.get("types"), arrays["start"], arrays["labels"], pad)
