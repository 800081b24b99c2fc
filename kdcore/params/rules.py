"""The rules of params.yaml that hold between its sections: tasks, depths, loss weights."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kdcore.data import embedded
from kdcore.data.metrics import CLASS_METRICS, METRICS, SCORE_METRICS
from kdcore.data.tasks import BUILT_IN, GLUE, MOVIES, RESERVED, SPLITS
from kdcore.errors import near, shown

Problems = Iterator[str]


def broken(sections: Mapping[str, Any]) -> list[str]:
    """What is wrong across the sections; a rule is left out where a section that it needs is itself wrong."""
    return [
        problem
        for rule, needs in RULES.items()
        if all(need in sections for need in needs)
        for problem in rule(*(sections[need] for need in needs))
    ]


def known_tasks(tasks: Any, own: Any) -> Problems:
    known = [*BUILT_IN, *own]
    for i, name in enumerate(tasks):
        if name not in known:
            hint = near(name, known) or f", known are {', '.join(known)}; describe your own under 'task'"
            yield f"tasks.{i}: unknown task {shown(name)}{hint}"


def own_tasks(own: Any) -> Problems:
    for name, task in own.items():
        if name in BUILT_IN:
            yield f"task.{name}: is the name of a built-in task, choose another"
        if name == RESERVED:
            yield f"task.{name}: is the folder of the raw files, choose another name"
        yield from _own_task(f"task.{name}", task)


def _own_task(key: str, task: Any) -> Problems:
    if len(task.text) > 2:
        yield f"{key}.text: must be one column or two, found {len(task.text)}"
    if task.label in task.text:
        yield f"{key}.label: must be another column than the text, found {shown(task.label)}"
    if len(set(task.labels)) != len(task.labels):
        yield f"{key}.labels: must not repeat a value, found {shown(list(task.labels))}"
    if len(task.labels) == 1:
        found = shown(list(task.labels))
        yield f"{key}.labels: must be two classes or more, or left out for a regression, found {found}"
    yield from _own_metrics(key, task)


def _own_metrics(key: str, task: Any) -> Problems:
    fitting, kind = (CLASS_METRICS, "classes") if task.labels else (SCORE_METRICS, "a regression (no labels)")
    for i, metric in enumerate(task.metrics):
        if metric not in fitting:
            yield f"{key}.metrics.{i}: must be {' | '.join(fitting)} for {kind}, found {shown(metric)}"
        elif METRICS[metric].classes not in (None, len(task.labels)):
            yield f"{key}.metrics.{i}: {metric} is of the second of two labels, found {len(task.labels)} labels"


def right_source(tasks: Any, data: Any, own: Any) -> Problems:
    for i, name in enumerate(tasks):
        if data.source == "embedded" and (name in GLUE or name in own):
            yield f"tasks.{i}: must be movies where data.source is embedded, found {shown(name)}"
        if data.source != "embedded" and name == MOVIES.name:
            yield f"data.source: must be embedded for the task movies, found {shown(data.source)}"


def known_columns(tasks: Any, data: Any, own: Any) -> Problems:
    described = [BUILT_IN.get(name) or own.get(name) for name in tasks]
    ours = [column for task in described if task for column in (*task.text, task.label)]
    for column in data.columns:
        if column not in ours and all(described):
            hint = near(column, ours) or f", the tasks' columns are {', '.join(dict.fromkeys(ours))}"
            yield f"data.columns.{column}: unknown column{hint}"
    theirs = list(data.columns.values())
    for name in dict.fromkeys(name for name in theirs if theirs.count(name) > 1):
        yield f"data.columns: {shown(name)} stands for more than one column"


def known_splits(data: Any) -> Problems:
    for split in data.splits:
        if split not in SPLITS:
            hint = near(split, SPLITS) or f", allowed are {', '.join(SPLITS)}"
            yield f"data.splits.{split}: unknown split{hint}"
    theirs = list(data.splits.values())
    for name in dict.fromkeys(name for name in theirs if theirs.count(name) > 1):
        yield f"data.splits: {shown(name)} stands for more than one split"


def explicit_map(student: Any) -> Problems:
    layers = student.layer_map
    if isinstance(layers, tuple) and len(layers) != student.layers:
        yield (
            f"student.layer_map: must have one teacher layer for each of the {student.layers} student layers "
            f"(student.layers), found {len(layers)}: {shown(list(layers))}"
        )


def internal_weights(methods: Any, distill: Any, study: Any) -> Problems:
    """A method of internal losses needs one that counts."""
    weights = {"-kl": distill.kl_weight, "-cos": distill.cos_weight}
    grids = (study.methods, study.depth, study.data_size, study.convergence, study.ablation)
    studied = [method for grid in grids for method in grid.methods]
    for method in dict.fromkeys([*methods, *studied, *study.convergence.head]):
        if method in ("none", "soft"):
            continue
        terms = [term for term in weights if method.endswith(term)] or list(weights)
        if not any(weights[term] for term in terms):
            keys = " and ".join(f"distill.{term[1:]}_weight" for term in terms)
            yield f"{keys}: must not be 0 with the method {method}, which would learn nothing in its layers"


def micro_batches(train: Any) -> Problems:
    if train.accumulate > train.batch_size:
        most = f"train.batch_size ({train.batch_size})"
        yield f"train.accumulate: must be at most {most}, found {train.accumulate}"


def depths(student: Any, study: Any, model: Any, teacher: Any) -> Problems:
    """No student is deeper than its teacher, as far as a config.json at hand tells the teacher's depth."""
    key = "teacher.finetuned" if teacher.finetuned else "model.name"
    try:
        most = _layers(teacher.finetuned or model.name)
    except (OSError, ValueError, RecursionError) as error:
        yield f"{key}: its config.json cannot be read: {' '.join(str(error).split())[:200]}"
        return
    if most is None:
        return
    top = student.layer_map[-1] if isinstance(student.layer_map, tuple) else 1
    studied = {f"study.depth.layers.{i}": layers for i, layers in enumerate(study.depth.layers)}
    for place, layers in {"student.layers": student.layers, "student.layer_map": top, **studied}.items():
        if layers > most:
            yield f"{place}: must be at most {most}, the teacher's layers ({key}), found {layers}"


def _layers(name: str) -> int | None:
    """The depth in a local model's config.json; None for hub names and models that are not there yet."""
    folder = embedded.folder() / embedded.MODEL if name == "embedded" else Path(name)
    config = folder / "config.json"
    if not config.is_file():
        return None
    found = json.loads(config.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"must be a mapping, found {shown(found)}")
    depth = found.get("num_hidden_layers", found.get("n_layers"))
    return depth if type(depth) is int else None


RULES: dict[Callable[..., Problems], tuple[str, ...]] = {
    known_tasks: ("tasks", "task"),
    own_tasks: ("task",),
    right_source: ("tasks", "data", "task"),
    known_columns: ("tasks", "data", "task"),
    known_splits: ("data",),
    explicit_map: ("student",),
    internal_weights: ("methods", "distill", "study"),
    micro_batches: ("train",),
    depths: ("student", "study", "model", "teacher"),
}
