"""A plan as text: plain tables, in Markdown so that they can be pasted."""

import io
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from kdcore.plan.gpus import Gpu
from kdcore.plan.memory import LIBRARIES
from kdcore.plan.task import TaskPlan
from kdcore.plan.work import Kind, Work

TRAINS = ("training", "internal")
SAYS: Mapping[Kind, str] = {
    "training": "training",
    "internal": "training on attention maps",
    "forward": "forward passes",
    "maps": "forward passes with all maps",
}
NOTES = (
    "Hours are those of the arithmetic: the start of each command, reading and tokenising are not counted, nor is "
    "anything that is there already. A phase of pid or sid that its cosine_threshold ends sooner costs less."
)


def seconds_here(work: Work, rates: Mapping[Kind, float]) -> float:
    return sum(part.flops / rates[part.kind] for part in work.parts)


def seconds_there(work: Work, gpu: Gpu) -> float:
    return sum(gpu.seconds(part.flops, part.passes, part.kind in TRAINS) for part in work.parts)


def written(
    title: str, plans: Sequence[TaskPlan], rates: Mapping[Kind, float], gpu: Gpu | None, free: int, available: int
) -> str:
    """The whole plan. rates: FLOP/s here by kind, empty where they were not measured; gpu: None where none is named."""
    parts = [title]
    for plan in plans:
        parts += [
            f"## {plan.found.task.name}",
            _rows(plan),
            _works(plan.works, rates, gpu),
            _bytes(plan),
            _memory(plan),
        ]
    if len(plans) > 1:
        works = [work for plan in plans for work in plan.works]
        parts += ["## All tasks", _works(works, rates, gpu, total_only=True)]
    disk = sum(plan.disk for plan in plans)
    parts.append(
        f"Disk: {size(disk)} in all, {size(free)} are free. Memory: {size(available)} available; Python and its "
        f"libraries take {size(LIBRARIES)} beside what is listed."
    )
    return "\n\n".join([*parts, *_bases(rates, gpu), NOTES])


def _rows(plan: TaskPlan) -> str:
    train, validation = plan.found.train, plan.found.validation["validation"]
    return (
        f"{len(train):,} training rows of {train.mean():.1f} tokens and {len(validation):,} validation rows of "
        f"{validation.mean():.1f}: {plan.found.said}."
    )


def _works(works: Sequence[Work], rates: Mapping[Kind, float], gpu: Gpu | None, total_only: bool = False) -> str:
    def times(*some: Work) -> list[str]:
        here = [duration(sum(seconds_here(work, rates) for work in some))] if rates else []
        return here + ([duration(sum(seconds_there(work, gpu) for work in some))] if gpu else [])

    heads = [
        "stage",
        "what",
        "runs",
        "rows",
        "epochs",
        "TFLOP",
        *(["here"] if rates else []),
        *([gpu.name] if gpu else []),
    ]
    lines = [
        [work.stage, work.what, f"{work.runs:,}", f"{work.rows:,}", f"{work.epochs or ''}", tera(work), *times(work)]
        for work in works
        if not total_only
    ]
    total = ["total", "", "", "", "", tera(*works), *times(*works)]
    return grid(heads, [*lines, total], words=2)


def _bytes(plan: TaskPlan) -> str:
    lines = []
    for split, signals in plan.signals.items():
        maps = size(signals.maps) if plan.stored[split] else "live teacher"
        lines.append([f"signals, {split}", maps, size(signals.rest), size(signals.maps + signals.rest)])
    lines += [
        ["checkpoints of one run", "", "", size(plan.checkpoints)],
        ["models", "", "", size(plan.models)],
    ]
    lines.append(["total", "", "", size(plan.disk)])
    return grid(["on disk", "attention maps", "[CLS], logits", "in all"], lines)


def _memory(plan: TaskPlan) -> str:
    names = ("weights", "gradients", "moments", "activations", "signals", "total")
    lines = [[one.command, *(size(getattr(one, name)) for name in names)] for one in plan.peaks]
    heads = ["in memory, at most", "weights", "gradients", "AdamW's moments", "activations", "signals", "in all"]
    return grid(heads, lines)


def _bases(rates: Mapping[Kind, float], gpu: Gpu | None) -> list[str]:
    measured = ", ".join(f"{SAYS[kind]} {rate / 1e9:,.0f}" for kind, rate in rates.items())
    here = [f"Here, measured on models of this shape in GFLOP/s: {measured}."] if rates else []
    return here + ([gpu.basis] if gpu else [])


def grid(heads: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1) -> str:
    """An aligned Markdown table: the first `words` columns are text, the others stand to the right."""
    table = Table(box=box.MARKDOWN, pad_edge=True)
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index < words else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    page = io.StringIO()
    Console(file=page, width=1000, color_system=None, markup=False, emoji=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines() if line.strip())


def tera(*works: Work) -> str:
    return short(sum(work.flops for work in works) / 1e12)


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def size(count: float) -> str:
    """Bytes, in the unit that suits."""
    return f"{short(count / 1e9)} GB" if count >= 1e9 else f"{short(count / 1e6)} MB" if count else "none"


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{short(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
