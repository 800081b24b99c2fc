"""Rows in; the blocks of their tables out: as GitHub Markdown (`to_markdown`), or drawn by the page's own templates."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdcore.console import millions
from kdcore.distil.methods import INTERNAL
from kdcore.report.methods import ordered
from kdcore.report.statistics import Difference, Estimate, McNemar, Tested, degenerate, over, percent, star
from kdcore.report.summary import AVERAGE, CLOSENESS, Overall, Row, by_task, students_of
from kdcore.studies import Axis

LONGEST = 200  # characters of a text that is quoted
DECIMALS = {"agreement": 3, **{f"{loss.term}_total": 3 for loss in INTERNAL.values()}}  # of closeness, else four


def in_gflop(gflop: float) -> str:
    """Without decimals; of less than ten two digits."""
    return f"{gflop:,.0f}" if gflop >= 10 else f"{gflop:.1f}" if gflop >= 1 else f"{gflop:#.2g}"


COST: dict[str, tuple[str, Callable[[float], str]]] = {  # column -> header, how a number is shown
    "encoder_and_pooler": ("encoder + pooler, M", lambda count: millions(count, 2)),
    "total": ("all parameters, M", lambda count: millions(count, 2)),
    "bytes": ("MB", lambda count: millions(count, 1)),
    "gflop": ("training, GFLOP", in_gflop),
}
TEST = "test data"
LATENCY = "latency_ms"  # the column of a table of scores that is of one machine, and only where it was measured


@dataclass(frozen=True)
class Noted:
    """A number, and what must be known beside it."""

    text: str
    note: str


@dataclass(frozen=True)
class Quoted:
    """Other people's text: a sentence of the data, the name of a class. It is shown, and never obeyed."""

    text: str

    @property
    def short(self) -> str:
        """On one line, and not longer than can be read in a table."""
        line = " ".join(self.text.split())
        return line if len(line) <= LONGEST else line[:LONGEST] + "…"


Cell = str | Noted | Quoted | Difference | McNemar


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Table:
    """The first `words` columns are text, the rest are numbers."""

    header: Sequence[str | Quoted]
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
    lines = [[*map(_cell, block.header)], rule, *([_cell(cell) for cell in row] for row in block.body)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _cell(cell: Cell) -> str:
    if isinstance(cell, Quoted):
        return re.sub(r"[\\`*_\[\]<>#~!@$]", r"\\\g<0>", cell.short.replace("&", "&amp;")).replace("|", "&#124;")
    return cell_text(cell)


def cell_text(cell: Cell) -> str:
    """A cell in words, without any markup."""
    match cell:
        case Quoted():
            return cell.short
        case Noted():
            return f"{cell.text} ({cell.note})"
        case Difference():
            return difference_text(cell)
        case McNemar():
            return f"{counts_text(cell)}, {cell.verdict}{star(cell)}"
    return cell


def counts_text(test: McNemar) -> str:
    """`43 : 23, p = 0.0187`: a comparison of two classifiers without its verdict."""
    return f"{test.only_first} : {test.only_second}, p = {test.p:.3g}"


def score_cell(row: Row) -> Cell:
    """The row's score; where its runs learned nothing, with that beside it."""
    text = estimate_text(row.score, 3)
    return Noted(text, row.caution) if row.caution else text


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


def spread(runs: int, teachers: int, confidence: float) -> str:
    """What `±` means in a table of so many runs a row, by so many teachers."""
    if runs == 1:
        return "one seed, no interval"
    each = "" if teachers == 1 else f", each the mean of its students ({runs} in all)"
    return f"mean ± half width of the {percent(confidence)} t interval over {over(runs, teachers)}{each}"


def pairing(teachers: int) -> str:
    """How differences are made of students by so many teachers."""
    return "paired by seed" if teachers == 1 else "paired by seed and averaged by teacher"


def holm_note(tests: Iterable[Tested]) -> list[str]:
    """How many comparisons were tested, and what the star says."""
    tested = [test for test in tests if test.p is not None]
    which = "* marks what is" if any(map(star, tested)) else "none is"
    note = f"Comparisons tested: {len(tested)}; {which} still found after Holm's correction for that number."
    return [note] if tested else []


def _notes(table: Sequence[Row], students: str, comparisons: str, data: str = "validation data") -> str:
    """What the numbers are, in the table's own words: a table is often copied without its page."""
    made = [difference for row in table for difference in row.differences.values()]
    notes = [
        f"Students: {spread(row.degenerate.of, row.teachers, row.score.confidence)}{students}"
        for row in students_of(table)[:1]
    ]
    if made:
        notes += [comparisons] * bool(comparisons)
        how = pairing(max(row.teachers for row in table))
        notes.append(f"Differences are {how}, with their {percent(made[0].confidence)} t interval.")
        notes.append("An interval that includes 0 reads “no difference found”.")
    if any(row.score.n > 1 and row.score.low is None for row in students_of(table)):
        notes.append("A row whose scores are all equal has no interval.")
    for there in sorted({run.used for row in table for run in row.runs if run.used}):
        notes.append(f"There are {there:,} training rows: what asks for more is the student of all of them.")
    if any(run.selected for row in table for run in row.runs):
        where = "validation rows, none of these" if data == TEST else "some of these rows, so the scores are high"
        notes.append(f"Epochs were selected (`train.keep: best`) by score on {where}.")
    notes += [*holm_note(made), "A degenerate run gives one answer for all."]
    if _timed(table):
        notes.append("Milliseconds: the median for one row by torch on one thread; metrics/latency names the machine.")
    return " ".join(notes)


def _teachers(table: Sequence[Row]) -> str:
    """What the teacher's row is, as the end of a sentence."""
    runs = max((row.degenerate.of for row in table if row.teacher), default=1)
    return "; the teacher is one run." if runs == 1 else f"; the teacher's row is of {runs} teachers."


def tables(
    rows: Sequence[Row], titles: Mapping[str, str], comparisons: str = "", data: str = "validation data"
) -> list[Block]:
    """A section per task with a line per row: scores with verdicts, closeness to the teacher, cost; as far as known.

    titles: key of the rows -> its header; comparisons: what is compared with what, where its name does not say it;
    data: what was scored.
    """
    blocks: list[Block] = []
    for table in by_task(rows).values():
        about = f" by {', '.join(titles.values())}" if len(titles) > 1 else ""
        blocks.append(Heading(2, f"{table[0].task}: {table[0].metric} on {data}{about}"))
        blocks += [scores_table(table, titles), _notes(table, _teachers(table), comparisons, data)]
        if names := _names(row.closeness for row in table):
            lines = [[*_words(row, titles), *_estimates(row.closeness, names)] for row in students_of(table)]
            header = [*titles.values(), *(CLOSENESS.get(name, name) for name in names)]
            blocks += [Heading(3, "Closeness to the teacher"), Table(header, lines, len(titles))]
        if any(row.cost for row in table):
            known = [name for name in COST if any(name in row.cost for row in table)]
            cost = [[*_words(row, titles), *(_cost(row, name) for name in known)] for row in table]
            header = [*titles.values(), *(COST[name][0] for name in known)]
            blocks += [Heading(3, "Cost"), Table(header, cost, len(titles))]
    return blocks


def overview(lines: Sequence[Overall]) -> Table:
    """A line per method and a column per task; of several tasks also the average, the mean rank and the differences."""
    made = _names(line.average.differences for line in lines)
    tasks = {task: row.metric for line in lines for task, row in line.by_task.items()}
    several = len(tasks) > 1
    header = [
        *("method", *(f"{task}, {metric}" for task, metric in tasks.items()), *[AVERAGE, "mean rank"] * several),
        *(f"{AVERAGE} minus {name}" if several else f"minus {name}" for name in made),
    ]
    body: list[list[Cell]] = [
        [
            *(line.method, *(score_cell(line.by_task[task]) for task in tasks)),
            *[estimate_text(line.average.score, 3), "" if line.rank is None else f"{line.rank:.2f}"] * several,
            *(line.average.differences.get(name, "") for name in made),
        ]
        for line in lines
    ]
    return Table(header, body)


def over_tasks(lines: Sequence[Overall]) -> list[Block]:
    """The section of all tasks together; none where there is one task."""
    if len(lines[0].by_task) == 1:
        return []
    told = (
        "The average is over tasks, seed by seed; the rank is that among the students by mean score, 1 the best, "
        "the mean over tasks."
    )
    averages = [line.average for line in lines]
    title = Heading(2, "All tasks: headline metrics on validation data")
    return [title, overview(lines), _notes(averages, _teachers(averages), told)]


def scores_table(table: Sequence[Row], titles: Mapping[str, str]) -> Table:
    """A line per row of one task: its scores, and its differences with their verdicts."""
    others = _names(row.metrics for row in table)
    made = _names(row.differences for row in table)
    header = [*titles.values(), table[0].metric, *(f"minus {name}" for name in made), *others, "degenerate runs"]
    header += _timed(table)
    body = [
        [
            *(*_words(row, titles), score_cell(row)),
            *(row.differences.get(name, "") for name in made),
            *(estimate_text(row.metrics[name], 3) if name in row.metrics else "" for name in others),
            str(row.degenerate),
            *[_latency(row)] * len(_timed(table)),
        ]
        for row in table
    ]
    return Table(header, body, len(titles))


def curves(rows: Sequence[Row], axis: Axis) -> list[Block]:
    """Two tables per task, a line per value of the axis and columns per method: scores beside soft, and closeness."""
    blocks: list[Block] = []
    for table in by_task(rows).values():
        students = students_of(table)
        methods = ordered(row.method for row in students)
        values = sorted({row.keys[axis.field] for row in students}, key=lambda value: (isinstance(value, str), value))
        lines = {v: {row.method: row for row in students if row.keys[axis.field] == v} for v in values}
        made = [
            (method, name)
            for method in methods
            for name in _names(r.differences for r in students if r.method == method)
        ]
        header = [axis.title, COST["encoder_and_pooler"][0], *_timed(table), *methods]
        header += [f"{m} minus {name}" for m, name in made]
        scores = [
            [
                *(word(value), _cost(next(iter(line.values())), "encoder_and_pooler")),
                *[_latency(next(iter(line.values())))] * len(_timed(table)),
                *(score_cell(line[method]) for method in methods),
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
                word(value),
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
            Heading(3, "Closeness to the teacher, means over seeds"),
            Table([axis.title, *(f"{titles[name]}, {method}" for name in means for method in methods)], close),
        ]
    return blocks


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _words(row: Row, titles: Mapping[str, str]) -> list[str]:
    return [word(row.keys[key]) for key in titles]


def word(value: Any) -> str:
    """A value of a knob in a table."""
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _estimates(estimates: Mapping[str, Estimate], names: Iterable[str]) -> list[str]:
    return [estimate_text(estimates[name], DECIMALS.get(name, 4)) if name in estimates else "" for name in names]


def _timed(table: Sequence[Row]) -> list[str]:
    """The header of the column of latencies, where any was measured."""
    return ["one row, ms"] * any(LATENCY in row.cost for row in table)


def _latency(row: Row) -> str:
    return f"{row.cost[LATENCY]:.3g}" if LATENCY in row.cost else ""


def _cost(row: Row, name: str) -> str:
    return COST[name][1](row.cost[name]) if name in row.cost else ""
