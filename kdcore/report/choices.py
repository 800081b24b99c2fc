"""The rows of a study that tunes; each method's choice out: as a table, and as the options that apply it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kdcore.report.markdown import Block, Heading, Table, score_cell, word
from kdcore.report.summary import Row
from kdcore.studies import UNTUNED, Axis

APPLY = "dvc exp run $(cat metrics/tune/choice.txt)"


def choices(rows: Sequence[Row]) -> list[Row]:
    """The row of the best mean score of each task and method; of equals the untuned one, then the first listed."""
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        place = row.task, row.method
        if not row.teacher and (place not in best or row.score.value > best[place].score.value):
            best[place] = row
    return list(best.values())


def options(chosen: Sequence[Row], axes: Sequence[Axis]) -> str:
    """A line per knob, as `dvc exp run` takes it: ++ sets a key whether or not params.yaml has it."""
    lines = [
        f"-S ++task.{row.task}.methods.{row.method}.{axis.key}={_option(row.keys[axis.field])}"
        for row in chosen
        for axis in axes
    ]
    return "\n".join(lines) + "\n"


def _option(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def chosen_blocks(rows: Sequence[Row], titles: Mapping[str, str]) -> list[Block]:
    """What was chosen beside what it was chosen over, and how it is applied."""
    chosen = choices(rows)
    body = []
    for row in rows:
        settings = [UNTUNED] * (row.keys["settings"] == UNTUNED) + ["chosen"] * (row in chosen)
        if settings:
            keys = {**row.keys, "settings": " and ".join(settings)}
            body.append([row.task, *(word(keys[key]) for key in titles), score_cell(row)])
    knobs = [key for key in titles if key not in ("method", "settings")]
    students: dict[tuple[str, str], set[Any]] = {}  # untuned ones may have a combination of knobs that is listed too
    for row in rows:
        students.setdefault((row.task, row.method), set()).add(tuple(row.keys[key] for key in knobs))
    tried = " or ".join(map(str, sorted({len(students[row.task, row.method]) for row in chosen})))
    return [
        Heading(2, "Untuned and chosen"),
        Table(["task", *titles.values(), "score on the rows held out"], body, len(titles) + 1),
        "Untuned: the knobs as params.yaml has them for all methods. Every method had the same combinations and seeds. "
        "No row of the validation split was read, and the seeds are none of the results'. "
        f"A chosen score is the highest of {tried} on these very rows, so it flatters; the final scores do not.",
        f"`{APPLY}` runs the headline with what was chosen, and writes it into params.yaml. Commit the untuned "
        "headline first: `dvc metrics diff` then has both final scores.",
    ]
