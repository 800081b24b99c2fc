"""The plan of a run on stdout, as Markdown tables that can be pasted, and on stderr what would go wrong."""

import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from kdcore.artefacts import nearest, place_of_store
from kdcore.console import count_of, millions, short, size, warn
from kdcore.data import tasks
from kdcore.data.prepared import PROVENANCE, Data
from kdcore.distil.choice import Choice, known, on_gpu, what_for
from kdcore.model.names import check_length
from kdcore.params.overrides import every, for_task
from kdcore.params.rules import notices
from kdcore.params.sections import Params
from kdcore.plan.lengths import lengths
from kdcore.plan.rates import Bench, rates
from kdcore.plan.shapes import config_of
from kdcore.plan.training import Kind
from kdcore.plan.work import TaskPlan, Work, parameters, students
from kdcore.studies import Study

WORDS: Mapping[Kind, str] = {
    "training": "training",
    "internal": "training on attention maps",
    "forward": "forward passes",
    "maps": "forward passes with all maps",
}
NOTES = (
    "Hours are those of the arithmetic: the start of each command, reading and tokenising are not counted, nor is "
    "anything that is there already. A phase of pid or sid that its cosine_threshold ends sooner costs less."
)


def write_plan(
    params: Params,
    study: Study | None,
    asked: Callable[[str, int], tuple[int | None, set[int]]],
    shape: str | None,
    rows: int | None,
    tokens: float | None,
    seconds: float,
) -> None:
    """Print the plan.

    study: to plan in place of the headline run; asked: of how many training rows a task needs signals (None: all), and
    of which layers of a teacher, given the task and the teacher's depth; shape: the teacher's, where its config is not
    at hand; rows, tokens: of tasks that are not prepared; seconds: how long to measure this machine, 0 for not at all.
    """
    seeds = len(params.study[study.name]["seeds"]) if study and study.tunes else None
    plans: list[TaskPlan] = []
    names: list[str] = []
    free = shutil.disk_usage(nearest(place_of_store())).free
    for task in params.tasks:
        own = for_task(params, task)
        model, teacher = own.model, own.teacher
        named, revision = (teacher.finetuned, teacher.revision) if teacher.finetuned else (model.name, model.revision)
        config, name = config_of(shape, named, revision)
        check_length(config, model.max_length, name)
        planned = students(params, study, task)
        signals = asked(task, config.num_hidden_layers)
        folder = (study.data if study else Path("data")) / task
        found = tasks.find(task, params.task)
        counts_of = lengths(found, folder, named, revision, model.max_length, rows, tokens)
        left = free - sum(plan.disk for plan in plans)
        choice = _choice(folder, config, own) if own.targets.store == "auto" else None
        if choice:
            own = own.model_copy(update={"targets": choice.applied(own.targets)})
        plans.append(TaskPlan(own, planned, config, signals, counts_of, left, seeds))
        plans[-1].note = _note(choice, plans[-1])
        names.append(name)
    title = f"# {f'Study {study.name}' if study else 'The headline run'}\n\n{_models(names, plans)}"
    print(written(title, plans, _rates(plans, seconds) if seconds else {}, free))
    for problem in (*notices(params, study), *problems(plans, free)):
        warn(problem)


def _choice(folder: Path, config: Any, params: Params) -> Choice | None:
    """What was decided of the task's maps, where its data are prepared and their signals were made before."""
    if not (folder / PROVENANCE).is_file():
        return None
    what = (Data.open(folder).fingerprint, config.to_dict(), params.model.max_length, params.targets.dtype)
    return known(what_for(*what))


def _note(choice: Choice | None, plan: TaskPlan) -> str:
    """Where the task's maps come from, if seconds decided that, or will."""
    if choice:
        return f"Attention maps: {choice}."
    if plan.params.targets.store == "auto" and plan.stored["train"] and on_gpu():
        return (
            "Attention maps: stored, unless the teacher computes them faster on this GPU than they are read: that is "
            "measured when signals are first made."
        )
    return ""


def _models(names: Sequence[str], plans: Sequence[TaskPlan]) -> str:
    """A paragraph for the tasks that have the same teacher and students. names: of the teachers, by task."""
    said: dict[str, list[str]] = {}
    for name, plan in zip(names, plans, strict=True):
        said.setdefault(_model(name, plan), []).append(plan.lengths.task.name)
    return "\n\n".join(text if len(said) == 1 else f"{', '.join(tasks)}: {text}" for text, tasks in said.items())


def _model(name: str, plan: TaskPlan) -> str:
    config, depths = plan.config, sorted({one.student.layers for one in plan.students})
    teachers = f"{plan.teachers} teachers" if plan.teachers > 1 else "Teacher"
    return (
        f"{teachers}: {name}, {count_of(config.num_hidden_layers, 'layer')}, {config.hidden_size:,} wide, "
        f"{count_of(config.num_attention_heads, 'head')}, {millions(parameters(plan.teacher), 1)} M parameters. "
        f"Students: {len(plan.students)} of {', '.join(map(str, depths))} layer{'s' * (depths != [1])}, "
        f"{count_of(plan.seeds, 'seed')} each."
    )


def _rates(plans: Sequence[TaskPlan], seconds: float) -> dict[Kind, float]:
    """FLOP/s here of the kinds of work that the plans have, on models and texts of the first."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 2:
        busy = f"load {load:.1f}, {count_of(cores, 'core')}"
        warn(f"other work keeps this machine busy ({busy}): hours here are too long")
    plan = plans[0]
    deepest, params = max(plan.students, key=lambda one: one.student.layers), plan.params
    batch_size, dtype = params.evaluate.batch_size, params.targets.dtype
    bench = Bench(plan.config, plan.mapped[deepest.name], params.train, batch_size, dtype)
    kinds = {kind for one in plans for work in one.works for kind in work.flops}
    return rates(bench, plan.splits["train"], sorted(kinds), seconds)


def problems(plans: Sequence[TaskPlan], free: int) -> Iterator[str]:
    """What would go wrong: maps that are not stored, a full disk. free: bytes of disk."""
    for plan in plans:
        name, targets = plan.lengths.task.name, plan.params.targets
        for split, need in plan.map_bytes.items():
            if targets.store == "disk" and need > free:
                yield (
                    f"{name}: targets.store: disk needs {size(need)} for the {split} maps, and {size(free)} are "
                    "free: targets will refuse"
                )
            if targets.store == "auto" and not plan.stored[split]:
                live = sum(work.total for work in plan.works if work.what == "live teacher" and split == "train")
                price = f"; it computes {short(live / 1e12)} TFLOP beside the students" if live else ""
                yield (
                    f"{name}: targets.store: auto falls back to a live teacher for {split}: its maps need "
                    f"{size(need)}, more than targets.disk_gb ({targets.disk_gb:g} GB) or the free disk allows{price}"
                )
    disk = sum(plan.disk for plan in plans)
    if disk > free:
        yield f"disk: {size(disk)} are needed, and {size(free)} are free"


def written(title: str, plans: Sequence[TaskPlan], speeds: Mapping[Kind, float], free: int) -> str:
    """The whole plan. speeds: FLOP/s here by kind, empty where they were not measured."""
    parts = [title]
    for plan in plans:
        parts += [f"## {plan.lengths.task.name}", _rows(plan), *_own(plan), _works(plan.works, speeds), _bytes(plan)]
    if len(plans) > 1:
        parts += ["## All tasks", _works([work for plan in plans for work in plan.works], speeds, total_only=True)]
    parts.append(f"Disk: {size(sum(plan.disk for plan in plans))} in all, {size(free)} are free.")
    if speeds:
        measured = ", ".join(f"{WORDS[kind]} {speed / 1e9:,.0f}" for kind, speed in speeds.items())
        parts.append(f"Here, measured on models of this shape in GFLOP/s: {measured}.")
    return "\n\n".join([*parts, NOTES])


def _rows(plan: TaskPlan) -> str:
    train, validation = plan.lengths.train, plan.splits["validation"]
    return (
        f"{len(train):,} training rows of {train.mean():.1f} tokens and {len(validation):,} validation rows of "
        f"{validation.mean():.1f}: {plan.lengths.source}."
    )


def _own(plan: TaskPlan) -> list[str]:
    """What is other for this task than in the sections of params.yaml."""
    task = plan.lengths.task.name
    own = [f"{one.key} {one.value}" for one in every(task, plan.params.task.get(task))]
    said = f"Of this task alone: {', '.join(own)}." if own else ""
    return [*filter(None, [said, plan.note])]


def _works(works: Sequence[Work], speeds: Mapping[Kind, float], total_only: bool = False) -> str:
    def costs(*some: Work) -> list[str]:
        here = sum(flops / speeds[kind] for work in some for kind, flops in work.flops.items()) if speeds else 0.0
        return [short(sum(work.total for work in some) / 1e12), *([duration(here)] if speeds else [])]

    heads = ["stage", "what", "runs", "rows", "epochs", "TFLOP", *(["here"] if speeds else [])]
    lines = [
        [work.stage, work.what, f"{work.runs:,}", f"{work.rows:,}", f"{work.epochs or ''}", *costs(work)]
        for work in works
        if not total_only
    ]
    return grid(heads, [*lines, ["total", "", "", "", "", *costs(*works)]], words=2)


def _bytes(plan: TaskPlan) -> str:
    lines = [["tokens", "", "", size(plan.tokens)]]
    for split, signals in plan.signals.items():
        kept, every = plan.kept[split], plan.config.num_hidden_layers
        part = "" if kept == every else f", {kept} of {every} layers"
        maps = f"{size(signals.maps)}{part}" if plan.stored[split] else "live teacher"
        cut = f", {signals.parts} parts" if signals.parts > 1 else ""
        lines.append([f"signals, {split}{cut}", maps, size(signals.rest), size(signals.maps + signals.rest)])
    lines.append(["checkpoints of one run", "", "", size(plan.checkpoints)])
    lines.append(["models", "", "", size(plan.models)])
    lines.append(["total", "", "", size(plan.disk)])
    return grid(["on disk", "attention maps", "[CLS], logits", "in all"], lines)


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


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{short(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
