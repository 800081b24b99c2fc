"""The stages of dvc.yaml that make results: from rows and a model to scored students."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdcore import door
from kdcore.cli.command import (
    DataFolder,
    LatenciesOption,
    Method,
    StudentsFolder,
    StudyOption,
    TargetsFolder,
    TeachersFolder,
    command,
    declared,
    given_to,
    set_up_libraries,
)
from kdcore.cli.opening import Opened, distilled, open_all, open_data, open_teacher, recipe_of, signals_asked
from kdcore.params.overrides import for_study, for_task
from kdcore.params.rules import notices
from kdcore.params.sections import Params, Shared
from kdcore.studies import OWN, STUDIES, teacher_of

if TYPE_CHECKING:
    from kdcore.distil.finished import Finished
    from kdcore.distil.written import Targets


@command(reads=("tasks", *OWN, "task", "study"))
def inputs(params: Params, out: Path, latencies: LatenciesOption = None) -> None:
    """Write what the other stages depend on and DVC cannot see: code, what names of models mean now, what is there."""
    from kdcore.artefacts import check_folder
    from kdcore.console import warn
    from kdcore.inputs import write_inputs
    from kdcore.project.pipeline import check_asked

    check_folder(out, *filter(None, [latencies]))
    check_asked(door.PARAMS)
    for line in notices(door.headline()):
        warn(line)
    asked = {"": params} | {study.name: for_study(params, study) for study in STUDIES.values() if study.own}
    write_inputs(
        out,
        [name for name, keys in declared.items() if keys and name != "inputs"],
        {
            place: (own.data, own.model, {task: for_task(own, task).teacher for task in own.tasks})
            for place, own in asked.items()
        },
        latencies,
    )


@command(reads=("data", "task.{task}"))
def prepare(params: Params, task: str, out: Path, study: StudyOption = None) -> None:
    """Read and check a task's rows; write parquet with provenance."""
    from kdcore.data import prepare as stage
    from kdcore.data import tasks

    stage.prepare(tasks.find(task, params.task), params.data, out)


@command(
    reads=(
        *("model", "teacher", *(f"train.{name}" for name in Shared.model_fields)),
        *("evaluate.batch_size", "task.{task}"),
    ),
    trains=True,
)
def teacher(
    params: Params,
    task: str,
    seed: int,
    data: DataFolder,
    out: Path,
    point: Annotated[Path, typer.Argument(help="JSON file to write its validation scores to.")],
    study: StudyOption = None,
) -> None:
    """Fine-tune the teacher, or take one that is fine-tuned already, and score it."""
    set_up_libraries()
    from kdcore.artefacts import check_file, check_folder, link_folder, proved, publish
    from kdcore.console import speaking_of, warn
    from kdcore.distil import teacher as stage
    from kdcore.evaluation import sanity
    from kdcore.evaluation.score import read_point, score_run

    check_folder(out, data)
    check_file(point, data, out)
    own, prepared = params.teacher, open_data(task, data)
    for asked in [STUDIES[study]] if study else []:  # of the headline run `inputs` says it
        for line in notices(for_study(door.headline(), asked), asked):
            warn(line)
    if own.finetuned is not None:
        made = stage.adopt(prepared, own.finetuned, own.revision, params.model, params.train)
    else:
        with speaking_of(f"{task} teacher, seed {seed}"):
            made = stage.fine_tune(prepared, params.model, own, params.train, seed)
    link_folder(made.folder, out)
    scores = read_point(score_run(made, prepared, made, None, params.evaluate.batch_size))
    sanity.check("the teacher", scores, own.floor)
    publish(point, proved(scores))


@command(
    reads=(
        *("student.layers", "student.layer_map", "student.rows", "study.{study}"),
        *("targets", "evaluate.batch_size", "task.{task}"),
    )
)
def targets(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: Annotated[Path, typer.Argument(help="The teacher's folder.")],
    out: Path,
    study: StudyOption = None,
    part: Annotated[
        int | None, typer.Option(min=1, help="Make this part alone, in the store; OUT stays as it is.")
    ] = None,
) -> None:
    """Write the teacher's logits, [CLS] vectors and attention maps, of as many rows as the students need.

    Where there is no room for the maps of all layers, those that the students map are written alone. Those of many rows
    are put together of parts, which are made here where they are not in the store.
    """
    set_up_libraries()
    from kdcore.artefacts import check_folder, seal
    from kdcore.console import speaking_of
    from kdcore.distil.choice import chosen
    from kdcore.distil.targets import write_part, write_targets

    check_folder(out, data, teacher)
    prepared, made = open_data(task, data), open_teacher(teacher)
    rows, mapped = signals_asked(params, task, study, made.layers)
    batch_size, tuned_by = params.evaluate.batch_size, made.facts["seed"]
    # Students' batches are asked for only to time them: what is decided is kept, and found again.
    train = given_to("point", {"study": study, "task": task}).params.train
    with speaking_of(f"{task} teacher" + ("" if tuned_by is None else f", seed {tuned_by}")):
        choice = chosen(prepared, made, params.targets, rows, mapped, batch_size, train)
        obeyed = choice.applied(params.targets) if choice else params.targets
        if part is not None:
            write_part(prepared, made, obeyed, rows, batch_size, mapped, part)
            return
        write_targets(prepared, made, out, obeyed, rows, batch_size, mapped)
    if choice:
        seal(out, choice=choice.facts)


@command(
    reads=("model", "teacher.seeds", "student", "distill", "train", "evaluate.batch_size", "task.{task}"), trains=True
)
def student(
    params: Params,
    task: str,
    method: Method,
    seed: int,
    data: DataFolder,
    teacher: TeachersFolder,
    targets: TargetsFolder,
    out: Path,
) -> None:
    """Distil one student of the headline run, and say what speaks against it."""
    set_up_libraries()
    from kdcore.artefacts import check_folder, link_folder
    from kdcore.distil.standing import called
    from kdcore.evaluation import sanity

    check_folder(out, data, teacher, targets)
    taught_by, prepared = teacher_of(seed, params.teacher.seeds), open_data(task, data)
    opened = {taught_by: open_all(prepared, teacher, targets, taught_by)}
    _say_standing(task, method, seed, opened, lambda one: open_all(prepared, teacher, targets, one))
    model, scores = distilled(recipe_of(params, method, seed, *opened[taught_by]), params.evaluate.batch_size)
    sanity.check(f"{task} {called(method, params.student.layers, seed)}", scores, params.student.floor)
    link_folder(model.folder, out)


def _say_standing(task: str, method: str, seed: int, opened: dict[int, Opened], more: Callable[[int], Opened]) -> None:
    """Say which of its task's students in the headline run it is, and how long they may still take.

    opened: by the seed of a teacher, its data, itself and its signals; `more` opens those of another.
    """
    import json

    from kdcore.console import say
    from kdcore.distil.standing import called, standing
    from kdcore.runs import result_here

    whole = door.headline()
    wanted = list(itertools.product(whole.methods, whole.seeds))
    seconds = {}
    for name, number in wanted:
        own, taught_by = for_task(whole, task, name), teacher_of(number, whole.teacher.seeds)
        if taught_by not in opened:
            opened[taught_by] = more(taught_by)
        if result := result_here("student", recipe_of(own, name, number, *opened[taught_by]).identity):
            seconds[name, number] = json.loads((result / "run.json").read_text(encoding="utf-8"))["seconds"]
    if (method, seed) in wanted and (method, seed) not in seconds:
        layers = for_task(whole, task, method).student.layers
        say(f"{task} {called(method, layers, seed)}: {standing((method, seed), wanted, seconds)}")


@command(reads=("methods", "seeds", "teacher.seeds", "evaluate.batch_size"))
def evaluate(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: TeachersFolder,
    targets: TargetsFolder,
    students: StudentsFolder,
    points: Annotated[Path, typer.Argument(help="Folder to write one JSON per model to.")],
    predictions: Annotated[Path, typer.Argument(help="Folder to write one table of predictions per model to.")],
) -> None:
    """Score the teachers and every student of the headline run on validation data, and once on labelled test data."""
    set_up_libraries()
    from kdcore.artefacts import check_folder, check_place, new_folder, proved, publish, seal
    from kdcore.console import warn
    from kdcore.distil.finished import Finished
    from kdcore.evaluation import sanity
    from kdcore.evaluation.score import read_point, score_run, score_test

    check_place(predictions)
    check_folder(points, data, teacher, targets, students, predictions)
    check_folder(predictions, data, teacher, targets, students, points)
    prepared = open_data(task, data)
    opened = {one: open_all(prepared, teacher, targets, one) for one in params.teacher.seeds}
    batch_size, scores = params.evaluate.batch_size, []
    with new_folder(points) as new_points, new_folder(predictions) as new_predictions:

        def keep(name: str, method: str, model: "Finished", made: "Finished", signals: "Targets | None") -> None:
            scored = score_run(model, prepared, made, signals, batch_size)
            test = score_test(model, prepared, made, batch_size)
            # Equal students share the run of the first, which may be of another method.
            scores.append(read_point(scored) | {"method": method} | ({"test": test} if test else {}))
            publish(new_points / f"{name}.json", proved(scores[-1]))
            publish(new_predictions / f"{name}.parquet", (scored / "predictions.parquet").read_bytes())

        for one, (_, made, _) in opened.items():
            keep(f"teacher-s{one}", "teacher", made, made, None)
        for method, seed in itertools.product(params.methods, params.seeds):
            model = Finished.open(students / f"{method}-s{seed}", "dvc repro -f student")
            _, made, signals = opened[teacher_of(seed, params.teacher.seeds)]
            keep(f"{method}-s{seed}", method, model, made, signals)
        seal(new_predictions)
    for line in sanity.below_none(scores):
        warn(line)
