"""Rows in; the blocks of their tables out: as GitHub Markdown (`to_markdown`), or drawn by the page's own templates."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdcore.distil.methods import INTERNAL
from kdcore.report.methods import ordered
from kdcore.report.statistics import Difference, Estimate, Tested, degenerate, percent, star
from kdcore.report.summary import CLOSENESS, Row
from kdcore.studies import Axis

DECIMALS = {"agreement": 3, **{f"{loss.term}_total": 3 for loss in INTERNAL.values()}}  # of closeness, else four
COST: dict[str, tuple[str, Callable[[float], str]]] = {  # column -> header, how a number is shown
    "encoder_and_pooler": ("encoder + pooler, M", lambda count: f"{count / 1e6:.2f}"),
    "total": ("all parameters, M", lambda count: f"{count / 1e6:.2f}"),
    "bytes": ("MB", lambda count: f"{count / 1e6:.1f}"),
    "gflop": ("training, GFLOP", lambda gflop: f"{gflop:,.0f}"),
}

WARNINGS = {  # kind of warning -> in a table's words
    "constant": "one answer for every example",
    "chance": "within a standard error of one answer for all",
    "falling": "loss still falling fast at the end",
}

Cell = str | Difference


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Table:
    """The first `words` columns are text, the rest are numbers."""

    header: Sequence[str]
    body: Sequence[Sequence[Cell]]
    words: int = 1


Block = Heading | Table | str  # a str is a paragraph


def to_markdown(blocks: Iterable[Block]) -> str:
    """The blocks as GitHub Markdown, a blank line between two."""
    return "\n\n".join(map(_block, blocks)) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    rule = [":---"] * block.words + ["---:"] * (len(block.header) - block.words)
    lines = [block.header, rule, *([cell_text(cell) for cell in row] for row in block.body)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def cell_text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else difference_text(cell)


def estimate_text(estimate: Estimate, decimals: int) -> str:
    """`0.812 ± 0.010`; both ends where the metric's own limit cuts one; the value alone where there is no interval."""
    value, low, high = estimate.value, estimate.low, estimate.high
    if low is None or high is None:
        return f"{value:z.{decimals}f}"
    if not math.isclose(high - value, value - low, rel_tol=1e-6, abs_tol=1e-12):
        return f"{value:z.{decimals}f} [{low:z.{decimals}f}, {high:z.{decimals}f}]"
    return f"{value:z.{decimals}f} ± {high - value:.{decimals}f}"


def numbers(difference: Difference) -> str:
    """`+0.013 [+0.002, +0.024]`: a comparison without its verdict."""
    value, low, high = difference.estimate.value, difference.estimate.low, difference.estimate.high
    return f"{value:+z.3f}" + ("" if low is None else f" [{low:+z.3f}, {high:+z.3f}]")


def difference_text(difference: Difference) -> str:
    """`+0.013 [+0.002, +0.024] higher*`; the reason where no interval can be given."""
    return f"{numbers(difference)} {difference.verdict}{star(difference)}"


def spread(runs: int, confidence: float) -> str:
    """What `±` means in a table."""
    if runs == 1:
        return "one seed, no interval"
    return f"mean ± half width of the {percent(confidence)} t interval over {runs} seeds"


def holm_note(tests: Iterable[Tested]) -> list[str]:
    """How many comparisons were tested, and what the star says."""
    tested = [test for test in tests if test.p is not None]
    which = "* marks what is" if any(map(star, tested)) else "none is"
    note = f"Comparisons tested: {len(tested)}; {which} still found after Holm's correction for that number."
    return [note] if tested else []


def _score(row: Row) -> str:
    """The row's score, with a dagger where something speaks against one of its runs."""
    return estimate_text(row.score, 3) + " †" * bool(row.warned)


def _warned(table: Sequence[Row], titles: Mapping[str, str]) -> list[Block]:
    """A paragraph that says what the daggers mean, where there are any."""
    told = [
        f"{', '.join(filter(None, _words(row, titles)))}: "
        + ", ".join(f"{WARNINGS[kind]} ({count} of {len(row.runs)})" for kind, count in row.warned.items())
        for row in table
        if row.warned
    ]
    return [f"† {'; '.join(told)}. The field `warnings` of a point has the numbers."] if told else []


def _notes(table: Sequence[Row], students: str, comparisons: str) -> str:
    """What the numbers are, in the table's own words: a table is often copied without its page."""
    made = [difference for row in table for difference in row.differences.values()]
    notes = [f"Students: {spread(row.degenerate.of, row.score.confidence)}{students}" for row in _students(table)[:1]]
    if made:
        notes += [comparisons] * bool(comparisons)
        notes.append(f"Differences are paired by seed, with their {percent(made[0].confidence)} t interval.")
        notes.append("An interval that includes 0 reads “no difference found”.")
    if any(run.selected for row in table for run in row.runs):
        notes.append("Epochs were selected by score on validation rows (`train.keep: best`), so these scores are high.")
    return " ".join([*notes, *holm_note(made), "A degenerate run predicts one class only."])


def tables(rows: Sequence[Row], titles: Mapping[str, str], comparisons: str = "") -> list[Block]:
    """A section per task with a line per row: scores with verdicts, closeness to the teacher, cost.

    titles: key of the rows -> its header; comparisons: what is compared with what, where its name does not say it.
    """
    blocks: list[Block] = []
    for table in _by_task(rows):
        about = f" by {', '.join(titles.values())}" if len(titles) > 1 else ""
        blocks.append(Heading(2, f"{table[0].task}: {table[0].metric} on validation data{about}"))
        blocks += [scores_table(table, titles), _notes(table, "; the teacher is one run.", comparisons)]
        blocks += _warned(table, titles)
        if students := _students(table):
            names = _names(row.closeness for row in students)
            lines = [[*_words(row, titles), *_estimates(row.closeness, names)] for row in students]
            header = [*titles.values(), *(CLOSENESS.get(name, name) for name in names)]
            blocks += [Heading(3, "Closeness to the teacher"), Table(header, lines, len(titles))]
        cost = [[*_words(row, titles), *(_cost(row, name) for name in COST)] for row in table]
        header = [*titles.values(), *(title for title, _ in COST.values())]
        blocks += [Heading(3, "Cost"), Table(header, cost, len(titles))]
    return blocks


def scores_table(table: Sequence[Row], titles: Mapping[str, str]) -> Table:
    """A line per row of one task: its scores, and its differences with their verdicts."""
    others = _names(row.metrics for row in table)
    made = _names(row.differences for row in table)
    header = [*titles.values(), table[0].metric, *(f"minus {name}" for name in made), *others, "degenerate runs"]
    body = [
        [
            *(*_words(row, titles), _score(row)),
            *(row.differences.get(name, "") for name in made),
            *(estimate_text(row.metrics[name], 3) if name in row.metrics else "" for name in others),
            str(row.degenerate),
        ]
        for row in table
    ]
    return Table(header, body, len(titles))


def curves(rows: Sequence[Row], axis: Axis) -> list[Block]:
    """Two tables per task, a line per value of the axis and columns per method: scores beside soft, and closeness."""
    blocks: list[Block] = []
    for table in _by_task(rows):
        students = _students(table)
        methods = ordered(row.method for row in students)
        values = sorted({row.keys[axis.field] for row in students}, key=lambda value: (isinstance(value, str), value))
        lines = {v: {row.method: row for row in students if row.keys[axis.field] == v} for v in values}
        made = [
            (method, name)
            for method in methods
            for name in _names(r.differences for r in students if r.method == method)
        ]
        header = [axis.title, COST["encoder_and_pooler"][0], *methods, *(f"{m} minus {name}" for m, name in made)]
        scores = [
            [
                *(_word(value), _cost(next(iter(line.values())), "encoder_and_pooler")),
                *(_score(line[method]) for method in methods),
                *(line[method].differences.get(name, "") for method, name in made),
                str(degenerate([run.degenerate for row in line.values() for run in row.runs])),
            ]
            for value, line in lines.items()
        ]
        teacher = "".join(f" The teacher scores {row.score.value:.3f}." for row in table if row.teacher)
        shown = ("agreement", *(loss.term for loss in INTERNAL.values()))
        means = [name for name in shown if any(name in row.closeness for row in students)]
        close = [
            [
                _word(value),
                *(
                    f"{line[m].closeness[name].value:.3f}" if name in line[m].closeness else ""
                    for name in means
                    for m in methods
                ),
            ]
            for value, line in lines.items()
        ]
        titles = {name: CLOSENESS[name].removesuffix(", mean") for name in means}
        blocks += [
            Heading(2, f"{table[0].task}: {table[0].metric} on validation data by {axis.title}"),
            Table([*header, "degenerate runs"], scores),
            _notes(table, f".{teacher}", ""),
            *_warned(table, {"method": "method", axis.field: axis.title}),
            Heading(3, "Closeness to the teacher, means over seeds"),
            Table([axis.title, *(f"{titles[name]}, {method}" for name in means for method in methods)], close),
        ]
    return blocks


def _by_task(rows: Sequence[Row]) -> list[list[Row]]:
    return [[row for row in rows if row.task == task] for task in dict.fromkeys(row.task for row in rows)]


def _students(table: Sequence[Row]) -> list[Row]:
    return [row for row in table if not row.teacher]


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _words(row: Row, titles: Mapping[str, str]) -> list[str]:
    return [_word(row.keys[key]) for key in titles]


def _word(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _estimates(estimates: Mapping[str, Estimate], names: Iterable[str]) -> list[str]:
    return [estimate_text(estimates[name], DECIMALS.get(name, 4)) if name in estimates else "" for name in names]


def _cost(row: Row, name: str) -> str:
    return COST[name][1](row.cost[name]) if name in row.cost else ""
