"""The commands, one per stage of dvc.yaml and stages/dvc.yaml: where params and paths come together.

Heavy imports happen inside the commands, so that `--help` and a wrong value in params.yaml answer at once.
"""

import functools
import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from kdcore import door, processes
from kdcore.distil.methods import METHODS
from kdcore.errors import UserError
from kdcore.memory import keep_freed
from kdcore.params.sections import Distill, Params, Shared, Student, Train, with_changes
from kdcore.studies import STUDIES, cells

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

DataFolder = Annotated[Path, typer.Argument(help="Prepared data of the task.")]
TeacherFolder = Annotated[Path, typer.Argument(help="The teacher's folder.")]
TargetsFolder = Annotated[Path, typer.Argument(help="The teacher's signals.")]
Method = Annotated[str, typer.Argument(help=f"One of {', '.join(METHODS)}.", callback=door.one_of(METHODS))]
NAMES: Any = {"help": "A name under `study:` in params.yaml.", "callback": door.one_of(tuple(STUDIES))}
StudyName = Annotated[str, typer.Argument(**NAMES)]
StudyOption = Annotated[str | None, typer.Option(**NAMES)]
SET_PARAM = inspect.Parameter(
    "set_param",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        list[str] | None, typer.Option("--set-param", "-S", help="KEY=VALUE in params.yaml, as in `dvc exp run -S`.")
    ],
)


Body: TypeAlias = Callable[..., None]
_reads: dict[str, tuple[str, ...]] = {}  # by command


def keys(command: str, study: str | None = None) -> list[str]:
    """The keys of params.yaml that a command reads, with those of the study where it is given one."""
    return [key.format(study=study) for key in _reads[command] if study or "{study}" not in key]


def command(
    reads: tuple[str, ...], *, trains: bool = False, changes: bool = False, of: str | None = None
) -> Callable[[Body], Body]:
    """Make the function a command: it gets the params that it declares, before its arguments.

    reads: keys of params.yaml, {study} being the command's argument; trains: whether every process of a launcher runs
    it, and not the first alone; changes: whether it takes `-S key=value`; of: the study that it belongs to, where it
    does not take that as an argument.
    """

    def register(body: Body) -> Body:
        name = body.__name__.rstrip("_")
        _reads[name] = reads

        @functools.wraps(body)
        def run(**arguments: Any) -> None:
            if not trains:
                processes.dismiss()
            study, changed = arguments.get("study", of), arguments.pop("set_param", None) or ()
            with door.speaking_of_params(study):
                body(door.params_for(keys(name, study), study, changed), **arguments)

        _, *own = inspect.signature(body).parameters.values()
        run.__signature__ = inspect.Signature(own + [SET_PARAM] * changes)  # type: ignore[attr-defined]
        return app.command(name)(run)

    return register


@command(reads=("data", "task"))
def prepare(params: Params, task: str, out: Path) -> None:
    """Read and check a task's rows; write parquet with provenance."""
    from kdcore.data import prepare as stage
    from kdcore.data import tasks

    stage.prepare(tasks.find(task, params.task), params.data, out)


@command(
    reads=("model", "teacher", *(f"train.{name}" for name in Shared.model_fields), "evaluate.batch_size"), trains=True
)
def teacher(
    params: Params,
    task: str,
    data: DataFolder,
    out: Path,
    point: Annotated[Path, typer.Argument(help="JSON file to write its validation scores to.")],
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
        made = stage.fine_tune(prepared, params.model, own, params.train)
    link_folder(made.folder, out)
    scores = read_point(score_run(made, prepared, made, None, params.evaluate.batch_size))
    sanity.check("the teacher", scores, own.floor)
    publish(point, scores)


@command(reads=("student.rows", "study.{study}", "targets", "evaluate.batch_size"))
def targets(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: TeacherFolder,
    out: Path,
    study: StudyOption = None,
) -> None:
    """Write the teacher's logits, [CLS] vectors and attention maps, of as many rows as the students need."""
    _heavy()
    from kdcore.artefacts import check_folder
    from kdcore.distil.targets import write_targets

    check_folder(out, data, teacher)
    rows = [params.student.rows]
    if study:
        knobs = [cell.sets for cell in cells(STUDIES[study], params.study[study])]
        rows = [sets.get("student.rows", params.student.rows) for sets in knobs]
    most = None if None in rows else max(filter(None, rows))
    write_targets(_data(task, data), _teacher(teacher), out, params.targets, most, params.evaluate.batch_size)


@command(reads=("study.tune",))
def holdout(params: Params, task: str, data: DataFolder, out: Path) -> None:
    """Split a task's training rows: a part to train on, and one to score on while knobs are chosen."""
    from kdcore.data import prepare as stage

    stage.holdout(_data(task, data), params.study["tune"]["share"], out)


@command(reads=("model", "student", "distill", "train", "study.tune", "evaluate.batch_size"), of="tune")
def tune(
    params: Params,
    task: str,
    method: Method,
    data: Annotated[Path, typer.Argument(help="What `kdcore holdout` made of the task.")],
    teacher: TeacherFolder,
    targets: TargetsFolder,
    out: Annotated[Path, typer.Argument(help="Folder to write one JSON and one CSV per student to.")],
) -> None:
    """Distil and score a method's student of every combination of knobs, on the seeds of study.tune."""
    _heavy()
    from kdcore.artefacts import check_folder, new_folder, publish
    from kdcore.console import say

    check_folder(out, data, teacher, targets)
    opened, grid = _opened(task, data, teacher, targets), params.study["tune"]
    usual = {"student": params.student, "distill": params.distill, "train": params.train}
    tried = [cell for cell in cells(STUDIES["tune"], grid) if cell.method == method]
    made: dict[str, tuple[Finished, dict[str, Any]]] = {}
    for number, (cell, seed) in enumerate(itertools.product(tried, grid["seeds"]), start=1):
        name = f"{cell.name.rpartition('/')[2]}-s{seed}"
        say(f"tune: {task}, {method}: student {number} of {len(tried) * len(grid['seeds'])}, {name}")
        changed = with_changes(usual, cell.sets)
        student, scores = _distilled(method, seed, **changed, params=params, opened=opened)
        made[name] = student, scores | cell.fields
    with new_folder(out) as aside:
        for name, (student, scores) in made.items():
            publish(aside / f"{name}.csv", (student.folder / "history.csv").read_bytes())
            publish(aside / f"{name}.json", scores)


@command(reads=("model", "student", "distill", "train", "evaluate.batch_size"), trains=True)
def student(
    params: Params,
    task: str,
    method: Method,
    layers: Annotated[int, typer.Argument(min=1, help="Its depth.")],
    seed: int,
    data: DataFolder,
    teacher: TeacherFolder,
    targets: TargetsFolder,
    out: Path,
) -> None:
    """Distil one student of the headline run, and say what speaks against it."""
    _heavy()
    from kdcore.artefacts import check_folder, link_folder
    from kdcore.evaluation import sanity

    check_folder(out, data, teacher, targets)
    own = params.student.model_copy(update={"layers": layers})
    opened = _opened(task, data, teacher, targets)
    _say_standing(task, method, seed, own, params, opened)
    model, scores = _distilled(method, seed, own, params.distill, params.train, params, opened)
    sanity.check(f"{task}: {method}, seed {seed}", scores, own.floor)
    link_folder(model.folder, out)


def _say_standing(
    task: str, method: str, seed: int, own: Student, params: Params, opened: tuple["Data", "Finished", "Targets"]
) -> None:
    """Say which of its task's students in the headline run it is, and how long they may still take."""
    import json

    from kdcore.console import say
    from kdcore.distil.standing import standing
    from kdcore.distil.student import recipe
    from kdcore.runs import result_of

    whole = door.headline()
    wanted = list(itertools.product(whole.methods, whole.seeds))
    knobs = own, params.distill, params.train, params.model
    seconds = {}
    for name, number in wanted:
        if result := result_of("student", recipe(name, number, *knobs, *opened)):
            seconds[name, number] = json.loads((result / "run.json").read_text(encoding="utf-8"))["seconds"]
    if (method, seed) in wanted and (method, seed) not in seconds:
        say(f"{task}: {method}, seed {seed}: {standing((method, seed), wanted, seconds)}")


@command(
    reads=(
        *("model", "student.layers", "student.rows", "student.init", "student.layer_map", "distill", "train"),
        "evaluate.batch_size",
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
    teacher: TeacherFolder,
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
    opened = _opened(task, data, teacher, targets)
    model, scores = _distilled(method, seed, own, params.distill, params.train, params, opened)
    sanity.check(f"{task}: {method}, seed {seed}", scores)
    asked = {"method": method, "init": own.init, "layer_map": own.layer_map, "trains": params.distill.trains}
    for section, _, field in (key.rpartition(".") for key in STUDIES[study].asks) if study else ():
        asked[field] = getattr(getattr(params, section), field)
    publish(out.with_suffix(".csv"), (model.folder / "history.csv").read_bytes())
    publish(out, scores | asked)  # equal students share a run, which keeps the names of the first that asked


def _distilled(
    method: str,
    seed: int,
    student: Student,
    distill: Distill,
    train: Train,
    params: Params,
    opened: tuple["Data", "Finished", "Targets"],
) -> tuple["Finished", dict[str, Any]]:
    """The student that the arguments determine, trained now where it is not in the store, and its point."""
    from kdcore.distil.student import distil
    from kdcore.evaluation.score import read_point, score_run
    from kdcore.model.names import check_vocabulary

    if student.init.startswith("pretrained"):
        check_vocabulary(params.model.name, params.model.revision, opened[1].folder)
    model = distil(method, seed, student, distill, train, params.model, *opened)
    return model, read_point(score_run(model, *opened, params.evaluate.batch_size))


@command(reads=("methods", "seeds", "evaluate.batch_size"))
def evaluate(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: TeacherFolder,
    targets: TargetsFolder,
    students: Annotated[Path, typer.Argument(help="Folder of the task's students, <method>-s<seed> each.")],
    points: Annotated[Path, typer.Argument(help="Folder to write one JSON per model to.")],
    predictions: Annotated[Path, typer.Argument(help="Folder to write one table of predictions per model to.")],
) -> None:
    """Score the teacher and every student of the headline run on validation data."""
    _heavy()
    from kdcore.artefacts import check_folder, new_folder, publish
    from kdcore.console import warn
    from kdcore.distil.finished import Finished
    from kdcore.evaluation import sanity
    from kdcore.evaluation.score import read_point, score_run

    check_folder(points, data, teacher, targets, students, predictions)
    check_folder(predictions, data, teacher, targets, students, points)
    prepared, made, signals = _opened(task, data, teacher, targets)
    methods = {f"{method}-s{seed}": method for method in params.methods for seed in params.seeds}
    scores = []
    with new_folder(points) as new_points, new_folder(predictions) as new_predictions:
        for name, method in {"teacher": "teacher", **methods}.items():
            model = made if name == "teacher" else Finished.open(students / name, "dvc repro -f student")
            compared = None if model is made else signals
            scored = score_run(model, prepared, made, compared, params.evaluate.batch_size)
            # Equal students share the run of the first, which may be of another method.
            scores.append(read_point(scored) | {"method": method})
            publish(new_points / f"{name}.json", scores[-1])
            publish(new_predictions / f"{name}.parquet", (scored / "predictions.parquet").read_bytes())
    for line in sanity.below_none(scores):
        warn(line)


@command(reads=("tasks", "methods", "seeds", "evaluate.confidence"))
def plots(params: Params, points: Path, students: Path, out: Path) -> None:
    """Write the tables, the scores by epoch and the pictures of the headline run."""
    from kdcore.artefacts import check_place
    from kdcore.report.write import write_main

    check_place(out, points, students)
    write_main(points, students, out, params.tasks, params.methods, params.seeds, params.evaluate.confidence)


@command(reads=("attention", "methods", "seeds"))
def attention(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: TeacherFolder,
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
    from kdcore.evaluation.attention import compare, compared
    from kdcore.report.attention import write_attention

    check_place(out, data, teacher, targets, students, points, predictions)
    own, seed = params.attention, params.seeds[0]
    methods, notes = compared({"standard": own.standard, "internal": own.internal}, params.methods)
    for note in notes:
        say(f"attention: {note}")
    opened = _opened(task, data, teacher, targets)
    models = {method: Finished.open(students / f"{method}-s{seed}", "dvc repro -f student") for method in methods}
    logits = {"teacher": predictions / "teacher.parquet"}
    logits |= {method: predictions / f"{method}-s{seed}.parquet" for method in methods}
    write_attention(compare(*opened, models, logits, own.examples), points, out, seed, notes)


@command(reads=("tasks", "methods", "seeds", "evaluate.confidence", "study"))
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
    write_page(
        *(metrics, students, out, params.tasks, params.methods, params.seeds),
        params.evaluate.confidence,
        params.study,
    )
    runs = points.read(points.headline(metrics / "main/points", params.tasks, params.methods, params.seeds))
    conclude(summarise(runs, ["method"], baselines, params.evaluate.confidence), runs, out)


@command(reads=("tasks", "methods", "seeds", "evaluate.confidence"))
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
    write_errors(predictions, data, out, params.tasks, params.methods, params.seeds, params.evaluate.confidence)


@command(reads=("tasks", "seeds", "study.{study}", "evaluate.confidence"))
def curve(
    params: Params,
    study: StudyName,
    points: Path,
    teachers: Annotated[Path, typer.Argument(help="Folder of the teachers' scores, <task>.json each.")],
    out: Path,
) -> None:
    """Write the table and the picture of a study from its points."""
    from kdcore.artefacts import check_place
    from kdcore.console import say
    from kdcore.report.write import write_study

    check_place(out, points, teachers)
    by_task = {task: teachers / f"{task}.json" for task in params.tasks}
    write_study(STUDIES[study], points, out, by_task, params.study[study], params.seeds, params.evaluate.confidence)
    say(f"{study}: the table is {out / 'table.md'}, the picture {out / 'figures' / f'{study}.png'}")


@command(reads=("data", "task", "model.max_length", "evaluate.batch_size"))
def predict(
    params: Params,
    model: Annotated[Path, typer.Argument(help="Folder of a student, a teacher, or any classifier that was saved.")],
    data: Annotated[Path, typer.Argument(help="A prepared task, or a csv, tsv, jsonl or parquet file.")],
    out: Annotated[Path, typer.Argument(help="Folder for a prepared task or --server; else the file to write.")],
    task: Annotated[str | None, typer.Option(help="The task, where the model does not say.")] = None,
    server: Annotated[str | None, typer.Option(help="Write a file's rows for the GLUE server, e.g. AX.")] = None,
    zip_: Annotated[bool, typer.Option("--zip", help="Zip all of the server's files in OUT.")] = False,
) -> None:
    """Predict a prepared task's test splits (GLUE's for its server), or any file with the task's texts."""
    _heavy()
    from kdcore.artefacts import check_file, check_place
    from kdcore.predict.model import logits, task_of
    from kdcore.predict.rows import own_file
    from kdcore.predict.run import check_options, predict_file, predict_folder, zip_files
    from kdcore.predict.server import ZIP, check_name

    check_options(data.is_dir(), server, zip_)
    check_place(out, model, data)
    named = [] if data.is_dir() else [out if server is None else out / f"{server}.tsv"]
    for file in [*named, *([out / ZIP] if zip_ else [])]:
        check_file(file, model, data)
    described = task_of(model, params.task, task)
    how = {"max_length": params.model.max_length, "batch_size": params.evaluate.batch_size}
    if server is not None:
        check_name(server, described.name)
    if data.is_dir():
        predict_folder(data, described, lambda rows: logits(model, described, rows, **how), out)
    else:
        rows = own_file(data, described, params.data.columns)
        predict_file(rows, described, lambda rows: logits(model, described, rows, **how), out, server)
    if zip_:
        zip_files(out)


@command(reads=("model.max_length", "evaluate.batch_size"))
def export(
    params: Params,
    model: Annotated[Path, typer.Argument(help="Folder of a finished student or teacher.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: config.json, the tokenizer, onnx/.")],
    data: Annotated[Path | None, typer.Option(help="Prepared task to compare on; data/<task> unless named.")] = None,
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="Also with weights of 8 bits.")] = True,
) -> None:
    """Write a classifier as ONNX, float32 and int8, held against torch on validation rows."""
    _heavy()
    from kdcore.artefacts import check_folder
    from kdcore.console import say
    from kdcore.data.examples import encode
    from kdcore.data.prepared import Data
    from kdcore.distil.finished import Finished
    from kdcore.export import export as write

    check_folder(out, model, *filter(None, [data]))
    made = Finished.open(model, "dvc repro")
    folder = data or Path("data") / made.facts["task"]
    check_folder(out, folder)
    prepared = Data.open(folder)
    length = made.facts.get("max_length") or params.model.max_length
    rows = encode(made.tokenizer, prepared.frame("validation"), length)
    facts = write(model, prepared.task, rows, out, int8, params.evaluate.batch_size)
    for kind in [kind for kind in ("float32", "int8") if kind in facts]:
        measured = ", ".join(f"{metric} {facts[kind][metric]:.4f}" for metric in prepared.task.metrics)
        same = f"answers as torch on {facts[kind]['agreement']:.2%} of {facts['rows']:,} rows"
        say(f"{kind}: {same} (logits within {facts[kind]['largest_difference']:.2g}), {measured}")


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


def _opened(task: str, data: Path, teacher: Path, targets: Path) -> tuple["Data", "Finished", "Targets"]:
    """What a student is made from, each opened and proved once."""
    from kdcore.distil.signals import Targets

    prepared, made = _data(task, data), _teacher(teacher)
    return prepared, made, Targets.open(targets, prepared, made)


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
