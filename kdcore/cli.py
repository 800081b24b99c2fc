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
from kdcore.params.overrides import for_task, of_task, values
from kdcore.params.sections import Params
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

DataFolder = Annotated[Path, typer.Argument(help="Prepared data of the task.")]
TeachersFolder = Annotated[Path, typer.Argument(help="Folder of the task's teachers, s<seed> each.")]
TargetsFolder = Annotated[Path, typer.Argument(help="Folder of their signals, s<seed> each.")]
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


def keys(command: str, study: str | None = None, task: str | None = None) -> list[str]:
    """The keys of params.yaml that a command reads, with those of the study and of the task where it is given one."""
    given = {"study": study, "task": task}
    absent = [f"{{{name}}}" for name, value in given.items() if not value]
    found = [key.format(**given) for key in _reads[command] if not any(name in key for name in absent)]
    if study and STUDIES[study].own and f"study.{study}" not in found:
        sections = dict.fromkeys(key.partition(".")[0] for key in found)
        found += [f"study.{study}.{section}" for section in sections if section in OWN]
    return found


def command(reads: tuple[str, ...], *, trains: bool = False, changes: bool = False) -> Callable[[Body], Body]:
    """Make the function a command: it gets the params that it declares, before its arguments.

    reads: keys of params.yaml, {study} and {task} being the command's arguments; trains: whether every process of a
    launcher runs it, and not the first alone; changes: whether it takes `-S key=value`. Its params are those of its
    arguments `task` and `method`, where it has them: kdcore/params/overrides.py.
    """

    def register(body: Body) -> Body:
        name = body.__name__.rstrip("_")
        _reads[name] = reads

        @functools.wraps(body)
        def run(**arguments: Any) -> None:
            if not trains:
                processes.dismiss()
            changed = arguments.pop("set_param", None) or ()
            study, task, method = (arguments.get(name) for name in ("study", "task", "method"))
            given = door.params_for(keys(name, study, task), study, changed, task, method)
            with door.speaking_of_params(given.names):
                body(given.params, **arguments)

        _, *own = inspect.signature(body).parameters.values()
        run.__signature__ = inspect.Signature(own + [SET_PARAM] * changes)  # type: ignore[attr-defined]
        return app.command(name)(run)

    return register


@command(reads=("data", "task.{task}"))
def prepare(params: Params, task: str, out: Path, study: StudyOption = None) -> None:
    """Read and check a task's rows; write parquet with provenance."""
    from kdcore.data import prepare as stage
    from kdcore.data import tasks

    stage.prepare(tasks.find(task, params.task), params.data, out)


@command(reads=("model", "teacher", "train", "evaluate.batch_size", "task.{task}"), trains=True)
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
    stage.check_floor(scores, own.floor, stage.chance(prepared))
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


@command(reads=("model", "teacher.seeds", "student", "distill", "train", "task.{task}"), trains=True)
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
    """Distil one student of the headline run."""
    _heavy()
    from kdcore.artefacts import check_folder, link_folder

    check_folder(out, data, teacher, targets)
    opened = _opened(_data(task, data), teacher, targets, teacher_of(seed, params.teacher.seeds))
    link_folder(_distilled(method, seed, params, *opened).folder, out)


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
    from kdcore.evaluation.score import read_point, score_run

    if out.suffix != ".json":
        raise UserError(str(out), "must end in .json")
    for file in (out, out.with_suffix(".csv")):
        check_file(file, data, teacher, targets)
    own = params.student
    opened = _opened(_data(task, data), teacher, targets, teacher_of(seed, params.teacher.seeds))
    model = _distilled(method, seed, params, *opened)
    scores = read_point(score_run(model, *opened, params.evaluate.batch_size))
    asked = {"method": method, "init": own.init, "layer_map": own.layer_map, "trains": params.distill.trains}
    for section, _, field in (key.rpartition(".") for key in STUDIES[study].asks) if study else ():
        asked[field] = getattr(getattr(params, section), field)
    publish(out.with_suffix(".csv"), (model.folder / "history.csv").read_bytes())
    publish(out, scores | asked)  # equal students share a run, which keeps the names of the first that asked


def _distilled(
    method: str, seed: int, params: Params, data: "Data", teacher: "Finished", targets: "Targets"
) -> "Finished":
    """The student that the arguments determine, trained now where it is not in the store."""
    from kdcore.distil.student import distil
    from kdcore.model.names import check_vocabulary

    own = params.student
    if own.init.startswith("pretrained"):
        check_vocabulary(params.model.name, params.model.revision, teacher.folder)
    return distil(method, seed, own, params.distill, params.train, params.model, data, teacher, targets)


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
    """Score the teachers and every student of the headline run on validation data."""
    _heavy()
    from kdcore.artefacts import check_folder, new_folder, publish
    from kdcore.distil.finished import Finished
    from kdcore.evaluation.score import read_point, score_run

    check_folder(points, data, teacher, targets, students, predictions)
    check_folder(predictions, data, teacher, targets, students, points)
    prepared = _data(task, data)
    opened = {one: _opened(prepared, teacher, targets, one) for one in params.teacher.seeds}
    batch_size = params.evaluate.batch_size
    with new_folder(points) as new_points, new_folder(predictions) as new_predictions:

        def keep(name: str, method: str, scored: Path) -> None:
            # Equal students share the run of the first, which may be of another method.
            publish(new_points / f"{name}.json", read_point(scored) | {"method": method})
            publish(new_predictions / f"{name}.parquet", (scored / "predictions.parquet").read_bytes())

        for one, (_, made, _) in opened.items():
            keep(f"teacher-s{one}", "teacher", score_run(made, prepared, made, None, batch_size))
        for method, seed in itertools.product(params.methods, params.seeds):
            model = Finished.open(students / f"{method}-s{seed}", "dvc repro -f student")
            ingredients = opened[teacher_of(seed, params.teacher.seeds)]
            keep(f"{method}-s{seed}", method, score_run(model, *ingredients, batch_size))


@command(reads=("tasks", "methods", "seeds", "teacher.seeds", "evaluate.confidence"))
def plots(params: Params, points: Path, students: Path, out: Path) -> None:
    """Write the tables, the scores by epoch and the pictures of the headline run."""
    from kdcore.artefacts import check_place
    from kdcore.report.write import write_main

    check_place(out, points, students)
    write_main(
        *(points, students, out, params.tasks, params.methods, params.seeds, params.teacher.seeds),
        params.evaluate.confidence,
    )


@command(reads=("attention", "methods", "seeds", "teacher.seeds"))
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
    logits |= {method: predictions / f"{method}-s{seed}.parquet" for method in models}
    write_attention(compare(*opened, models, logits, own.examples), points, out, seed, notes)


@command(reads=("tasks", "methods", "seeds", "teacher.seeds", "evaluate.confidence", "study", "task"))
def report(
    params: Params,
    metrics: Annotated[Path, typer.Argument(help="Folder of all results: main/ and one per study.")],
    students: Annotated[Path, typer.Argument(help="Folder of the students of the headline run.")],
    out: Annotated[Path, typer.Argument(help="HTML file to write.")],
) -> None:
    """Write the page: every result in one HTML file that opens without a network."""
    from kdcore.artefacts import check_file
    from kdcore.report.page.write import write_page

    check_file(out, metrics, students)
    write_page(
        *(metrics, students, out, params.tasks, params.methods, params.seeds, params.teacher.seeds),
        *(params.evaluate.confidence, params.study, params.task),
    )


@command(reads=("tasks", "methods", "seeds", "teacher.seeds", "evaluate.confidence"))
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
    write_errors(
        *(predictions, data, out, params.tasks, params.methods, params.seeds, params.teacher.seeds),
        params.evaluate.confidence,
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
    from kdcore.report.write import write_study

    check_place(out, points, teachers)
    by_task = {
        task: {seed: teachers / task / f"s{seed}.json" for seed in params.teacher.seeds} for task in params.tasks
    }
    write_study(STUDIES[study], points, out, by_task, params.study[study], params.seeds, params.evaluate.confidence)


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
    from kdcore.predict.model import logits
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
        model, described = _distilled(method, seed, own, *opened).folder, opened[0].task
        how = {"max_length": opened[1].max_length, "batch_size": params.evaluate.batch_size}
        predict_folder(folder, described, lambda rows: logits(model, described, rows, **how), out)  # noqa: B023
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


def _opened(data: "Data", teachers: Path, targets: Path, seed: int) -> tuple["Data", "Finished", "Targets"]:
    """What a student of the teacher with that seed is made from, each opened and proved once."""
    from kdcore.distil.signals import Targets

    made = _teacher(teachers / f"s{seed}")
    return data, made, Targets.open(targets / f"s{seed}", data, made)


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
