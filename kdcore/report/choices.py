"""The rows of a study that tunes; each method's choice out: as a table, and as the options that apply it."""

from collections.abc import Mapping, Sequence

from kdcore.report.markdown import Block, Heading, Table, estimate_text
from kdcore.report.summary import Row
from kdcore.studies import Axis

APPLY = "dvc exp run $(cat metrics/tune/choice.txt)"


def choices(rows: Sequence[Row]) -> list[Row]:
    """The row of the best mean score of each task and method; of equals the one that params.yaml lists first."""
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        place = row.task, row.method
        if not row.teacher and (place not in best or row.score.value > best[place].score.value):
            best[place] = row
    return list(best.values())


def options(chosen: Sequence[Row], axes: Sequence[Axis]) -> str:
    """A line per knob, as `dvc exp run` takes it: ++ sets a key whether or not params.yaml has it."""
    lines = [
        f"-S ++task.{row.task}.methods.{row.method}.{axis.key}={row.keys[axis.field]}"
        for row in chosen
        for axis in axes
    ]
    return "\n".join(lines) + "\n"


def chosen_blocks(rows: Sequence[Row], titles: Mapping[str, str]) -> list[Block]:
    """What was chosen, and how it is applied."""
    chosen = choices(rows)
    header = ["task", *titles.values(), "score on the rows held out"]
    body = [[row.task, *(str(row.keys[key]) for key in titles), estimate_text(row.score, 3)] for row in chosen]
    return [
        Heading(2, "Chosen"),
        Table(header, body, len(titles) + 1),
        f"`{APPLY}` runs the headline with it, and writes it into params.yaml. No row of the validation split was "
        "read, and the seeds are none of the results'. Every method had the same combinations and seeds.",
    ]
