"""Rows of the main table in; GitHub Markdown out."""

from collections.abc import Callable, Iterable, Sequence

from kdcore.report.statistics import Difference, Estimate, percent
from kdcore.report.tables import BASELINES, Row

_FIDELITY = {  # column -> header, decimals
    "agreement": ("agreement", 3),
    "soft_label_kl": ("soft-label KL", 4),
    "score_mse": ("score MSE", 4),
    "attention_kl": ("attention KL, mean", 4),
    "attention_kl_total": ("attention KL, total", 3),
    "cls_cosine": ("[CLS] cosine loss", 4),
}
_COST: dict[str, tuple[str, Callable[[float], str]]] = {  # column -> header, how a number is shown
    "encoder_and_pooler": ("encoder + pooler, M", lambda count: f"{count / 1e6:.2f}"),
    "total": ("all parameters, M", lambda count: f"{count / 1e6:.2f}"),
    "bytes": ("MB", lambda count: f"{count / 1e6:.1f}"),
    "seconds": ("training, s", lambda seconds: f"{seconds:,.0f}"),
    "gflop": ("training, GFLOP", lambda gflop: f"{gflop:,.0f}"),
}


def estimate_text(estimate: Estimate, decimals: int) -> str:
    """`0.812 ± 0.010`; the value alone where no interval can be given."""
    if estimate.high is None:
        return f"{estimate.value:.{decimals}f}"
    return f"{estimate.value:.{decimals}f} ± {estimate.high - estimate.value:.{decimals}f}"


def difference_text(difference: Difference) -> str:
    """`+0.013 [+0.002, +0.024] higher`; the reason where no interval can be given."""
    estimate = difference.estimate
    interval = "" if estimate.low is None else f" [{estimate.low:+.3f}, {estimate.high:+.3f}]"
    verdict = starred(difference.verdict, difference.p_holm, estimate.confidence)
    return f"{estimate.value:+.3f}{interval} {verdict}"


def starred(verdict: str, p_holm: float | None, confidence: float) -> str:
    """The verdict, with a star where it stands after Holm's correction too."""
    return verdict + "*" * (p_holm is not None and p_holm < 1 - confidence)


def holm_note(p_holm: Sequence[float | None], confidence: float) -> list[str]:
    """How many comparisons were tested, and what the star says; p_holm: of each comparison, None where untested."""
    tested = [p for p in p_holm if p is not None]
    found = "* marks what is" if any(starred("", p, confidence) for p in tested) else "none is"
    said = f"Comparisons tested: {len(tested)}; {found} still found after Holm's correction for that number."
    return [said] if tested else []


def markdown(table: Sequence[Row], split: str = "validation") -> str:
    """A section per task: scores with verdicts, closeness to the teacher, cost."""
    tasks = dict.fromkeys(row.task for row in table)
    return "\n".join(_section([row for row in table if row.task == task], split) for task in tasks)


def _section(table: Sequence[Row], split: str) -> str:
    parts = [f"## {table[0].task}: {table[0].metric} on {split} data", _scores(table), _notes(table)]
    parts += ["### Closeness to the teacher", _fidelity(table)] if len(table) > 1 else []
    return "\n\n".join([*parts, "### Cost", _cost(table)]) + "\n"


def grid(header: Sequence[str], body: Iterable[Sequence[str]], words: int = 1) -> str:
    """A GitHub table: the first `words` columns are text, the rest is aligned to the right."""
    lines = [header, [":---"] * words + ["---:"] * (len(header) - words), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _scores(table: Sequence[Row]) -> str:
    headline = table[0].metric
    others = [name for name in _names(table) if name != headline and name not in _FIDELITY]
    baselines = [name for name in BASELINES if any(name in row.differences for row in table)]
    header = ["method", headline, *(f"minus {name}" for name in baselines), *others, "degenerate runs"]
    body = []
    for row in table:
        minus = [difference_text(row.differences[b]) if b in row.differences else "" for b in baselines]
        body.append([row.method, *_texts(row, [headline]), *minus, *_texts(row, others), str(row.degenerate)])
    return grid(header, body)


def _names(table: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in table for name in row.estimates))


def _texts(row: Row, names: Iterable[str]) -> list[str]:
    return [
        estimate_text(row.estimates[name], _FIDELITY.get(name, ("", 3))[1]) if name in row.estimates else ""
        for name in names
    ]


def _fidelity(table: Sequence[Row]) -> str:
    names = [name for name in _names(table) if name in _FIDELITY]
    students = [row for row in table if row.method != "teacher"]
    return grid(["method", *(_FIDELITY[name][0] for name in names)], [[r.method, *_texts(r, names)] for r in students])


def _cost(table: Sequence[Row]) -> str:
    body = [
        [row.method, *(show(row.cost[n]) if n in row.cost else "" for n, (_, show) in _COST.items())] for row in table
    ]
    return grid(["method", *(header for header, _ in _COST.values())], body)


def spread(seeds: int, confidence: float) -> str:
    """What `±` means in a table."""
    if seeds == 1:
        return "one seed, no interval"
    return f"mean ± half width of the {percent(confidence)} t interval over {seeds} seeds"


def _notes(table: Sequence[Row]) -> str:
    """What the numbers are, in the table's own words: a table is often copied without its page."""
    students = [row for row in table if row.method != "teacher"]
    confidence = table[0].estimates[table[0].metric].confidence
    notes = [f"Students: {spread(row.degenerate.of, confidence)}; the teacher is one run." for row in students[:1]]
    p_holm = [difference.p_holm for row in table for difference in row.differences.values()]
    return " ".join([*notes, *comparison_notes(p_holm, confidence)])


def comparison_notes(p_holm: Sequence[float | None], confidence: float) -> list[str]:
    """What a table's differences and its count of degenerate runs say; p_holm: of each difference."""
    notes = []
    if p_holm:
        notes.append(f"Differences are paired by seed, with their {percent(confidence)} t interval.")
        notes.append("An interval that includes 0 reads “no difference found”.")
    return [*notes, *holm_note(p_holm, confidence), "A degenerate run predicts one class only."]
