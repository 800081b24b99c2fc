"""The plan of a run on stdout, and on stderr what of it would not do."""

from collections.abc import Sequence
from typing import Any

from kdcore.console import warn
from kdcore.plan import machine, measure, space
from kdcore.plan.gpus import Gpu
from kdcore.plan.lengths import Lengths
from kdcore.plan.limits import exceeded
from kdcore.plan.memory import LIBRARIES
from kdcore.plan.table import size, written
from kdcore.plan.task import Asked, TaskPlan
from kdcore.plan.work import Kind


def write_plan(asked: Asked, config: Any, name: str, tasks: Sequence[Lengths], gpu: Gpu | None, seconds: float) -> None:
    """config, name: the teacher's shape; seconds: how long to measure this machine, 0 not at all."""
    free, available = machine.free_disk(), machine.available_memory()
    plans, left = [], free
    for found in tasks:
        plans.append(TaskPlan(asked, config, found, left))
        left -= plans[-1].disk
    rates = _rates(asked, plans[0], seconds, available) if seconds else {}
    print(written(_title(asked, name, plans[0]), plans, rates, gpu, free, available))
    for problem in exceeded(plans, asked.targets, free, available):
        warn(problem)


def _title(asked: Asked, name: str, plan: TaskPlan) -> str:
    config, count = plan.config, space.parameters(plan.teacher)
    depths = sorted({student.layers for student in asked.students})
    return (
        f"# {f'Study {asked.study}' if asked.study else 'The headline run'}\n\n"
        f"Teacher: {name}, {config.num_hidden_layers} layers, {config.hidden_size:,} wide, "
        f"{config.num_attention_heads} heads, {count / 1e6:.1f} M parameters. Students: {len(asked.students)} of "
        f"{', '.join(map(str, depths))} layers, {asked.seeds} seeds each."
    )


def _rates(asked: Asked, plan: TaskPlan, seconds: float, available: int) -> dict[Kind, float]:
    """FLOP/s here of the kinds of work that the plan has; none where the models do not fit into memory."""
    need = LIBRARIES + space.WEIGHT * space.parameters(plan.teacher) + plan.peaks[-1].total
    if need > available:
        warn(f"not measured here: it needs {size(need)}, and {size(available)} of memory are available")
        return {}
    if (load := machine.load()) > machine.cores() / 2:
        warn(f"other work keeps this machine busy (load {load:.1f}, {machine.cores()} cores): hours here are too long")
    kinds = sorted({part.kind for work in plan.works for part in work.parts})
    student = max(asked.students, key=lambda one: one.layers)
    bench = measure.Bench(plan.config, plan.mapped[student.name], asked.train, asked.batch_size, asked.targets.dtype)
    return measure.rates(bench, plan.splits["train"], kinds, seconds)
