"""Raw rows -> rows to train on. What would fail or mislead later is refused, what is only odd is counted."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from kdcore.data.metrics import without_labels
from kdcore.data.tables import Raw, Table
from kdcore.data.tasks import GLUE, Task
from kdcore.errors import UserError, near, shown

MOST_BYTES = 1_000_000
LARGEST = 3.4e38  # of a score: models compute in float32
NOTHING = ("nan", "none", "null", "n/a", "<na>")  # what a missing text becomes in a table that is turned into text
HIDDEN = ("-1", "-1.0")  # the id of a row without a label, as it is written
EMPTY, CONTROL, OTHER = "empty", "control", "other"
CONTROLS = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")  # not tab, line feed, carriage return
SURROGATES = re.compile(r"[\ud800-\udfff]")
# Whitespace, what has no width, and letters that are drawn as nothing.
BLANK = re.compile(
    r"[\s\u00ad\u034f\u115f\u1160\u180e\u200b-\u200f\u2060-\u2064\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0]*"
)


Odd = dict[str, dict[str, int]]  # split -> what -> how often


@dataclass
class Findings:
    """problems: why the data are refused; odd: what is worth a warning."""

    problems: list[str] = field(default_factory=list)
    odd: Odd = field(default_factory=dict)

    def count(self, split: str, what: str, times: int = 1) -> None:
        if times:
            counts = self.odd.setdefault(split, {})
            counts[what] = counts.get(what, 0) + times


def check(task: Task, raw: Raw) -> tuple[dict[str, pd.DataFrame], Odd]:
    """Our split name -> frame of row, text_a, text_b and label, and the counts of what is odd.

    label: Int64 ids or float64, null where there is none. Raises UserError with the problems of all splits.
    """
    findings = Findings()
    for split, table in raw.tables.items():
        findings.count(split, "rows that end too early and are left out", table.cut)
    frames = {split: _split(task, split, table, findings) for split, table in raw.tables.items()}
    if not findings.problems:
        for split, frame in frames.items():
            _balance(task, split, frame, raw.tables[split], findings)
    if findings.problems:
        raise UserError(raw.where, findings.problems)
    _repeats(frames, findings)
    return frames, findings.odd


def _split(task: Task, split: str, table: Table, findings: Findings) -> pd.DataFrame:
    if table.frame.empty:
        findings.problems.append(f"{table.file}: must have at least 1 row, found 0")
    pair = [texts(task, split, table, column, findings) for column in task.text]
    label = _labels(task, split, table, findings)
    columns = {
        "row": pd.Series(table.frame.index.tolist(), dtype="int64"),
        "text_a": pd.Series(pair[0], dtype=object),
        "text_b": pd.Series(pair[1] if len(pair) == 2 else [None] * len(label), dtype=object),
        "label": pd.Series(label, dtype="float64") if task.regression else pd.Series(label, dtype="Int64"),
    }
    return pd.DataFrame(columns)


def texts(task: Task, split: str, table: Table, column: str, findings: Findings) -> list[Any]:
    """The cells of one text column.

    GLUE is taken as it is published, with stray control characters and pairs of which one half is empty; they
    are counted. Anyone's own data can be put right, so there both are problems.
    """
    values = table.frame[column].tolist()
    said = sum(isinstance(value, str) and value.strip().casefold() in NOTHING for value in values)
    findings.count(split, "texts that say only nan, None or null, as missing ones do that were turned into text", said)
    partner = next((table.frame[name].tolist() for name in task.text if name != column), [""] * len(values))
    for i, value in enumerate(values):
        problem = fault(value)
        if problem is None:
            continue
        kind, message = problem
        if task.name in GLUE and kind == CONTROL:
            findings.count(split, "texts with control characters")
        elif task.name in GLUE and kind == EMPTY and fault(partner[i]) is None:
            findings.count(split, "pairs of which one half is empty")
        else:
            findings.problems.append(f"{table.place(i, column)}: {message}")
    return values


def _labels(task: Task, split: str, table: Table, findings: Findings) -> list[Any]:
    """Class ids or numbers, None where there is none; a validation row without one is a problem if it is to be scored
    by its label."""
    values = table.frame[task.label].tolist()
    parse: Callable[[Any], float | None] = number if task.regression else class_id(task.labels)
    unknown = task.regression and hidden(values)
    labels: list[Any] = []
    for i, value in enumerate(values):
        try:
            labels.append(None if unknown or absent(value) else parse(value))
            if labels[-1] is None and split.startswith("validation") and not task.by_teacher:
                raise ValueError(
                    f"must have a label, as every row for validation, found {shown(value)}; without labels, students "
                    f"are scored by their teacher's answers (metrics: [{without_labels(task.labels)}])"
                )
        except ValueError as error:
            findings.problems.append(f"{table.place(i, task.label)}: {error}")
    return labels if len(labels) == len(values) else [None] * len(values)


def _balance(task: Task, split: str, frame: pd.DataFrame, table: Table, findings: Findings) -> None:
    """A train split that teaches one answer only is refused, and one whose -1 seems to be a class: ids from -1 on.

    Classes without a row are odd, and so are scores to validate with that are all one.
    """
    seen = frame["label"].dropna().unique().tolist()
    lacking = [name for i, name in enumerate(task.labels) if i not in seen]
    unlabelled = table.frame[task.label][frame["label"].isna().to_numpy()]
    if split == "train" and seen and not task.by_teacher:
        findings.count(split, "rows without a label, of which students learn from the teacher alone", len(unlabelled))
    if split == "train" and not seen:
        findings.count(split, "rows, none of which has a label", len(frame))
    elif split == "train" and len(seen) == 1:
        only = shown(seen[0] if task.regression else task.labels[int(seen[0])])
        needs = "2 values" if task.regression else f"2 of {', '.join(task.labels)}"
        findings.problems.append(f"{table.file}: column {task.label}: must have at least {needs}, found only {only}")
    elif split == "train" and lacking and any(str(cell) in HIDDEN for cell in unlabelled):
        findings.problems.append(
            f"{table.file}: column {task.label}: -1 means unlabelled, and no row is {lacking[0]}; where -1 is a class, "
            "number the classes from 0, or write their names"
        )
    elif split.startswith("validation") and task.regression and len(seen) == 1:
        findings.count(split, f"rows, all with the score {seen[0]:g}: every correlation is 0", len(frame))
    elif lacking and seen:
        findings.count(split, f"classes without a row: {', '.join(lacking)}", len(lacking))


def _repeats(frames: dict[str, pd.DataFrame], findings: Findings) -> None:
    """Counts rows that are there twice, texts with two labels, and validation texts that train has seen."""
    train, texts = frames["train"], ["text_a", "text_b"]
    findings.count("train", "duplicate rows", int(train.duplicated([*texts, "label"]).sum()))
    answers = train[train["label"].notna()].drop_duplicates([*texts, "label"])
    findings.count("train", "texts with more than one label", int(answers.duplicated(texts).sum()))
    pairs = {split: list(_pairs(frame)) for split, frame in frames.items() if split.startswith("validation")}
    seen = set().union(*pairs.values()).intersection(_pairs(train))
    for split, own in pairs.items():
        findings.count(split, "rows whose text is also in train", sum(pair in seen for pair in own))


def _pairs(frame: pd.DataFrame) -> Iterator[tuple[Any, Any]]:
    return zip(frame["text_a"], frame["text_b"], strict=True)


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
        for text in _spellings(value, truths):
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


def _spellings(value: Any, truths: Mapping[str, list[str]]) -> list[str]:
    """What a cell may stand for, itself first. 1.0 is also 1, in text files too, as columns with nulls are floats.

    truths: what true and false stand for. Python writes them True and False, a spreadsheet TRUE and FALSE.
    """
    text = str(value)
    word = text.lower()
    if word in TRUTHS and text in (word, word.capitalize(), word.upper()):
        return [text, *truths[word]]
    whole = re.fullmatch(r"(-?(?:0|[1-9][0-9]*))\.0+", text)
    return [text, str(int(whole[1]))] if whole else [text]


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


def hidden(values: list[Any]) -> bool:
    """Whether a regression's labels are all -1, which is how GLUE hides those of its test sets."""
    return bool(values) and all(str(value) in HIDDEN for value in values)


def text_columns(columns: Mapping[str, Sequence[Any]], label: str) -> tuple[str, ...]:
    """The columns of a file that hold texts, not numbers only, and are not the label: where nobody names them."""
    return tuple(name for name, cells in columns.items() if name != label and _holds_texts(cells))


def _holds_texts(cells: Sequence[Any]) -> bool:
    there = [cell for cell in cells if not absent(cell)]
    return all(isinstance(cell, str) for cell in there) and not all(_is_number(cell) for cell in there)


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True
