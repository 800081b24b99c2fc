"""The rules of params.yaml that hold between its sections: tasks, depths, loss weights.

A rule takes the sections that its arguments name, and is left out where one of them is itself wrong.
"""

import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from kdcore.console import count_of
from kdcore.data import embedded
from kdcore.data.metrics import CLASS_METRICS, METRICS, SCORE_METRICS
from kdcore.data.tasks import BUILT_IN, GLUE, LABEL, MOVIES, RESERVED, SPLITS
from kdcore.distil.methods import Method
from kdcore.errors import near, one_line, shown
from kdcore.model.families import positions
from kdcore.model.places import local
from kdcore.params.overrides import of_study, of_task, own_lists, renamed, values, with_changes
from kdcore.params.sections import Data, Distill, Model, Params, Steps, Student, TaskEntry, Teacher, Train
from kdcore.studies import STUDIES, Grid, Study, cells, idle_teachers

Problems: TypeAlias = Iterator[str]
Tasks: TypeAlias = tuple[str, ...]
Entries: TypeAlias = dict[str, TaskEntry]

DESCRIPTION = ("text", "label", "metrics")  # what a task of the user's own must say of itself


def broken(sections: Mapping[str, Any], study: str | None = None) -> list[str]:
    """What is wrong across the sections, with the students of the headline run, and with those of `study`."""
    problems = [*_of(OF_THE_RUN, sections), *_of_students(sections, None, {})]
    if study is not None and "study" in sections:
        problems += _of_study(sections, STUDIES[study])
    return list(dict.fromkeys(problems))


def notices(params: Params, study: Study | None = None) -> Problems:
    """What may be meant, and costs what one may not see: teachers that teach no student of the headline run.

    study: in the place of the headline run; the params are then as it has them.
    """
    seeds = params.study[study.name]["seeds"] if study and study.tunes else params.seeds
    teachers = params.teacher.seeds
    if idle := idle_teachers(seeds, teachers):
        yield (
            f"{f'study {study.name}: ' if study else ''}teacher.seeds: {', '.join(map(str, idle))} "
            f"{'teach' if len(idle) > 1 else 'teaches'} no student, and {'are' if len(idle) > 1 else 'is'} trained all "
            f"the same: students with seeds {', '.join(map(str, seeds))} take the {len(teachers)} teachers in turn"
        )


def _of(rules: Iterable[Callable[..., Problems]], sections: Mapping[str, Any]) -> Problems:
    for rule in rules:
        needs = list(inspect.signature(rule).parameters)
        if all(need in sections for need in needs):
            yield from rule(*(sections[need] for need in needs))


def _of_study(sections: Mapping[str, Any], study: Study) -> Problems:
    """What the study asks for, under the rules of the headline run; each under the key that asks for it."""
    own, lists = of_study(study, sections["study"]), own_lists(study, sections["study"])
    changed = with_changes(sections, values(own)) | lists
    names = {knob: override.key for knob, override in own.items()}
    names |= {f"tasks.{i}": f"study.{study.name}.tasks.{i}" for i in range(len(lists.get("tasks", ())))}
    if study.own:
        yield from (renamed(problem, names) for problem in _of(OF_THE_RUN, changed))
    yield from _of_students(changed, study, names)


def _of_students(sections: Mapping[str, Any], study: Study | None, names: Mapping[str, str]) -> Problems:
    """Each student of the headline run, or of the study, as its task has it; where no task is known, as all have it."""
    asked: list[tuple[str | None, dict[str, Any]]]
    if study:
        grid = sections["study"][study.name]
        asked, asks = [(cell.method, dict(cell.sets)) for cell in cells(study, grid)], study.asked(grid).asks
    else:
        asked, asks = [(method, {}) for method in sections.get("methods", (None,))], {}
    entries = sections.get("task", {})
    for method, sets in asked:
        one = {"methods": (method,)} if method else {}
        common = [*_of(OF_A_STUDENT, with_changes(sections, sets) | one)]
        for task in sections.get("tasks", (None,)):
            own = of_task(task, entries.get(task), method)
            if not own:
                yield from (renamed(problem, {**names, **asks}) for problem in common)
                continue
            for problem in _of(OF_A_STUDENT, with_changes(sections, values(own) | sets) | one):
                keys = {knob: override.key for knob, override in own.items()}
                named = renamed(problem, {**names, **keys, **asks})
                yield named if named != problem or problem in common else f"{problem}, for the task {task}"


def known_tasks(tasks: Tasks, task: Entries) -> Problems:
    known = list(dict.fromkeys([*BUILT_IN, *task]))
    for i, name in enumerate(tasks):
        if name not in known:
            hint = near(name, known) or f", known are {', '.join(known)}; describe your own under 'task'"
            yield f"tasks.{i}: unknown task {shown(name)}{hint}"
        elif name not in task:
            yield f"tasks.{i}: {shown(name)} has no entry under 'task', add '{name}: {{}}': DVC looks for changes there"


def own_tasks(task: Entries) -> Problems:
    for name, own in task.items():
        described = [field for field in DESCRIPTION if getattr(own, field)]
        needed = [field for field in DESCRIPTION if field != "label" or not any(map(_by_teacher, own.metrics))]
        if name == RESERVED:
            yield f"task.{name}: is the folder of the raw files, choose another name"
        if name not in BUILT_IN:
            yield from (f"task.{name}.{field}: is missing" for field in needed if field not in described)
            yield from _own_task(f"task.{name}", own)
        elif described or own.labels:
            yield f"task.{name}: is the name of a built-in task, choose another for a task of your own"


def _own_task(key: str, task: TaskEntry) -> Problems:
    if len(task.text) > 2:
        yield f"{key}.text: must be one column or two, found {len(task.text)}"
    if (label := task.label or LABEL) in task.text:
        yield f"{key}.label: must be another column than the text, found {shown(label)}"
    if len({label.strip() for label in task.labels}) != len(task.labels):
        yield f"{key}.labels: must not repeat a value, found {shown(list(task.labels))}"
    if len(task.labels) == 1:
        allowed = "two classes or more, or left out for a regression"
        yield f"{key}.labels: must be {allowed}, found {shown(list(task.labels))}"
    yield from _own_metrics(key, task)


def _own_metrics(key: str, task: TaskEntry) -> Problems:
    fitting, kind = (CLASS_METRICS, "classes") if task.labels else (SCORE_METRICS, "a regression (no labels)")
    for i, metric in enumerate(task.metrics):
        if metric not in fitting:
            yield f"{key}.metrics.{i}: must be {' | '.join(fitting)} for {kind}, found {shown(metric)}"
        elif METRICS[metric].classes not in (None, len(task.labels)):
            found = count_of(len(task.labels), "label")
            yield f"{key}.metrics.{i}: {metric} is of the second of two labels, found {found}"
    taught = [metric for metric in task.metrics if _by_teacher(metric)]
    if taught and len(taught) < len(task.metrics):
        others = " and ".join(metric for metric in task.metrics if metric not in taught)
        ours = " and ".join(taught)
        yield f"{key}.metrics: the teacher's answers are the truth of {ours}, and labels that of {others}"


def _by_teacher(metric: str) -> bool:
    return metric in METRICS and METRICS[metric].by_teacher


def right_source(tasks: Tasks, data: Data, task: Entries) -> Problems:
    for i, name in enumerate(tasks):
        if data.source == "embedded" and name != MOVIES.name and (name in GLUE or name in task):
            yield f"tasks.{i}: must be movies where data.source is embedded, found {shown(name)}"
        if data.source != "embedded" and name == MOVIES.name:
            yield f"data.source: must be embedded for the task movies, found {shown(data.source)}"


def known_columns(tasks: Tasks, data: Data, task: Entries) -> Problems:
    described = [BUILT_IN.get(name) or task.get(name) for name in tasks]
    by_task = [(*each.text, each.label or LABEL) for each in described if each]
    ours = [column for columns in by_task for column in columns]
    for column in data.columns:
        if column not in ours and all(described):
            hint = near(column, ours) or f", the tasks' columns are {', '.join(dict.fromkeys(ours))}"
            yield f"data.columns.{column}: unknown column{hint}"
    # A column that is not renamed has its own name, which none that is renamed may take.
    named = [[data.columns.get(column, column) for column in columns] for columns in by_task if data.columns]
    for theirs in dict.fromkeys(name for names in (*named, [*data.columns.values()]) for name in _twice(names)):
        yield f"data.columns: {shown(theirs)} stands for more than one column"


def known_splits(data: Data) -> Problems:
    for split in data.splits:
        if split not in SPLITS:
            hint = near(split, SPLITS) or f", allowed are {', '.join(SPLITS)}"
            yield f"data.splits.{split}: unknown split{hint}"
    for split, name in data.splits.items():
        if ".." in name.split("/") or name.startswith("/"):  # DVC tracks the folder, and nothing around it
            yield f"data.splits.{split}: must be a name within the task's folder, found {shown(name)}"
    for name in _twice([*data.splits.values()]):
        yield f"data.splits: {shown(name)} stands for more than one split"


def _twice(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if names.count(name) > 1))


def explicit_map(student: Student) -> Problems:
    layers = student.layer_map
    if isinstance(layers, tuple) and len(layers) != student.layers:
        yield (
            f"student.layer_map: must have one teacher layer for each of the {student.layers} student layers "
            f"(student.layers), found {len(layers)}: {shown(list(layers))}"
        )


def internal_weights(methods: tuple[str, ...], distill: Distill) -> Problems:
    """A method of internal losses needs one that counts."""
    for method in methods:
        losses = Method.parse(method).losses
        if losses and not any(distill.weights.get(loss) for loss in losses):
            keys = " and ".join(f"distill.weights.{loss}" for loss in losses)
            yield f"{keys}: must not be 0 with the method {method}, which would learn nothing in its layers"


def micro_batches(train: Train) -> Problems:
    yield from _micro_batches("train", train)


def micro_batches_of_the_teacher(teacher: Teacher) -> Problems:
    yield from _micro_batches("teacher", teacher)


def _micro_batches(section: str, steps: Steps) -> Problems:
    if steps.accumulate > steps.batch_size:
        most = f"{section}.batch_size ({steps.batch_size})"
        yield f"{section}.accumulate: must be at most {most}, found {steps.accumulate}"


def threads(train: Train) -> Problems:
    """Two are always allowed: params.yaml comes with two, and results depend on their number."""
    cores = os.cpu_count() or 1
    if train.threads > max(2, cores):
        most = f"{max(2, cores)} (this machine has {count_of(cores, 'core')})"
        yield f"train.threads: must be at most {most}, found {train.threads}"


def tuning(seeds: tuple[int, ...], study: Mapping[str, Grid]) -> Problems:
    """What is tuned has something to choose from, and is chosen on seeds that no result has."""
    for name in (each.name for each in STUDIES.values() if each.tunes):
        grid = study[name]
        for seed in sorted(set(grid["seeds"]) & set(seeds)):
            yield f"study.{name}.seeds: must not be one of `seeds`, which the results are of, found {seed}"
        if not any(grid["knobs"].values()):
            yield f"study.{name}.knobs: must list the values of a knob, e.g. {{train: {{learning_rate: [1.0e-4]}}}}"


def within_the_teacher(student: Student, model: Model, teacher: Teacher) -> Problems:
    """No student is deeper than its teacher, its map ends there, and no text is longer, as far as a config.json at hand
    tells."""
    key = "teacher.finetuned" if teacher.finetuned else "model.name"
    try:
        config = _config(teacher.finetuned or model.name)
    except (OSError, ValueError, RecursionError) as error:
        yield f"{key}: its config.json cannot be read: {one_line(error, 200)}"
        return
    depth = config.get("num_hidden_layers", config.get("n_layers"))
    mapped = student.layer_map
    if type(depth) is int and student.layers > depth:
        yield f"student.layers: must be at most {depth}, the teacher's layers ({key}), found {student.layers}"
    if type(depth) is int and isinstance(mapped, tuple) and mapped[-1] != depth:
        yield f"student.layer_map: must end at {depth}, the teacher's last layer ({key}), found {shown(list(mapped))}"
    longest = positions(config)
    if longest is not None and model.max_length > longest:
        yield f"model.max_length: must be at most {longest}, the teacher's positions ({key}), found {model.max_length}"


def _config(name: str) -> dict[str, Any]:
    """A local model's config.json; nothing of hub names, and of models that are not there yet."""
    file = (embedded.place(name) or local(name)) / "config.json"
    if not file.is_file():
        return {}
    config = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError(f"must be a mapping, found {shown(config)}")
    return config


def lone_teacher(teacher: Teacher) -> Problems:
    if teacher.finetuned and len(teacher.seeds) > 1:
        names = "where teacher.finetuned names a classifier, which a seed does not change"
        yield f"teacher.seeds: must be one seed {names}, found {shown(list(teacher.seeds))}"


def starts_before_the_teacher(student: Student, model: Model, teacher: Teacher) -> Problems:
    """A student that starts from the encoder before fine-tuning has one: model.name is not the teacher itself."""
    if teacher.finetuned and Path(teacher.finetuned) == Path(model.name) and student.init.startswith("pretrained"):
        yield (
            f"student.init: {student.init} starts from model.name, which is the teacher itself (teacher.finetuned); "
            "name the encoder before fine-tuning there, or take another start"
        )


def judged_by_a_teacher(tasks: Tasks, task: Entries, teacher: Teacher) -> Problems:
    """A teacher whose answers count as the truth is there before the run."""
    for name in tasks:
        entry = task.get(name)
        metrics = [metric for metric in entry.metrics if _by_teacher(metric)] if entry else []
        if entry and metrics and not entry.teacher.get("finetuned", teacher.finetuned):
            yield f"teacher.finetuned: is missing: task.{name} takes its answers for the truth ({', '.join(metrics)})"


OF_A_STUDENT: tuple[Callable[..., Problems], ...] = (
    *(explicit_map, internal_weights, within_the_teacher, lone_teacher, starts_before_the_teacher),
    *(micro_batches, micro_batches_of_the_teacher, threads),
)
OF_THE_RUN = (known_tasks, own_tasks, right_source, known_columns, known_splits, tuning, judged_by_a_teacher)
