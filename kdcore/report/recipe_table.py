"""Recipes in; GitHub Markdown out, a table per task."""

from collections.abc import Mapping, Sequence

from kdcore.report.markdown import comparison_notes, difference_text, estimate_text, grid, spread
from kdcore.report.recipes import Recipe


def recipe_markdown(
    table: Sequence[Recipe], teachers: Mapping[str, float], by: Mapping[str, str], what: str, notes: str
) -> str:
    """A section per task, its rows in the order of `table`.

    teachers: task -> score; by: column -> its header; what: the rows are about; notes: what comparisons are with.
    """
    tasks = dict.fromkeys(recipe.task for recipe in table)
    parts = {task: [recipe for recipe in table if recipe.task == task] for task in tasks}
    return "\n".join(_section(rows, teachers[task], by, what, notes) for task, rows in parts.items())


def _section(table: Sequence[Recipe], teacher: float, by: Mapping[str, str], what: str, notes: str) -> str:
    compared = list(dict.fromkeys(name for recipe in table for name in recipe.differences))
    first = table[0]
    header = [*by.values(), first.metric, *(f"minus {name}" for name in compared), "GFLOP", "degenerate runs"]
    title = f"## {first.task}: {first.metric} on validation data by {what}"
    return (
        "\n\n".join([title, grid(header, [_line(r, compared) for r in table], len(by)), _notes(table, teacher, notes)])
        + "\n"
    )


def _line(recipe: Recipe, compared: Sequence[str]) -> list[str]:
    minus = [difference_text(recipe.differences[name]) if name in recipe.differences else "" for name in compared]
    return [
        *recipe.choices,
        estimate_text(recipe.score, 3),
        *minus,
        f"{recipe.gflop:,.0f}",
        str(recipe.degenerate),
    ]


def _notes(table: Sequence[Recipe], teacher: float, notes: str) -> str:
    seeds, confidence = table[0].degenerate.of, table[0].score.confidence
    p_holm = [difference.p_holm for recipe in table for difference in recipe.differences.values()]
    said = [f"Students: {spread(seeds, confidence)}. The teacher scores {teacher:.3f}.", *[notes] * bool(p_holm)]
    return " ".join([*said, *comparison_notes(p_holm, confidence)])
