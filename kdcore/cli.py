"""The commands, one per stage of dvc.yaml and stages/dvc.yaml: where params and paths come together.

Heavy imports happen inside the commands, so that `--help` and a wrong value in params.yaml answer at once.
"""

import functools
import inspect
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from kdcore import __version__, door, processes
from kdcore.distil.methods import METHODS
from kdcore.errors import UserError
from kdcore.memory import keep_freed
from kdcore.params.overrides import for_study, for_task, of_task, values, with_changes
from kdcore.params.sections import Params, Shared, Student
from kdcore.studies import OWN, STUDIES, cells, teacher_of

if TYPE_CHECKING:
    from kdcore.data.prepared import Data
    from kdcore.distil.finished import Finished
    from kdcore.distil.signals import Targets

app = typer.Typer(
    name="kdcore",
    help=__doc__.splitlines()[0] if __doc__ else None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"kdcore {__version__}")
        raise typer.Exit


@app.callback()
def _before_every_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


DataFolder = Annotated[Path, typer.Argument(help="Prepared data of the task.")]
TeachersFolder = Annotated[Path, typer.Argument(help="Folder of the task's teachers, s<seed> each.")]
TargetsFolder = Annotated[Path, typer.Argument(help="Folder of their signals, s<seed> each.")]
Method = Annotated[str, typer.Argument(help=f"One of {', '.join(METHODS)}.", callback=door.one_of(METHODS))]
NAMES: Any = {"help": "A name under `study:` in params.yaml.", "callback": door.one_of(tuple(STUDIES))}
StudyName = Annotated[str, typer.Argument(**NAMES)]
StudyOption = Annotated[str | None, typer.Option(**NAMES)]
BATCH = 64
BatchSize = Annotated[int, typer.Option(min=1, help="Rows per forward pass.")]
PointsOption = Annotated[
    Path | None, typer.Option(help="Points that the card's scores are of; metrics/main/points/<task> unless named.")
]
SET_PARAM = inspect.Parameter(
    "set_param",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        list[str] | None, typer.Option("--set-param", "-S", help="KEY=VALUE in params.yaml, as in `dvc exp run -S`.")
    ],
)


Body: TypeAlias = Callable[..., None]
Opened: TypeAlias = "tuple[Data, Finished, Targets]"
_reads: dict[str, tuple[str, ...]] = {}  # by command


def keys(command: str, study: str | None = None, task: str | None = None) -> list[str]:
    """The keys of params.yaml that a command reads, with those of the study and of the task where it is given one."""
    given = {"study": study, "task": task}
    absent = [f"{{{name}}}" for name, value in given.items() if not value]
    found = [key.format(**given) for key in _reads[command] if not any(name in key for name in absent)]
    if study and STUDIES[study].own and f"study.{study}" not in found:
        sections = dict.fromkeys(key.partition(".")[0] for key in found)
        found += [f"study.{study}.{section}" for section in sections if section in OWN]
    return found


def command(
    reads: tuple[str, ...], *, trains: bool = False, changes: bool = False, of: str | None = None
) -> Callable[[Body], Body]:
    """Make the function a command: it gets the params that it declares, before its arguments.

    reads: keys of params.yaml, {study} and {task} being the command's arguments; a command that reads none needs no
    such file, and gets no params; trains: whether every process of a launcher runs it, and not the first alone;
    changes: whether it takes `-S key=value`; of: the study that it belongs to, where it does not take that as an
    argument. Its params are those of its arguments `task` and `method`, where it has them: kdcore/params/overrides.py.
    """

    def register(body: Body) -> Body:
        name = body.__name__.rstrip("_")
        _reads[name] = reads

        @functools.wraps(body)
        def run(**arguments: Any) -> None:
            if not trains:
                processes.dismiss()
            changed = arguments.pop("set_param", None) or ()
            if not reads:
                body(**arguments)
                return
            study, task, method = arguments.get("study", of), arguments.get("task"), arguments.get("method")
            given = door.params_for(keys(name, study, task), study, changed, task, method)
            with door.speaking_of_params(given.names):
                body(given.params, **arguments)

        own = [*inspect.signature(body).parameters.values()][bool(reads) :]
        run.__signature__ = inspect.Signature(own + [SET_PARAM] * changes)  # type: ignore[attr-defined]
        return app.command(name)(run)

    return register


@command(reads=("tasks", *OWN, "task", "study"))
def inputs(params: Params, out: Path) -> None:
    """Write what the other stages depend on and DVC cannot see: kdcore's code, and what names of models mean now."""
    from kdcore.artefacts import check_folder
    from kdcore.inputs import write_inputs
    from kdcore.project.pipeline import check_asked

    check_folder(out)
    check_asked(door.PARAMS)
    asked = {"": params} | {study.name: for_study(params, study) for study in STUDIES.values() if study.own}
    write_inputs(
        out,
        [name for name, reads in _reads.items() if reads and name != "inputs"],
        {
            place: (own.data, own.model, {task: for_task(own, task).teacher for task in own.tasks})
            for place, own in asked.items()
        },
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
    _heavy()
    from kdcore.artefacts import check_file, check_folder, link_folder, publish
    from kdcore.distil import teacher as stage
    from kdcore.evaluation import sanity
    from kdcore.evaluation.score import read_point, score_run

    check_folder(out, data)
    check_file(point, data, out)
    own, prepared = params.teacher, _data(task, data)
    if own.finetuned is not None:
        made = stage.adopt(prepared, own.finetuned, own.revision, params.model)
    else:
        made = stage.fine_tune(prepared, params.model, own, params.train, seed)
    link_folder(made.folder, out)
    scores = read_point(score_run(made, prepared, made, None, params.evaluate.batch_size))
    sanity.check("the teacher", scores, own.floor)
    publish(point, scores)


@command(reads=("student.rows", "study.{study}", "targets", "evaluate.batch_size", "task.{task}"))
def targets(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: Annotated[Path, typer.Argument(help="The teacher's folder.")],
    out: Path,
    study: StudyOption = None,
) -> None:
    """Write the teacher's logits, [CLS] vectors and attention maps, of as many rows as the students need."""
    _heavy()
    from kdcore.artefacts import check_folder
    from kdcore.distil.targets import write_targets

    check_folder(out, data, teacher)
    entry, usual = params.task[task], {"student.rows": params.student.rows}
    asked: list[tuple[str | None, Any]] = [(method, {}) for method in (None, *entry.methods)]
    if study:
        asked = [(cell.method, cell.sets) for cell in cells(STUDIES[study], params.study[study])]
    rows = [(usual | values(of_task(task, entry, method)) | sets)["student.rows"] for method, sets in asked]
    most = None if None in rows else max(filter(None, rows))
    write_targets(_data(task, data), _teacher(teacher), out, params.targets, most, params.evaluate.batch_size)


@command(reads=("study.tune",))
def holdout(params: Params, task: str, data: DataFolder, out: Path) -> None:
    """Split a task's training rows: a part to train on, and one to score on while knobs are chosen."""
    from kdcore.data import prepare as stage

    stage.holdout(_data(task, data), params.study["tune"]["share"], out)


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
    _heavy()
    from kdcore.artefacts import check_folder, new_folder, publish
    from kdcore.console import say

    check_folder(out, data, teacher, targets)
    prepared, grid = _data(task, data), params.study["tune"]
    opened = {one: _opened(prepared, teacher, targets, one) for one in params.teacher.seeds}
    usual = {"student": params.student, "distill": params.distill, "train": params.train}
    tried = [cell for cell in cells(STUDIES["tune"], grid) if cell.method == method]
    made: dict[str, tuple[Finished, dict[str, Any]]] = {}
    for number, (cell, seed) in enumerate(itertools.product(tried, grid["seeds"]), start=1):
        name = f"{cell.name.rpartition('/')[2]}-s{seed}"
        say(f"tune: {task}, {method}: student {number} of {len(tried) * len(grid['seeds'])}, {name}")
        changed = params.model_copy(update=with_changes(usual, cell.sets))
        student, scores = _distilled(
            method, seed, changed.student, changed, *opened[teacher_of(seed, params.teacher.seeds)]
        )
        made[name] = student, scores | cell.fields
    with new_folder(out) as aside:
        for name, (student, scores) in made.items():
            publish(aside / f"{name}.csv", (student.folder / "history.csv").read_bytes())
            publish(aside / f"{name}.json", scores)


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
    _heavy()
    from kdcore.artefacts import check_folder, link_folder
    from kdcore.evaluation import sanity

    check_folder(out, data, teacher, targets)
    taught_by, prepared = teacher_of(seed, params.teacher.seeds), _data(task, data)
    opened = {taught_by: _opened(prepared, teacher, targets, taught_by)}
    _say_standing(task, method, seed, opened, lambda one: _opened(prepared, teacher, targets, one))
    model, scores = _distilled(method, seed, params.student, params, *opened[taught_by])
    sanity.check(f"{task}: {method}, seed {seed}", scores, params.student.floor)
    link_folder(model.folder, out)


def _say_standing(task: str, method: str, seed: int, opened: dict[int, Opened], more: Callable[[int], Opened]) -> None:
    """Say which of its task's students in the headline run it is, and how long they may still take.

    opened: by the seed of a teacher, its data, itself and its signals; `more` opens those of another.
    """
    import json

    from kdcore.console import say
    from kdcore.distil.standing import standing
    from kdcore.distil.student import recipe
    from kdcore.runs import result_of

    whole = door.headline()
    wanted = list(itertools.product(whole.methods, whole.seeds))
    seconds = {}
    for name, number in wanted:
        own, taught_by = for_task(whole, task, name), teacher_of(number, whole.teacher.seeds)
        if taught_by not in opened:
            opened[taught_by] = more(taught_by)
        what = recipe(name, number, own.student, own.distill, own.train, own.model, *opened[taught_by])
        if result := result_of("student", what):
            seconds[name, number] = json.loads((result / "run.json").read_text(encoding="utf-8"))["seconds"]
    if (method, seed) in wanted and (method, seed) not in seconds:
        say(f"{task}: {method}, seed {seed}: {standing((method, seed), wanted, seconds)}")


@command(
    reads=(
        *("model", "student.layers", "student.rows", "student.init", "student.layer_map", "distill", "train"),
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
    _heavy()
    from kdcore.artefacts import check_file, publish
    from kdcore.evaluation import sanity

    if out.suffix != ".json":
        raise UserError(str(out), "must end in .json")
    for file in (out, out.with_suffix(".csv")):
        check_file(file, data, teacher, targets)
    fields = ("layers", "rows", "init", "layer_map")  # not the floor: a study shows low scores too
    own = Student(**{name: getattr(params.student, name) for name in fields})
    opened = _opened(_data(task, data), teacher, targets, teacher_of(seed, params.teacher.seeds))
    model, scores = _distilled(method, seed, own, params, *opened)
    sanity.check(f"{task}: {method}, seed {seed}", scores)
    asked = {"method": method, "init": own.init, "layer_map": own.layer_map, "trains": params.distill.trains}
    for section, _, field in (key.rpartition(".") for key in STUDIES[study].asks) if study else ():
        asked[field] = getattr(getattr(params, section), field)
    publish(out.with_suffix(".csv"), (model.folder / "history.csv").read_bytes())
    publish(out, scores | asked)  # equal students share a run, which keeps the names of the first that asked


def _distilled(
    method: str, seed: int, own: Student, params: Params, data: "Data", teacher: "Finished", targets: "Targets"
) -> tuple["Finished", dict[str, Any]]:
    """The student that the arguments determine, trained now where it is not in the store, and its point."""
    from kdcore.distil.student import distil
    from kdcore.evaluation.score import read_point, score_run
    from kdcore.model.names import check_vocabulary

    if own.init.startswith("pretrained"):
        check_vocabulary(params.model.name, params.model.revision, teacher.folder)
    model = distil(method, seed, own, params.distill, params.train, params.model, data, teacher, targets)
    return model, read_point(score_run(model, data, teacher, targets, params.evaluate.batch_size))


@command(reads=("methods", "seeds", "teacher.seeds", "evaluate.batch_size"))
def evaluate(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: TeachersFolder,
    targets: TargetsFolder,
    students: Annotated[Path, typer.Argument(help="Folder of the task's students, <method>-s<seed> each.")],
    points: Annotated[Path, typer.Argument(help="Folder to write one JSON per model to.")],
    predictions: Annotated[Path, typer.Argument(help="Folder to write one table of predictions per model to.")],
) -> None:
    """Score the teachers and every student of the headline run on validation data, and once on labelled test data."""
    _heavy()
    from kdcore.artefacts import check_folder, new_folder, publish, seal
    from kdcore.console import warn
    from kdcore.distil.finished import Finished
    from kdcore.evaluation import sanity
    from kdcore.evaluation.score import read_point, score_run, score_test

    check_folder(points, data, teacher, targets, students, predictions)
    check_folder(predictions, data, teacher, targets, students, points)
    prepared = _data(task, data)
    opened = {one: _opened(prepared, teacher, targets, one) for one in params.teacher.seeds}
    batch_size, scores = params.evaluate.batch_size, []
    with new_folder(points) as new_points, new_folder(predictions) as new_predictions:

        def keep(name: str, method: str, model: "Finished", made: "Finished", signals: "Targets | None") -> None:
            scored = score_run(model, prepared, made, signals, batch_size)
            test = score_test(model, prepared, made, batch_size)
            # Equal students share the run of the first, which may be of another method.
            scores.append(read_point(scored) | {"method": method} | ({"test": test} if test else {}))
            publish(new_points / f"{name}.json", scores[-1])
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


@command(reads=("tasks", "methods", "seeds", "teacher.seeds", "evaluate.confidence"))
def plots(params: Params, points: Path, students: Path, out: Path) -> None:
    """Write the tables, the scores by epoch and the pictures of the headline run."""
    from kdcore.artefacts import check_place
    from kdcore.report.write import write_main

    check_place(out, points, students)
    _check_notes(students, params, "history.csv")
    write_main(
        *(points, students, out, params.tasks, params.methods, params.seeds, params.teacher.seeds),
        params.evaluate.confidence,
    )


@command(reads=("attention", "methods", "seeds", "teacher.seeds", "report.texts"))
def attention(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: TeachersFolder,
    targets: TargetsFolder,
    students: Annotated[Path, typer.Argument(help="Folder of the task's students, <method>-s<seed> each.")],
    points: Annotated[Path, typer.Argument(help="Folder of the task's scores.")],
    predictions: Annotated[Path, typer.Argument(help="Folder of the task's predictions.")],
    out: Annotated[Path, typer.Argument(help="Folder to write <task>.json and figure 5 to.")],
) -> None:
    """Compare attention maps of teacher, standard and internal student on chosen validation examples."""
    _heavy()
    from kdcore.artefacts import check_place
    from kdcore.console import say
    from kdcore.distil.finished import Finished
    from kdcore.evaluation.attention import compare, compared, matching
    from kdcore.report.attention import write_attention

    check_place(out, data, teacher, targets, students, points, predictions)
    _check_predictions(predictions)
    own, seed = params.attention, params.seeds[0]
    methods, notes = compared({"standard": own.standard, "internal": own.internal}, params.methods)
    models, apart = matching(
        {method: Finished.open(students / f"{method}-s{seed}", "dvc repro -f student") for method in methods}
    )
    notes += apart
    for note in notes:
        say(f"attention: {note}")
    taught_by = teacher_of(seed, params.teacher.seeds)
    opened = _opened(_data(task, data), teacher, targets, taught_by)
    logits = {"teacher": predictions / f"teacher-s{taught_by}.parquet"}
    logits |= {method: predictions / f"{method}-s{seed}.parquet" for method in methods}
    seen = compare(*opened, models, logits, own.examples)
    shown = seen if params.report.texts or seen.task.embedded else seen.without_texts()
    write_attention(shown, points, out, seed, notes)


@command(reads=("tasks", "methods", "seeds", "teacher.seeds", "evaluate.confidence", "study", "task"))
def report(
    params: Params,
    metrics: Annotated[Path, typer.Argument(help="Folder of all results: main/ and one per study.")],
    students: Annotated[Path, typer.Argument(help="Folder of the students of the headline run.")],
    out: Annotated[Path, typer.Argument(help="HTML file to write.")],
) -> None:
    """Write the page: every result in one HTML file that opens without a network; say how the run ended."""
    from kdcore.artefacts import check_file
    from kdcore.report import points
    from kdcore.report.page.write import write_page
    from kdcore.report.summary import baselines, summarise
    from kdcore.report.terminal import conclude

    check_file(out, metrics, students)
    _check_notes(students, params, "run.json")
    write_page(
        *(metrics, students, out, params.tasks, params.methods, params.seeds, params.teacher.seeds),
        *(params.evaluate.confidence, params.study, params.task),
    )
    runs = points.read(
        points.headline(metrics / "main/points", params.tasks, params.methods, params.seeds, params.teacher.seeds)
    )
    conclude(summarise(runs, ["method"], baselines, params.evaluate.confidence), runs, out)


@command(reads=("tasks", "methods", "seeds", "teacher.seeds", "evaluate.confidence", "report.texts"))
def errors(
    params: Params,
    data: Annotated[Path, typer.Argument(help="Folder of the prepared tasks.")],
    predictions: Annotated[Path, typer.Argument(help="Folder of the tasks' predictions.")],
    out: Path,
) -> None:
    """Write how the students of the headline run repeat the teacher's errors, and the examples."""
    from kdcore.artefacts import check_place
    from kdcore.report.errors import write_errors

    check_place(out, data, predictions)
    for task in params.tasks:
        _check_predictions(predictions / task)
    write_errors(
        *(predictions, data, out, params.tasks, params.methods, params.seeds, params.teacher.seeds),
        params.evaluate.confidence,
        params.report.texts,
    )


@command(reads=("tasks", "seeds", "teacher.seeds", "study.{study}", "evaluate.confidence"))
def curve(
    params: Params,
    study: StudyName,
    points: Path,
    teachers: Annotated[Path, typer.Argument(help="Folder of the teachers' scores, <task>/s<seed>.json each.")],
    out: Path,
) -> None:
    """Write the table and the picture of a study from its points."""
    from kdcore.artefacts import check_place
    from kdcore.console import say
    from kdcore.report.write import write_study

    check_place(out, points, teachers)
    write_study(
        *(STUDIES[study], points, out, _teachers(params, teachers), params.study[study], params.seeds),
        params.evaluate.confidence,
    )
    say(f"{study}: the table is {out / 'table.md'}, the picture {out / 'figures' / f'{study}.png'}")


def _teachers(params: Params, folder: Path) -> dict[str, dict[int, Path]]:
    """Task -> seed of a teacher -> the file of its scores."""
    return {task: {seed: folder / task / f"s{seed}.json" for seed in params.teacher.seeds} for task in params.tasks}


@command(reads=())
def init(
    folder: Annotated[Path, typer.Argument(help="The project's folder, new or in use.")] = Path(),
    teacher: Annotated[str | None, typer.Option(help="Folder or hub name of a fine-tuned classifier.")] = None,
    train: Annotated[Path | None, typer.Option(help="csv, tsv, jsonl or parquet file of training rows.")] = None,
    validation: Annotated[Path | None, typer.Option(help="File of validation rows; else a share of train.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="A text column; two for pairs. Else those with texts.")] = None,
    label: Annotated[str, typer.Option(help="The label column.")] = "label",
    task: Annotated[str | None, typer.Option(help="The task's name; else that of the rows' folder or file.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Of the student; else half of the teacher's.")] = None,
    example: Annotated[bool, typer.Option("--example", help="With a tiny classifier and rows to try it with.")] = False,
) -> None:
    """Make a project of your own: a pipeline that distils your classifier on your rows with `dvc repro`."""
    if example and (teacher or train or validation):
        raise UserError("--example", "brings a teacher and rows of its own, so it goes without --teacher and the files")
    if not example and (teacher is None or train is None):
        raise UserError("kdcore init", "name a classifier (--teacher) and its rows (--train), or try --example")
    _heavy()
    from kdcore.project.example import example as made
    from kdcore.project.init import Wish, check_free
    from kdcore.project.init import init as write

    check_free(folder)
    given = nullcontext((str(teacher), Path(train or ""), validation))
    with made(folder) if example else given as files:
        write(folder, Wish(*files, text or (), label, task, layers))


@command(reads=())
def params() -> None:
    """Print every knob of params.yaml with what it means."""
    from kdcore.project.pipeline import text

    print(text("params.yaml"), end="")


@command(reads=())
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a student, a teacher, or any classifier that was saved.")],
    data: Annotated[Path, typer.Argument(help="A prepared task, or a csv, tsv, json(l) or parquet file.")],
    out: Annotated[Path, typer.Argument(help="Folder for a prepared task or --server; else the file to write.")],
    task: Annotated[str | None, typer.Option(help="A built-in task, where the model does not say its own.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="A text column of the file, if not called as in training; twice for pairs.")
    ] = None,
    server: Annotated[str | None, typer.Option(help="Write a file's rows for the GLUE server, e.g. AX.")] = None,
    zip_: Annotated[bool, typer.Option("--zip", help="Zip all of the server's files in OUT.")] = False,
    max_length: Annotated[int | None, typer.Option(min=3, help="Tokens per row, if not as in training.")] = None,
    batch_size: BatchSize = BATCH,
) -> None:
    """Predict a prepared task's test splits (GLUE's for its server), or any file with the task's texts."""
    _heavy()
    from kdcore.artefacts import check_file, check_place
    from kdcore.data.prepared import Data
    from kdcore.predict.model import open_classifier
    from kdcore.predict.rows import own_file
    from kdcore.predict.run import check_options, predict_file, predict_folder, zip_files
    from kdcore.predict.server import ZIP, check_name

    check_options(data.is_dir(), server, zip_)
    check_place(out, model, data)
    named = [] if data.is_dir() else [out if server is None else out / f"{server}.tsv"]
    for file in [*named, *([out / ZIP] if zip_ else [])]:
        check_file(file, model, data)
    prepared = Data.open(data) if data.is_dir() else None
    classifier = open_classifier(model, task, text or (), prepared.task if prepared else None, max_length)
    if server is not None:
        check_name(server, classifier.task.name)
    if prepared:
        predict_folder(prepared, classifier.task, lambda rows: classifier.logits(rows, batch_size), out)
    else:
        rows = own_file(data, classifier.task, classifier.columns)
        predict_file(rows, classifier.task, lambda rows: classifier.logits(rows, batch_size), out, server)
    if zip_:
        zip_files(out)


@command(
    reads=(
        *("tasks", "seeds", "task", "model", "teacher.seeds", "student", "distill", "train"),
        *("study.{study}", "evaluate.batch_size"),
    )
)
def submission(
    params: Params,
    method: Method,
    out: Annotated[Path, typer.Argument(help="Folder for the GLUE server's files and their zip.")],
    study: StudyOption = None,
) -> None:
    """Predict every task's test splits for the GLUE server, each by the seed that is best on validation, and zip them.

    The students are those of the headline run, or of a study of GLUE's tasks; one that is not in the store is trained.
    """
    _heavy()
    from kdcore.artefacts import check_place
    from kdcore.console import say
    from kdcore.predict.model import open_classifier
    from kdcore.predict.run import check_tasks, predict_folder, zip_files
    from kdcore.report.points import best

    runs, points = Path("runs", study or ""), Path("metrics", study or "main", "points")
    check_tasks(params.tasks)
    check_place(out, runs, points)
    for task, (seed, point) in {task: best(points / task, task, method, params.seeds) for task in params.tasks}.items():
        say(f"{task}: {method}, seed {seed}, {point.metric} {point.score:.4f} on validation")
        folder = (STUDIES[study].data if study else Path("data")) / task
        taught_by = teacher_of(seed, params.teacher.seeds)
        opened = _opened(_data(task, folder), runs / "teacher" / task, runs / "targets" / task, taught_by)
        own = for_task(params, task, method)
        made, _ = _distilled(method, seed, own.student, own, *opened)
        model = open_classifier(made.folder)
        predict = functools.partial(model.logits, batch_size=params.evaluate.batch_size)
        predict_folder(opened[0], model.task, predict, out)
    zip_files(out)


@command(reads=())
def export(
    model: Annotated[Path, typer.Argument(help="Folder of a finished student or teacher.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: config.json, the tokenizer, onnx/.")],
    data: Annotated[Path | None, typer.Option(help="Prepared task to compare on; data/<task> unless named.")] = None,
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="Also with weights of 8 bits.")] = True,
    batch_size: BatchSize = BATCH,
    points: PointsOption = None,
) -> None:
    """Write a classifier as ONNX, float32 and int8, held against torch on validation rows."""
    _heavy()
    from kdcore.artefacts import check_folder
    from kdcore.console import say
    from kdcore.data.examples import encode
    from kdcore.distil.finished import Finished
    from kdcore.export import export as write
    from kdcore.report.card import known_scores

    check_folder(out, model, *filter(None, [data]))
    made = Finished.open(model, "dvc repro")
    folder = data or Path("data") / made.task.name
    check_folder(out, folder)
    prepared = _data(made.task.name, folder)
    rows = encode(made.tokenizer, prepared.frame("validation"), made.max_length)
    scores = known_scores(made.facts, points or Path("metrics/main/points") / made.task.name)
    facts = write(model, prepared.task, rows, out, int8, batch_size, scores)
    for kind in [kind for kind in ("float32", "int8") if kind in facts]:
        measured = ", ".join(f"{metric} {facts[kind][metric]:.4f}" for metric in prepared.task.metrics)
        same = f"answers as torch on {facts[kind]['agreement']:.2%} of {facts['rows']:,} rows"
        say(f"{kind}: {same} (logits within {facts[kind]['largest_difference']:.2g}), {measured}")


@command(reads=("student.layers", "study.depth"))
def latency(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: Annotated[Path, typer.Argument(help="The teacher's folder.")],
    out: Annotated[Path, typer.Argument(help="JSON file to write; the tables go beside it as Markdown.")],
) -> None:
    """Measure how long the teacher and its students of each depth take to answer, by torch and by ONNX Runtime."""
    _heavy()
    from kdcore.artefacts import check_file, publish
    from kdcore.latency import latency as measured
    from kdcore.report.latency import Latency, blocks
    from kdcore.report.markdown import to_markdown

    if out.suffix != ".json":
        raise UserError(str(out), "must end in .json")
    for file in (out, out.with_suffix(".md")):
        check_file(file, data, teacher)
    depths = {params.student.layers, *params.study["depth"]["layers"]}
    found = measured(_data(task, data), _teacher(teacher), depths)
    publish(out, found)
    publish(out.with_suffix(".md"), to_markdown(blocks(Latency.model_validate(found))).encode())


@command(reads=("tasks", "seeds", "teacher.seeds", "study.depth", "evaluate.confidence"))
def tradeoff(
    params: Params,
    points: Annotated[Path, typer.Argument(help="Folder of the depth study's points.")],
    teachers: Annotated[Path, typer.Argument(help="Folder of the teachers' scores, <task>/s<seed>.json each.")],
    latencies: Annotated[Path, typer.Argument(help="Folder of what `latency` measured, <task>.json each.")],
    out: Path,
) -> None:
    """Write the table and the picture of performance against latency."""
    from kdcore.artefacts import check_place
    from kdcore.report.write import write_tradeoff

    check_place(out, points, teachers, latencies)
    write_tradeoff(
        *(points, out, _teachers(params, teachers), latencies, params.study["depth"], params.seeds),
        params.evaluate.confidence,
    )


@command(reads=())
def push(
    model: Annotated[Path, typer.Argument(help="Folder of a finished student, or what `export` made of it.")],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub, made if need be.")],
    private: Annotated[bool, typer.Option("--private", help="A repository that is made is its owner's only.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to, made if need be.")] = None,
    points: PointsOption = None,
) -> None:
    """Upload a student to the Hugging Face hub, its model card with the scores that are known."""
    _heavy()
    from kdcore.console import say
    from kdcore.distil.finished import Finished
    from kdcore.push import push as upload
    from kdcore.report.card import known_scores

    made = Finished.open(model, "dvc repro -f student")
    if made.facts["method"] == "teacher":
        raise UserError(str(model), "is a teacher; name the folder of a student")
    scores = known_scores(made.facts, points or Path("metrics/main/points") / made.task.name)
    say(upload(made, repository, private, revision, scores))


@command(
    reads=(
        *("tasks", "methods", "seeds", "task", "model", "teacher", "targets", "student", "distill", "train"),
        *("study.{study}", "evaluate.batch_size"),
    ),
    changes=True,
)
def plan(
    params: Params,
    study: StudyOption = None,
    shape: Annotated[str | None, typer.Option(help="The teacher's: a config.json, or a name, e.g. bert-base.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Training rows of a task that is not prepared.")] = None,
    tokens: Annotated[float | None, typer.Option(min=3, help="Its mean tokens per row.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long to measure this machine; 0: not at all.")] = 10.0,
) -> None:
    """Print what a run will cost before it is paid: FLOPs, hours, disk."""
    _heavy()
    from kdcore.plan.run import write_plan

    write_plan(params, STUDIES[study] if study else None, shape, rows, tokens, seconds)


def _data(task: str, folder: Path) -> "Data":
    """The prepared data. Raises UserError where they are damaged, or another task's."""
    from kdcore.data.prepared import Data

    data = Data.open(folder)
    if data.task.name != task:
        raise UserError(str(folder), f"holds task {data.task.name!r}, not {task!r}")
    return data


def _teacher(folder: Path) -> "Finished":
    from kdcore.distil.finished import Finished

    return Finished.open(folder, "dvc repro -f teacher")


def _opened(data: "Data", teachers: Path, targets: Path, seed: int) -> tuple["Data", "Finished", "Targets"]:
    """What a student of the teacher with that seed is made from, each opened and proved once."""
    from kdcore.distil.signals import Targets

    made = _teacher(teachers / f"s{seed}")
    return data, made, Targets.open(targets / f"s{seed}", data, made)


def _check_notes(students: Path, params: Params, name: str) -> None:
    """Raises UserError where that file is damaged in a student of the headline run. One that is missing is named later,
    with the key of params.yaml that asks for it; so it is with predictions."""
    from kdcore.artefacts import open_sealed

    for task, method, seed in itertools.product(params.tasks, params.methods, params.seeds):
        folder = students / task / f"{method}-s{seed}"
        if folder.is_dir():
            open_sealed(folder, "dvc repro -f student", [name])


def _check_predictions(folder: Path) -> None:
    from kdcore.artefacts import open_sealed

    if folder.is_dir():
        there = [path.name for path in folder.iterdir()]
        open_sealed(folder, "dvc repro -f evaluate", there)


def _heavy() -> None:
    """Set what must be set before torch and transformers are imported, or right after."""
    import os

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    keep_freed()
    if processes.launched() > 1:  # else each warns in a phase that trains every parameter
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from transformers import dynamic_module_utils

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # else it asks in a terminal whether to run a model's own code


def main() -> None:
    door.run(lambda: app(standalone_mode=False))
