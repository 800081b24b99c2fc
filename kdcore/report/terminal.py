"""What a run says at its end: the scores, where the page is, what training took. Few lines where nobody watches."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kdcore.console import count_of, in_words, say
from kdcore.report.markdown import cell_text, in_gflop, score_cell, scores_table
from kdcore.report.methods import words
from kdcore.report.points import Run
from kdcore.report.summary import Row, by_task


def conclude(rows: Sequence[Row], runs: Sequence[Run], students: Path, page: Path) -> None:
    """Print the rows of the headline run, a table each task in a terminal and a line each elsewhere; then the page.

    runs: those that the rows sum up, as points.read has them; students: the folder of <task>/<method>-s<seed>/run.json.
    """
    for task, table in by_task(rows).items():
        if sys.stdout.isatty():
            Console().print(_table(task, table))
        else:
            scores = ", ".join(f"{row.method} {cell_text(score_cell(row))}" for row in table)
            say(f"{task}, {table[0].metric}: {scores}")
    folders = [students / run["task"] / f"{run['method']}-s{run['seed']}" for run in runs if run["method"] != "teacher"]
    notes = [json.loads((folder / "run.json").read_text(encoding="utf-8")) for folder in folders]
    seconds, gflop = (math.fsum(note[cost] for note in notes) for cost in ("seconds", "gflop"))
    trained = count_of(len(notes), "student")
    say(f"{trained} took {in_words(seconds)} to train ({in_gflop(gflop)} GFLOP), now or in an earlier run")
    say(f"the page is {page}")


def _table(task: str, rows: Sequence[Row]) -> Table:
    made = scores_table(rows, words(["method"]))
    table = Table(title=task, box=box.SIMPLE_HEAD, title_justify="left")
    for place, header in enumerate(made.header):
        table.add_column(cell_text(header), justify="left" if place < made.words else "right")
    for line in made.body:
        table.add_row(*(escape(cell_text(cell)) for cell in line))
    return table
