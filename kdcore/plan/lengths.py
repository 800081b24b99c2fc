"""How many tokens the rows of a task have: counted where it is prepared, else assumed; the plan says which."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import gamma

from kdcore.data.prepared import PROVENANCE, Data
from kdcore.data.tasks import Task
from kdcore.data.tokens import tokenised
from kdcore.errors import UserError
from kdcore.model.names import tokenizer_of
from kdcore.model.places import resolve

SHORTEST = 3  # [CLS], one word, [SEP]
SPREAD = 0.4  # standard deviation / mean of the assumed lengths: 0.24 to 0.51 in the tasks that were counted


@dataclass(frozen=True)
class Lengths:
    """Tokens per row, special tokens included.

    train: (N,) in nested order; labelled: (N,) whether a row has a label; validation: by split; source: how
    they are known.
    """

    task: Task
    train: np.ndarray
    labelled: np.ndarray
    validation: Mapping[str, np.ndarray]
    source: str


@dataclass(frozen=True)
class Known:
    """A published task: its rows, and the mean tokens of a row for BERT's uncased vocabulary."""

    train: int
    validation: Mapping[str, int]
    tokens: float


# Rows as published. Tokens of cola, mrpc, qqp, rte, stsb and movies are counted (of up to 8,000 rows, 128 at most),
# the others are near what is usual.
KNOWN: Mapping[str, Known] = {
    "movies": Known(9_072, {"validation": 1_000}, 27),
    "cola": Known(8_551, {"validation": 1_043}, 11),
    "sst2": Known(67_349, {"validation": 872}, 13),
    "mrpc": Known(3_668, {"validation": 408}, 53),
    "qqp": Known(363_846, {"validation": 40_430}, 31),
    "stsb": Known(5_749, {"validation": 1_500}, 28),
    "mnli": Known(392_702, {"validation": 9_815, "validation_mismatched": 9_832}, 39),
    "qnli": Known(104_743, {"validation": 5_463}, 50),
    "rte": Known(2_490, {"validation": 277}, 66),
    "wnli": Known(635, {"validation": 71}, 37),
}


def lengths(
    task: Task,
    folder: Path,
    model: str,
    revision: str | None,
    max_length: int,
    rows: int | None = None,
    tokens: float | None = None,
) -> Lengths:
    """What is known of a task's rows. rows, tokens: --rows and --tokens; one that is given replaces what is known.

    model, revision: whose tokenizer counts. Raises UserError where nothing is known.
    """
    if rows is None and tokens is None and (folder / PROVENANCE).is_file():
        return counted(task, folder, model, revision, max_length)
    return assumed(task, max_length, rows, tokens)


def counted(task: Task, folder: Path, model: str, revision: str | None, max_length: int) -> Lengths:
    """The true lengths of a prepared task."""
    data, tokenizer = Data.open(folder), tokenizer_of(resolve(model), revision)
    names = ("train", *(split for split in data.splits if split.startswith("validation")))
    splits = {name: tokenised(data, name, tokenizer, max_length) for name in names}
    train = splits.pop("train")
    validation = {name: split.lengths for name, split in splits.items()}
    return Lengths(task, train.lengths, ~np.isnan(train.labels), validation, f"counted in {folder}")


def assumed(task: Task, max_length: int, rows: int | None, tokens: float | None) -> Lengths:
    """Lengths of a gamma distribution about the mean, cut to what the model takes."""
    known = KNOWN.get(task.name)
    if known is None and (rows is None or tokens is None):
        raise UserError(
            "plan", f"task {task.name!r} is not prepared, so give --rows and --tokens, or run `dvc repro prepare` first"
        )
    size = rows or (known.train if known else 0)
    mean = tokens or (known.tokens if known else 0.0)
    sizes = known.validation if known else {"validation": max(1, size // 10)}
    validation = {name: spread(count, mean, max_length) for name, count in sizes.items()}
    train = spread(size, mean, max_length)
    source = f"rows {'as given' if rows else 'as published'}, tokens {'as given' if tokens else 'assumed'}"
    return Lengths(task, train, np.ones(size, dtype=bool), validation, source)


def spread(rows: int, mean: float, longest: int) -> np.ndarray:
    """(rows,) lengths of about that mean, shuffled so that every stretch is like the whole; the same at every call."""
    quantiles = (np.arange(rows) + 0.5) / rows
    drawn = gamma.ppf(quantiles, SPREAD**-2, scale=mean * SPREAD**2)
    whole = np.clip(np.rint(drawn), SHORTEST, longest).astype(np.int64)
    return np.random.default_rng(0).permutation(whole)
