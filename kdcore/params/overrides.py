"""Knobs that are other ones for a study, for a task, or for a method of a task, in the place of those of all.

The narrowest wins: a section of params.yaml, then the study's (`study.<study>.<section>`), then the task's
(`task.<task>`), then its method's (`task.<task>.methods.<method>`), then what a study's cell or `-S` sets.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kdcore.params.sections import Params, TaskEntry
from kdcore.studies import OWN, Study


@dataclass(frozen=True)
class Override:
    """A knob's value for one task, or one study, and its full key in params.yaml, e.g. task.rte.teacher.epochs."""

    key: str
    value: Any


def of_task(
    task: str | None, entry: TaskEntry | None, method: str | None = None, tuned: Collection[str] = ()
) -> dict[str, Override]:
    """Knob, e.g. student.layers -> the task's override, or its method's where that has one, but for the tuned knobs."""
    if entry is None:
        return {}
    found = dict(_knobs(f"task.{task}", dict(entry)))
    if method in entry.methods:
        own = dict(_knobs(f"task.{task}.methods.{method}", dict(entry.methods[method])))
        found |= {knob: one for knob, one in own.items() if knob not in tuned}
    return found


def of_study(study: Study | None, grids: Mapping[str, Any]) -> dict[str, Override]:
    """Knob -> the study's override, where it has some. grids: the section `study` of params.yaml."""
    return dict(_knobs(f"study.{study.name}", grids[study.name])) if study and study.own else {}


def own_lists(study: Study | None, grids: Mapping[str, Any]) -> dict[str, Any]:
    """The tasks and the seeds of a study that has its own."""
    return {name: grids[study.name][name] for name in ("tasks", "seeds")} if study and study.own else {}


def _knobs(place: str, sections: Mapping[str, Any]) -> Iterator[tuple[str, Override]]:
    """Those of the sections that are there. A weight is a knob of its own: distill.weights.kl."""
    for section in OWN:
        for name, value in sections.get(section, {}).items():
            parts = {f"{name}.{part}": inner for part, inner in value.items()} if isinstance(value, Mapping) else {}
            for knob, inner in (parts or {name: value}).items():
                yield f"{section}.{knob}", Override(f"{place}.{section}.{knob}", inner)


def every(task: str, entry: TaskEntry | None) -> list[Override]:
    """All that is other for the task, and then for its methods."""
    if entry is None:
        return []
    own = of_task(task, entry)
    methods = [of_task(task, entry, method) for method in entry.methods]
    return list({one.key: one for found in (own, *methods) for one in found.values()}.values())


def values(own: Mapping[str, Override]) -> dict[str, Any]:
    """Knob -> value."""
    return {knob: one.value for knob, one in own.items()}


def with_changes(sections: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The sections with knobs changed by dotted key; a section that is absent stays absent."""
    changed = dict(sections)
    for key, value in changes.items():
        section, name, *part = key.split(".", 2)
        if section in changed:
            new = {**getattr(changed[section], name), part[0]: value} if part else value
            changed[section] = changed[section].model_copy(update={name: new})
    return changed


def for_study(params: Params, study: Study) -> Params:
    """The params as the study has them."""
    shared, own = {name: getattr(params, name) for name in OWN}, of_study(study, params.study)
    return params.model_copy(update=with_changes(shared, values(own)) | own_lists(study, params.study))


def for_task(params: Params, task: str, method: str | None = None) -> Params:
    """The params as the task, and its method, have them."""
    shared = {name: getattr(params, name) for name in ("teacher", "student", "distill", "train")}
    return params.model_copy(update=with_changes(shared, values(of_task(task, params.task.get(task), method))))


def renamed(problem: str, names: Mapping[str, str]) -> str:
    """A problem with a knob, or a value of its list, under the key that asks for it. names: knob -> that key."""
    key, colon, rest = problem.partition(":")
    knob = next((name for name in names if f"{key}.".startswith(f"{name}.")), key)
    return f"{names.get(knob, knob)}{key.removeprefix(knob)}{colon}{rest}"
