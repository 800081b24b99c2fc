"""Raw rows -> rows to train on. What would fail or mislead later is refused, what is only odd is counted."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kdcore.data.cells import Cells
from kdcore.data.metrics import without_labels
from kdcore.data.order import digests, halves
from kdcore.data.rows import Rows
from kdcore.data.tables import Block, Raw, Table
from kdcore.data.tasks import GLUE, Task
from kdcore.errors import UserError, near, shown

MOST_BYTES = 1_000_000
LARGEST = 3.4e38  # of a score: models compute in float32
NOTHING = ("nan", "none", "null", "n/a", "<na>")  # what a missing text becomes in a table that is turned into text
LONGEST = max(map(len, NOTHING))
HIDDEN = ("-1", "-1.0")  # the id of a row without a label, as it is written
EMPTY, CONTROL, OTHER = "empty", "control", "other"
CONTROLS = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")  # not tab, line feed, carriage return
SURROGATES = re.compile(r"[\ud800-\udfff]")
# Whitespace, what has no width, and letters that are drawn as nothing.
BLANK = re.compile(
    r"[\s\u00ad\u034f\u115f\u1160\u180e\u200b-\u200f\u2060-\u2064\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0]*"
)


Odd = dict[str, dict[str, int]]  # split -> what -> how often
TURNED = "texts that say only nan, None or null, as missing ones do that were turned into text"


@dataclass
class Findings:
    """problems: why the data are refused; odd: what is worth a warning."""

    problems: list[str] = field(default_factory=list)
    odd: Odd = field(default_factory=dict)

    def count(self, split: str, what: str, times: int = 1) -> None:
        if times:
            counts = self.odd.setdefault(split, {})
            counts[what] = counts.get(what, 0) + times


@dataclass
class Column:
    """What is found in a column of one split, in the order of its rows."""

    problems: list[str] = field(default_factory=list)
    odd: Counter[str] = field(default_factory=Counter)


@dataclass
class Checked:
    """A split whose cells were read. texts: a digest of each row's; minus_one: whether a label that counts as none is
    -1."""

    table: Table
    rows: Rows
    columns: dict[str, Column]
    texts: bytearray = field(default_factory=bytearray)
    minus_one: bool = False


def check(task: Task, raw: Raw, folder: Path) -> tuple[dict[str, Rows], Odd]:
    """Our split name -> its rows, and the counts of what is odd.

    folder: where there is room for the texts. Raises UserError with the problems of all splits.
    """
    findings = Findings()
    for split, table in raw.tables.items():
        findings.count(split, "rows that end too early and are left out", table.cut)
    splits = {split: _split(task, split, table, folder) for split, table in raw.tables.items()}
    for split, own in splits.items():
        if not own.table.count:
            findings.problems.append(f"{own.table.file}: must have at least 1 row, found 0")
        for column in own.columns.values():
            findings.problems += column.problems
            for what, times in column.odd.items():
                findings.count(split, what, times)
    if not findings.problems:
        for split, own in splits.items():
            _balance(task, split, own, findings)
    if findings.problems:  # two splits of one file have some in common
        raise UserError(raw.where, list(dict.fromkeys(findings.problems)))
    _repeats(splits, findings)
    return {split: own.rows for split, own in splits.items()}, findings.odd


def _split(task: Task, split: str, table: Table, folder: Path) -> Checked:
    """Reads a split block by block. Its rows are all there where nothing is wrong with them."""
    parse: Callable[[Any], float | None] = number if task.regression else class_id(task.labels)
    if task.regression and hidden(cell for block in table.blocks() for cell in block.columns[task.label]):
        parse = _nothing
    own = Checked(table, Rows(folder, len(task.text)), {column: Column() for column in task.columns})
    for block in table.blocks():
        pair = [texts(task, block, column, own.columns[column]) for column in task.text]
        labels = _labels(task, split, block, parse, own)
        if not any(column.problems for column in own.columns.values()):
            own.rows.add(block.rows, pair, labels)
            own.texts += digests(map("\0".join, zip(*pair, strict=True)))  # no text has a NUL
    return own


def _nothing(cell: Any) -> None:
    """What every label of a hidden test set says."""


def texts(task: Task, block: Block, column: str, found: Column) -> list[Any]:
    """The cells of one text column.

    GLUE is taken as it is published, with stray control characters and pairs of which one half is empty; they
    are counted. Anyone's own data can be put right, so there both are problems.
    """
    values = block.columns[column]
    short = (text for value in values if isinstance(value, str) and len(text := value.strip()) <= LONGEST)
    found.odd[TURNED] += sum(text.casefold() in NOTHING for text in short)
    partner = next((block.columns[name] for name in task.text if name != column), [""] * len(values))
    for i, value in enumerate(values):
        problem = fault(value)
        if problem is None:
            continue
        kind, message = problem
        if task.name in GLUE and kind == CONTROL:
            found.odd["texts with control characters"] += 1
        elif task.name in GLUE and kind == EMPTY and fault(partner[i]) is None:
            found.odd["pairs of which one half is empty"] += 1
        else:
            found.problems.append(f"{block.place(i, column)}: {message}")
    return values


def _labels(
    task: Task, split: str, block: Block, parse: Callable[[Any], float | None], own: Checked
) -> list[float | None]:
    """Class ids or numbers, None where there is none; a validation row without one is a problem if it is to be scored
    by its label."""
    needed = split.startswith("validation") and not task.by_teacher
    labels: list[float | None] = []
    for i, value in enumerate(block.columns[task.label]):
        label = None
        try:
            label = None if absent(value) else parse(value)
            own.minus_one = own.minus_one or (label is None and str(value) in HIDDEN)
            if label is None and needed:
                raise ValueError(
                    f"must have a label, as every row for validation, found {shown(value)}; without labels, students "
                    f"are scored by their teacher's answers (metrics: [{without_labels(task.labels)}])"
                )
        except ValueError as error:
            own.columns[task.label].problems.append(f"{block.place(i, task.label)}: {error}")
        labels.append(label)
    return labels


def _balance(task: Task, split: str, own: Checked, findings: Findings) -> None:
    """A train split that teaches one answer only is refused, and one whose -1 seems to be a class: ids from -1 on.

    Classes without a row are odd, and so are scores to validate with that are all one.
    """
    rows, file = own.rows, own.table.file
    seen = _distinct(rows.label[rows.labelled])
    lacking = [name for i, name in enumerate(task.labels) if i not in seen]
    if split == "train" and len(seen) and not task.by_teacher:
        unlabelled = len(rows) - int(rows.labelled.sum())
        findings.count(split, "rows without a label, of which students learn from the teacher alone", unlabelled)
    if split == "train" and not len(seen):
        findings.count(split, "rows, none of which has a label", len(rows))
    elif split == "train" and len(seen) == 1:
        only = shown(float(seen[0]) if task.regression else task.labels[int(seen[0])])
        needs = "2 values" if task.regression else f"2 of {', '.join(task.labels)}"
        findings.problems.append(f"{file}: column {task.label}: must have at least {needs}, found only {only}")
    elif split == "train" and lacking and own.minus_one:
        findings.problems.append(
            f"{file}: column {task.label}: -1 means unlabelled, and no row is {lacking[0]}; where -1 is a class, "
            "number the classes from 0, or write their names"
        )
    elif split.startswith("validation") and task.regression and len(seen) == 1:
        findings.count(split, f"rows, all with the score {seen[0]:g}: every correlation is 0", len(rows))
    elif lacking and len(seen):
        findings.count(split, f"classes without a row: {', '.join(lacking)}", len(lacking))


def _repeats(splits: Mapping[str, Checked], findings: Findings) -> None:
    """Counts rows that are there twice, texts with two labels, and validation texts that train has seen."""
    names = ["train", *(split for split in splits if split.startswith("validation"))]
    ends = np.cumsum([len(splits[name].rows) for name in names])
    train, *others = np.split(_numbered(halves(b"".join(splits[name].texts for name in names))), ends[:-1])
    known, label = splits["train"].rows.labelled, splits["train"].rows.label
    labels, label = np.unique(label, return_inverse=True)
    pairs = train * len(labels) + label
    findings.count("train", "duplicate rows", len(pairs) - len(_distinct(pairs)))
    twice = len(_distinct(pairs[known])) - len(_distinct(train[known]))
    findings.count("train", "texts with more than one label", twice)
    for name, own in zip(names[1:], others, strict=True):
        findings.count(name, "rows whose text is also in train", int(np.isin(own, train).sum()))


def _distinct(values: np.ndarray) -> np.ndarray:
    """Each value once, in order; the hash table of np.unique takes more memory, and several times as long."""
    values = np.sort(values)
    return values[np.append(values[1:] != values[:-1], True)[: len(values)]]


def _numbered(columns: np.ndarray) -> np.ndarray:
    """(K, N) -> (N,) a number for each row, one for those that are equal."""
    order, new = np.lexsort(columns), np.zeros(columns.shape[1], bool)
    for column in columns:
        new[1:] |= column[order[1:]] != column[order[:-1]]
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new)
    return numbers


# One cell -> a text, a class id or a number, or what is wrong with it.


def absent(value: Any) -> bool:
    """Whether there is nothing: null, NaN, or the empty cell of a text file."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def fault(text: Any) -> tuple[str, str] | None:
    """What is wrong with a cell of text, as its kind (EMPTY, CONTROL, OTHER) and a message, or None."""
    if not isinstance(text, str):
        return OTHER, "has no text" if absent(text) else f"must be text, found {shown(text)}"
    if BLANK.fullmatch(text):
        return EMPTY, f"must have text, found {shown(text)}"
    if text.isprintable() and len(text) <= MOST_BYTES // 4:  # as most are: what is looked for below is not in it
        return None
    if len(text) > MOST_BYTES // 4 and (size := len(text.encode(errors="surrogatepass"))) > MOST_BYTES:
        return OTHER, f"must be at most {MOST_BYTES:,} bytes, found {size:,}"
    if SURROGATES.search(text):
        return OTHER, f"must be valid Unicode, found a lone surrogate in {shown(text)}"
    if "\x00" in text:
        return OTHER, f"must be text, found a NUL character in {shown(text)}"
    control = CONTROLS.search(text)
    if control:
        return CONTROL, f"must not have control characters but tab and line ends, found {control[0]!r}"
    return None


TRUTHS = {"true": 1, "false": 0}
WORDS = TRUTHS | {"yes": 1, "no": 0}
SHORT = ({"y": 1, "n": 0}, {"t": 1, "f": 0}, {"on": 1, "off": 0})  # such words, but only in a pair: [m, f] is none


def class_id(names: tuple[str, ...]) -> Callable[[Any], int | None]:
    """cell -> id of a class by its name or id, None for -1; raises ValueError for anything else.

    Where a name looks like a number only names count, as 1 could be either. True and false stand for the ids 1 and 0,
    unless the names say otherwise, as [yes, no] does: of two such names ids do not count either.
    """
    ids = {name: i for i, name in enumerate(names)}
    otherwise = _otherwise([name.lower() for name in names])
    only_names = any(map(_numeric, names)) or (otherwise and len(names) == 2)
    by_id = {} if only_names else {str(i): i for i in range(len(names))}
    allowed = ", ".join(names) + (f", or an id from 0 to {len(names) - 1}" if by_id else "")
    truths = {word: [name for name in names if name.lower() == word] for word in TRUTHS}
    if not otherwise:
        truths = {word: [*named, str(TRUTHS[word])] for word, named in truths.items()}

    def parse(value: Any) -> int | None:
        for text in _spellings(value, truths):  # the first of them, as a rule
            if text in ids:
                return ids[text]
            if text == "-1":
                return None
            if text in by_id:
                return by_id[text]
        raise ValueError(f"must be {allowed}, found {shown(value)}{near(value, names)}")

    return parse


def _otherwise(names: list[str]) -> bool:
    """Whether a class that is called yes, or true, has another id than 1, or one that is called no another than 0."""
    words = WORDS | next((pair for pair in SHORT if set(pair) == set(names)), {})
    return any(words.get(name, i) != i for i, name in enumerate(names))


def _spellings(value: Any, truths: Mapping[str, list[str]]) -> Iterator[str]:
    """What a cell may stand for, itself first. 1.0 is also 1, in text files too, as columns with nulls are floats.

    truths: what true and false stand for. Python writes them True and False, a spreadsheet TRUE and FALSE.
    """
    text = str(value)
    yield text
    word = text.lower()
    if word in TRUTHS and text in (word, word.capitalize(), word.upper()):
        yield from truths[word]
    elif whole := re.fullmatch(r"(-?(?:0|[1-9][0-9]*))\.0+", text):
        yield str(int(whole[1]))


def _numeric(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def number(value: Any) -> float:
    """A finite number; raises ValueError for anything else."""
    try:
        score = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)  # Python reads 1_0 as 10
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"must be a finite number, found {shown(value)}")
    if abs(score) > LARGEST:
        raise ValueError(f"must be a number that 32 bits can hold, up to {LARGEST:.1e}, found {shown(value)}")
    return score


def hidden(values: Iterable[Any]) -> bool:
    """Whether a regression's labels are all -1, which is how GLUE hides those of its test sets."""
    others = iter(values)
    return str(next(others, None)) in HIDDEN and all(str(value) in HIDDEN for value in others)


def text_columns(cells: Cells, label: str) -> tuple[str, ...]:
    """The columns of a file that hold texts, not numbers only, and are not the label: where nobody names them.

    Those of a text file are read together, others one by one, no further than up to what is no text: they may be large
    (embeddings).
    """
    names = [name for name in dict.fromkeys(cells.header) if name != label]
    found: list[str] = []
    for group in [names] if cells.count is not None else [[name] for name in names]:
        strings, words = {*group}, set[str]()
        for part in cells.parts(group):
            for name in group:
                there = [cell for cell in part.columns[name] if not absent(cell)]
                if not all(isinstance(cell, str) for cell in there):
                    strings.discard(name)
                elif name not in words and not all(map(_is_number, there)):
                    words.add(name)
            if not strings:
                break
        found += [name for name in group if name in strings & words]
    return tuple(found)


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True
