"""What of a plan would not do: maps that are not stored, a full disk, too little memory."""

from collections.abc import Iterator, Sequence
from typing import Any

from kdcore.plan import space
from kdcore.plan.memory import LIBRARIES
from kdcore.plan.table import short, size
from kdcore.plan.task import TaskPlan


def exceeded(plans: Sequence[TaskPlan], targets: Any, free: int, available: int) -> Iterator[str]:
    """targets: the section of params.yaml; free, available: bytes of disk and memory."""
    for plan in plans:
        yield from _maps(plan, targets, free)
        yield from _memory(plan, available)
    disk = sum(plan.disk for plan in plans)
    if disk > free:
        yield f"disk: {size(disk)} are needed, and {size(free)} are free"


def _maps(plan: TaskPlan, targets: Any, free: int) -> Iterator[str]:
    name = plan.found.task.name
    for split, lengths in plan.splits.items():
        need = space.signal_bytes(plan.teacher, lengths, targets.dtype, stored=True).maps
        if targets.store == "disk" and need > free:
            yield (
                f"{name}: targets.store: disk needs {size(need)} for the {split} maps, and {size(free)} are "
                "free: targets will refuse"
            )
        if targets.store == "auto" and not plan.stored[split]:
            yield (
                f"{name}: targets.store: auto falls back to a live teacher for {split}: its maps need "
                f"{size(need)}, more than targets.disk_gb ({targets.disk_gb:g} GB) or the free disk allows"
                f"{_price(plan) if split == 'train' else ''}"
            )


def _price(plan: TaskPlan) -> str:
    """What the live teacher costs beside the students."""
    live = sum(work.flops for work in plan.works if work.what == "live teacher")
    return f"; it computes {short(live / 1e12)} TFLOP beside the students" if live else ""


def _memory(plan: TaskPlan, available: int) -> Iterator[str]:
    for one in plan.peaks:
        if (need := one.total + LIBRARIES) > available:
            yield (
                f"{plan.found.task.name}: {one.command} holds about {size(need)}, and {size(available)} "
                "of memory are available: raise train.accumulate, or lower train.batch_size, evaluate.batch_size or "
                "model.max_length"
            )
