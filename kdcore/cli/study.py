"""The stages of stages/dvc.yaml: a study's points, its table and picture, and the choice of knobs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdcore import door
from kdcore.cli.command import (
    DataFolder,
    LatenciesOption,
    Method,
    StudyName,
    StudyOption,
    TargetsFolder,
    TeachersFolder,
    command,
    set_up_libraries,
)
from kdcore.cli.opening import distilled, open_all, open_data, open_teacher, recipe_of, teachers_points, tried
from kdcore.errors import UserError
from kdcore.params.overrides import of_task, values
from kdcore.params.rules import notices
from kdcore.params.sections import Params
from kdcore.studies import STUDIES, teacher_of

if TYPE_CHECKING:
    from kdcore.distil.finished import Finished


@command(
    reads=(
        *("model", "student.layers", "student.rows", "student.init", "student.head", "student.layer_map"),
        *("distill", "train"),
        *("teacher.seeds", "evaluate.batch_size", "task.{task}"),
    ),
    trains=True,
    changes=True,
)
def point(
    params: Params,
    task: str,
    method: Method,
    seed: int,
    data: DataFolder,
    teacher: TeachersFolder,
    targets: TargetsFolder,
    out: Annotated[Path, typer.Argument(help="JSON file to write; the student's history goes beside it as CSV.")],
    study: StudyOption = None,
) -> None:
    """Distil one student of a study and score it, in one process."""
    set_up_libraries()
    from kdcore.artefacts import check_file, proved, publish
    from kdcore.distil.standing import called
    from kdcore.evaluation import sanity

    if out.suffix != ".json":
        raise UserError(str(out), "must end in .json")
    for file in (out, out.with_suffix(".csv")):
        check_file(file, data, teacher, targets)
    opened = open_all(open_data(task, data), teacher, targets, teacher_of(seed, params.teacher.seeds))
    recipe = recipe_of(params, method, seed, *opened)
    model, scores = distilled(recipe, params.evaluate.batch_size)
    sanity.check(f"{task} {called(method, recipe.student.layers, seed)}", scores)
    own = recipe.student
    asked = {"method": method, "init": own.init, "layer_map": own.layer_map, "trains": params.distill.trains}
    for section, _, field in (key.rpartition(".") for key in STUDIES[study].asks) if study else ():
        asked[field] = getattr(getattr(params, section), field)
    publish(out.with_suffix(".csv"), (model.folder / "history.csv").read_bytes())
    publish(out, proved(as_asked(scores, asked)))


def as_asked(scores: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A student's point with what was asked for. Equal students share a run, which keeps the names of the first that
    asked; and where more rows are asked for than there are, `used` says how many these are."""
    fewer = scores["rows"] < (asked.get("rows") or 0)
    return {**scores, **asked} | ({"used": scores["rows"]} if fewer else {})


@command(reads=("study.tune",))
def holdout(params: Params, task: str, data: DataFolder, out: Path) -> None:
    """Split a task's training rows: a part to train on, and one to score on while knobs are chosen."""
    from kdcore.console import warn
    from kdcore.data import prepare as stage

    for line in notices(door.headline(), STUDIES["tune"]):  # before its teachers are trained
        warn(line)
    stage.holdout(open_data(task, data), params.study["tune"]["share"], out)


@command(
    reads=(
        *("model", "teacher.seeds", "student", "distill", "train"),
        *("study.tune", "evaluate.batch_size", "task.{task}"),
    ),
    of="tune",
)
def tune(
    params: Params,
    task: str,
    method: Method,
    data: Annotated[Path, typer.Argument(help="What `kdcore holdout` made of the task.")],
    teacher: TeachersFolder,
    targets: TargetsFolder,
    out: Annotated[Path, typer.Argument(help="Folder to write one JSON and one CSV per student to.")],
) -> None:
    """Distil and score a method's student of every combination of knobs, on the seeds of study.tune."""
    set_up_libraries()
    from kdcore.artefacts import check_folder, new_folder, proved, publish
    from kdcore.console import say

    check_folder(out, data, teacher, targets)
    prepared = open_data(task, data)
    opened = {one: open_all(prepared, teacher, targets, one) for one in params.teacher.seeds}
    students = list(tried(params, method, opened))
    made: dict[str, tuple[Finished, dict[str, Any]]] = {}
    for number, (name, cell, recipe) in enumerate(students, start=1):
        say(f"tune: {task}, {method}: student {number} of {len(students)}, {name}")
        student, scores = distilled(recipe, params.evaluate.batch_size)
        made[name] = student, as_asked(scores, cell.fields)
    with new_folder(out) as aside:
        for name, (student, scores) in made.items():
            publish(aside / f"{name}.csv", (student.folder / "history.csv").read_bytes())
            publish(aside / f"{name}.json", proved(scores))


@command(reads=("tasks", "seeds", "teacher.seeds", "study.{study}", "evaluate.confidence"))
def curve(
    params: Params,
    study: StudyName,
    points: Path,
    teachers: Annotated[Path, typer.Argument(help="Folder of the teachers' scores, <task>/s<seed>.json each.")],
    out: Path,
    latencies: LatenciesOption = None,
) -> None:
    """Write the table and the picture of a study from its points."""
    from kdcore.artefacts import check_place
    from kdcore.console import say
    from kdcore.report.write import write_study

    check_place(out, points, teachers, *filter(None, [latencies]))
    write_study(
        *(STUDIES[study], points, out, teachers_points(params, teachers), params.study[study], params.seeds),
        *(params.evaluate.confidence, latencies),
    )
    say(f"{study}: the table is {out / 'table.md'}, the picture {out / 'figures' / f'{study}.png'}")


@command(reads=("student.layers", "study.depth", "task.{task}"))
def latency(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: Annotated[Path, typer.Argument(help="The teacher's folder.")],
    out: Annotated[Path, typer.Argument(help="JSON file to write; the tables go beside it as Markdown.")],
) -> None:
    """Measure how long the teacher and its students of each depth take to answer, by torch and by ONNX Runtime."""
    set_up_libraries()
    from kdcore.artefacts import check_file, proved, publish
    from kdcore.console import say
    from kdcore.latency import latency as measured
    from kdcore.report.latency import Latency, blocks
    from kdcore.report.markdown import to_markdown

    if out.suffix != ".json":
        raise UserError(str(out), "must end in .json")
    for file in (out, out.with_suffix(".md")):
        check_file(file, data, teacher)
    changed = [values(of_task(task, params.task[task], method)) for method in params.task[task].methods]
    own = {knobs.get("student.layers", params.student.layers) for knobs in changed}
    depths = {params.student.layers, *own, *params.study["depth"]["layers"]}
    found = measured(open_data(task, data), open_teacher(teacher), depths)
    publish(out, proved(found))
    publish(out.with_suffix(".md"), to_markdown(blocks(Latency.model_validate(found))).encode())
    say(f"latency: the tables are {out.with_suffix('.md')}; `dvc repro` sets milliseconds beside the scores")
