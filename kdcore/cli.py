"""The commands, one per stage of dvc.yaml: the only place that sees params.yaml and paths as a whole.

Heavy imports happen inside the commands, so that `--help` and a wrong value in params.yaml answer at once.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kdcore import processes
from kdcore.errors import UserError
from kdcore.memory import keep_freed
from kdcore.params.values import Init, Method, NamedMap, Trains

if TYPE_CHECKING:
    from kdcore.distil.training import Settings

app = typer.Typer(
    name="kdcore",
    help=__doc__.splitlines()[0] if __doc__ else None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# What typer raises for a wrong command line; it brings a click of its own, or uses the one that is installed.
WrongCommandLine: Any = typer.BadParameter.__mro__[1]

# What each command reads of params.yaml, and, where it works for a study, the study's own section beside.
# dvc.yaml declares the same, and a test compares the two.
READS: dict[str, tuple[str, ...]] = {
    "prepare": ("data", "task"),
    "teacher": ("model", "teacher", "train", "evaluate.batch_size"),
    "targets": ("student.rows", "targets", "evaluate.batch_size"),
    "student": ("model", "student", "distill", "train"),
    "evaluate": ("methods", "seeds", "evaluate.batch_size"),
    "plots": ("tasks", "methods", "seeds", "evaluate.confidence"),
    "errors": ("tasks", "methods", "seeds", "evaluate.confidence"),
    "attention": ("attention", "methods", "seeds"),
    "report": ("tasks", "methods", "seeds", "evaluate.confidence"),
    "point": (
        "model",
        "student.rows",
        "student.init",
        "student.layer_map",
        "distill",
        "train",
        "evaluate.batch_size",
    ),
    "curve": ("tasks", "seeds", "evaluate.confidence"),
    "predict": ("data", "task", "model.max_length", "evaluate.batch_size"),
    "plan": (
        *("tasks", "methods", "seeds", "task", "model", "teacher", "targets", "student", "distill", "train"),
        "evaluate.batch_size",
    ),
}

# Per study: what params.yaml calls the depth and the rows of its students, for messages.
LAYERS_KEYS = {"depth": "study.depth.layers"}
ROWS_KEYS = {"data_size": "study.data_size.rows"}

DataFolder = Annotated[Path, typer.Argument(help="Prepared data of the task.")]
TeacherFolder = Annotated[Path, typer.Argument(help="The teacher's folder.")]
TargetsFolder = Annotated[Path, typer.Argument(help="The teacher's signals.")]


class Knobs(dict[str, Any]):
    """The values of params.yaml that a command reads, by dotted key, from a file that was checked as a whole."""

    def __init__(self, command: str, study: str | None = None, changes: Sequence[str] = ()) -> None:
        """changes: KEY=VALUE, in place of what the file says."""
        from kdcore.params.changes import changed

        params = changed("params.yaml", changes)
        super().__init__({key: _value(params, key) for key in READS[command]})
        if study is not None:
            studies = list(type(params.study).model_fields)
            if study not in studies:
                raise UserError("study", f"must be {' | '.join(studies)}, found {study!r}")
            self["study"] = _value(params, f"study.{study}")


def _value(params: Any, key: str) -> Any:
    for part in key.split("."):
        params = getattr(params, part)
    return params


@app.callback()
def start(context: typer.Context) -> None:
    """Commands that train use every process that a launcher started; the others need one."""
    if context.invoked_subcommand not in processes.TOGETHER:
        processes.dismiss()


@app.command()
def prepare(task: str, out: Path) -> None:
    """Read and check a task's rows; write parquet with provenance."""
    knobs = Knobs("prepare")
    from kdcore.data import prepare as stage
    from kdcore.data import tasks

    stage.prepare(tasks.find(task, knobs["task"]), knobs["data"], out)


@app.command()
def teacher(
    task: str,
    data: DataFolder,
    out: Path,
    point: Annotated[Path, typer.Argument(help="JSON file to write its validation scores to.")],
) -> None:
    """Fine-tune the teacher, or take one that is fine-tuned already, and score it."""
    knobs = Knobs("teacher")
    _heavy()
    from kdcore.artefacts import check_file, check_folder, publish
    from kdcore.distil import teacher as stage
    from kdcore.evaluation.score import read_point, score_run

    check_folder(out, data)
    check_file(point, data, out)
    model, own = knobs["model"], knobs["teacher"]
    _check_task(task, data)
    if own.finetuned is not None:
        stage.adopt(data, out, name=own.finetuned, revision=own.revision, max_length=model.max_length)
    else:
        stage.fine_tune(
            data,
            out,
            model=model.name,
            revision=model.revision,
            max_length=model.max_length,
            rows=own.rows,
            epochs=own.epochs,
            settings=_settings(knobs["train"], own.learning_rate, own.seed),
        )
    found = read_point(score_run(out, data, out, None, knobs["evaluate.batch_size"]))
    stage.check_floor(found, own.floor, stage.chance(data))
    publish(point, found)


@app.command()
def targets(
    task: str,
    data: DataFolder,
    teacher: TeacherFolder,
    out: Path,
    study: Annotated[Literal["data_size"] | None, typer.Option(help="As many rows as this study needs.")] = None,
) -> None:
    """Write the teacher's logits, [CLS] vectors and attention maps."""
    knobs = Knobs("targets", study)
    _heavy()
    from kdcore.artefacts import check_folder
    from kdcore.distil.targets import write_targets

    check_folder(out, data, teacher)
    _check_task(task, data)
    write_targets(
        data,
        teacher,
        out,
        rows=max(knobs["study"].rows) if study else knobs["student.rows"],
        keep=knobs["targets"].store,
        dtype=knobs["targets"].dtype,
        disk_gb=knobs["targets"].disk_gb,
        batch_size=knobs["evaluate.batch_size"],
        rows_key=ROWS_KEYS.get(study or "", "student.rows"),
    )


@app.command()
def student(
    task: str,
    method: Method,
    layers: int,
    seed: int,
    data: DataFolder,
    teacher: TeacherFolder,
    targets: TargetsFolder,
    out: Path,
) -> None:
    """Distil one student of the headline run."""
    knobs = Knobs("student")
    _heavy()
    from kdcore.artefacts import check_folder, link_folder
    from kdcore.distil.student import Recipe, Sources, distil

    check_folder(out, data, teacher, targets)
    _check_task(task, data)
    _check_targets(targets, data, teacher)
    _check_vocabulary(knobs["student"].init, knobs["model"], teacher)
    own = knobs["student"].model_dump() | {"layers": layers}
    recipe = Recipe(method=method, **own, **knobs["distill"].model_dump())
    sources = Sources(data, teacher, targets, knobs["model"].name, knobs["model"].revision)
    link_folder(distil(recipe, sources, _settings(knobs["train"], knobs["train"].learning_rate, seed)), out)


@app.command()
def evaluate(
    task: str,
    data: DataFolder,
    teacher: TeacherFolder,
    targets: TargetsFolder,
    students: Annotated[Path, typer.Argument(help="Folder of the task's students, <method>-s<seed> each.")],
    points: Annotated[Path, typer.Argument(help="Folder to write one JSON per model to.")],
    predictions: Annotated[Path, typer.Argument(help="Folder to write one table of predictions per model to.")],
) -> None:
    """Score the teacher and every student of the headline run on validation data."""
    knobs = Knobs("evaluate")
    _heavy()
    from kdcore.artefacts import check_folder, new_folder, publish
    from kdcore.evaluation.score import read_point, score_run

    check_folder(points, data, teacher, targets, students, predictions)
    check_folder(predictions, data, teacher, targets, students, points)
    _check_task(task, data)
    _check_targets(targets, data, teacher)
    names = [f"{method}-s{seed}" for method in knobs["methods"] for seed in knobs["seeds"]]
    models = {"teacher": teacher, **{name: students / name for name in names}}
    with new_folder(points) as new_points, new_folder(predictions) as new_predictions:
        for name, folder in models.items():
            compared = None if folder == teacher else targets
            found = score_run(folder, data, teacher, compared, knobs["evaluate.batch_size"])
            method = {"method": name.rpartition("-s")[0] or name}  # equal students share the run of the first
            publish(new_points / f"{name}.json", read_point(found) | method)
            publish(new_predictions / f"{name}.parquet", (found / "predictions.parquet").read_bytes())


@app.command()
def plots(points: Path, students: Path, out: Path) -> None:
    """Write the tables, the plot data and the pictures of the headline run."""
    knobs = Knobs("plots")
    from kdcore.artefacts import check_place
    from kdcore.report.plots import write_main

    check_place(out, points, students)
    write_main(points, students, out, *(knobs[key] for key in READS["plots"]))


@app.command()
def attention(
    task: str,
    data: DataFolder,
    teacher: TeacherFolder,
    targets: TargetsFolder,
    students: Annotated[Path, typer.Argument(help="Folder of the task's students, <method>-s<seed> each.")],
    points: Annotated[Path, typer.Argument(help="Folder of the task's scores.")],
    predictions: Annotated[Path, typer.Argument(help="Folder of the task's predictions.")],
    out: Annotated[Path, typer.Argument(help="Folder to write <task>.json, plot data and figure 5 to.")],
) -> None:
    """Compare attention maps of teacher, standard and internal student on chosen validation examples."""
    knobs = Knobs("attention")
    _heavy()
    from kdcore.artefacts import check_place
    from kdcore.console import say
    from kdcore.evaluation.attention import compare
    from kdcore.evaluation.choose import compared
    from kdcore.report.attention_files import write_attention

    check_place(out, data, teacher, targets, students, points, predictions)
    _check_task(task, data)
    _check_targets(targets, data, teacher)
    own, seed = knobs["attention"], knobs["seeds"][0]
    methods, notes = compared({"standard": own.standard, "internal": own.internal}, knobs["methods"])
    for note in notes:
        say(f"attention: {note}")
    folders = {method: students / f"{method}-s{seed}" for method in methods}
    logits = {"teacher": predictions / "teacher.parquet"}
    logits |= {method: predictions / f"{method}-s{seed}.parquet" for method in methods}
    found = compare(data, teacher, targets, folders, logits, own.examples)
    write_attention(found, points, out, seed, notes)


@app.command()
def report(
    metrics: Annotated[Path, typer.Argument(help="Folder of all results: main/ and one per study.")],
    students: Annotated[Path, typer.Argument(help="Folder of the students of the headline run.")],
    out: Annotated[Path, typer.Argument(help="HTML file to write.")],
) -> None:
    """Write the page: every result in one HTML file that opens without a network."""
    knobs = Knobs("report")
    from kdcore.artefacts import check_file
    from kdcore.report.page.write import write_page

    check_file(out, metrics, students)
    write_page(metrics, students, out, *(knobs[key] for key in READS["report"]))


@app.command()
def errors(
    data: Annotated[Path, typer.Argument(help="Folder of the prepared tasks.")],
    predictions: Annotated[Path, typer.Argument(help="Folder of the tasks' predictions.")],
    out: Path,
) -> None:
    """Write how the students of the headline run repeat the teacher's errors, and the examples."""
    knobs = Knobs("errors")
    from kdcore.artefacts import check_place
    from kdcore.report.error_files import write_errors

    check_place(out, data, predictions)
    write_errors(predictions, data, out, *(knobs[key] for key in READS["errors"]))


@app.command()
def point(
    task: str,
    method: Method,
    seed: int,
    data: DataFolder,
    teacher: TeacherFolder,
    targets: TargetsFolder,
    out: Annotated[Path, typer.Argument(help="JSON file to write; the student's history goes beside it as CSV.")],
    layers: Annotated[int, typer.Option(min=1, help="Depth of the student.")],
    rows: Annotated[int | None, typer.Option(min=1, help="In place of student.rows.")] = None,
    init: Annotated[Init | None, typer.Option(help="In place of student.init.")] = None,
    layer_map: Annotated[NamedMap | None, typer.Option(help="In place of student.layer_map.")] = None,
    trains: Annotated[Trains | None, typer.Option(help="In place of distill.trains.")] = None,
    study: Annotated[str | None, typer.Option(help="The study that asks, for the keys in messages.")] = None,
) -> None:
    """Distil one student of a study and score it, in one process."""
    knobs = Knobs("point")
    _heavy()
    from kdcore.artefacts import check_file, publish
    from kdcore.distil.student import Recipe, Sources, distil
    from kdcore.evaluation.score import read_point, score_run

    if out.suffix != ".json":
        raise UserError(str(out), "must end in .json")
    for file in (out, out.with_suffix(".csv")):
        check_file(file, data, teacher, targets)
    _check_task(task, data)
    _check_targets(targets, data, teacher)
    asked = {
        "method": method,
        "init": init or knobs["student.init"],
        "layer_map": layer_map or knobs["student.layer_map"],
        "trains": trains or knobs["distill"].trains,
    }
    _check_vocabulary(asked["init"], knobs["model"], teacher)
    own = {"layers": layers, "rows": rows or knobs["student.rows"]}
    recipe = Recipe(**knobs["distill"].model_dump() | own | asked)
    sources = Sources(data, teacher, targets, knobs["model"].name, knobs["model"].revision)
    folder = distil(
        recipe,
        sources,
        _settings(knobs["train"], knobs["train"].learning_rate, seed),
        layers_key=LAYERS_KEYS.get(study or "", "student.layers"),
        rows_key=ROWS_KEYS.get(study or "", "student.rows"),
    )
    found = read_point(score_run(folder, data, teacher, targets, knobs["evaluate.batch_size"]))
    publish(out.with_suffix(".csv"), (folder / "history.csv").read_bytes())
    publish(out, found | asked)  # equal students share a run, which keeps the names of the first that asked


@app.command()
def curve(
    study: Annotated[str, typer.Argument(help="A name under `study:` in params.yaml.")],
    points: Path,
    teachers: Annotated[Path, typer.Argument(help="Folder of the teachers' scores, <task>.json each.")],
    out: Path,
) -> None:
    """Write the table, the plot data and the picture of a study from its points."""
    knobs = Knobs("curve", study)
    from kdcore.artefacts import check_place
    from kdcore.report.study import write_study

    check_place(out, points, teachers)
    by_task = {task: teachers / f"{task}.json" for task in knobs["tasks"]}
    grid = knobs["study"].model_dump()
    write_study(study, points, out, by_task, grid, knobs["seeds"], knobs["evaluate.confidence"])


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a student, a teacher, or any classifier that was saved.")],
    data: Annotated[Path, typer.Argument(help="A prepared task, or a csv, tsv, jsonl or parquet file.")],
    out: Annotated[Path, typer.Argument(help="Folder for a prepared task or --server; else the file to write.")],
    task: Annotated[str | None, typer.Option(help="The task, where the model does not say.")] = None,
    server: Annotated[str | None, typer.Option(help="Write a file's rows for the GLUE server, e.g. AX.")] = None,
    zip_: Annotated[bool, typer.Option("--zip", help="Zip all of the server's files in OUT.")] = False,
) -> None:
    """Predict a test set, for the GLUE server where it is one of GLUE's, or any file with the task's texts."""
    knobs = Knobs("predict")
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
    described = task_of(model, knobs["task"], task)
    how = {"max_length": knobs["model.max_length"], "batch_size": knobs["evaluate.batch_size"]}
    if server is not None:
        check_name(server, described.name)
    if data.is_dir():
        predict_folder(data, described, lambda rows: logits(model, described, rows, **how), out)
    else:
        found = own_file(data, described, knobs["data"].columns)
        predict_file(found, described, lambda rows: logits(model, described, rows, **how), out, server)
    if zip_:
        zip_files(out)


@app.command()
def plan(
    study: Annotated[str | None, typer.Option(help="A name under `study:`; without it the headline run.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set-param", "-S", help="KEY=VALUE in params.yaml, as in `dvc exp run -S`.")
    ] = None,
    shape: Annotated[str | None, typer.Option(help="The teacher's: a config.json, or a name, e.g. bert-base.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Training rows of a task that is not prepared.")] = None,
    tokens: Annotated[float | None, typer.Option(min=3, help="Its mean tokens per row.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Hours on it too, e.g. h100.")] = None,
    tflops: Annotated[float | None, typer.Option(min=0.001, help="Likewise, by the TFLOP/s that it sustains.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long to measure this machine; 0: not at all.")] = 10.0,
) -> None:
    """Print what a run will cost before it is paid: FLOPs, hours, disk, memory."""
    knobs = Knobs("plan", study, changes=changes or ())
    from kdcore.plan.gpus import find as find_gpu

    rate = find_gpu(gpu, tflops)
    _heavy()
    from kdcore.data import tasks
    from kdcore.model.names import check_length
    from kdcore.plan.lengths import lengths
    from kdcore.plan.run import write_plan
    from kdcore.plan.shapes import config_of
    from kdcore.plan.students import students
    from kdcore.plan.task import Asked

    own, model = knobs["student"], knobs["model"]
    grid = knobs["study"].model_dump() if study else {}
    named = knobs["teacher"].finetuned or model.name
    config, name = config_of(shape, named, knobs["teacher"].revision if knobs["teacher"].finetuned else model.revision)
    check_length(config, model.max_length, name)
    asked = Asked(
        students(own.model_dump() | knobs["distill"].model_dump(), knobs["methods"], study, grid),
        seeds=len(knobs["seeds"]),
        rows=max(grid["rows"]) if study == "data_size" else own.rows,
        teacher=knobs["teacher"],
        targets=knobs["targets"],
        train=knobs["train"],
        batch_size=knobs["evaluate.batch_size"],
        study=study,
        layers_key=LAYERS_KEYS.get(study or "", "student.layers"),
        rows_key=ROWS_KEYS.get(study or "", "student.rows"),
    )
    found = [
        lengths(tasks.find(task, knobs["task"]), Path("data") / task, named, model.max_length, rows, tokens)
        for task in knobs["tasks"]
    ]
    write_plan(asked, config, name, found, _settings(knobs["train"], knobs["train"].learning_rate, 0), rate, seconds)


def _settings(train: Any, learning_rate: float, seed: int) -> "Settings":
    from kdcore.distil.training import Settings

    return Settings(**train.model_dump() | {"learning_rate": learning_rate, "seed": seed})


def _check_task(task: str, data: Path) -> None:
    from kdcore.data.prepared import read_task

    if (found := read_task(data).name) != task:
        raise UserError(str(data), f"holds task {found!r}, not {task!r}")


def _check_targets(targets: Path, data: Path, teacher: Path) -> None:
    from kdcore.distil.targets import check_targets

    check_targets(targets, data, teacher)


def _check_vocabulary(init: str, model: Any, teacher: Path) -> None:
    from kdcore.model.vocabulary import check_vocabulary

    if init.startswith("pretrained"):
        check_vocabulary(model.name, model.revision, teacher)


def _heavy() -> None:
    """What must be set before torch and transformers are imported, or right after."""
    import os

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    keep_freed()
    if processes.launched() > 1:  # else each warns that a phase trains every parameter, where others train a few
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from transformers import dynamic_module_utils

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # else it asks in a terminal whether to run a model's own code


def main() -> None:
    """Run a command; a user's mistake is one message on stderr and exit code 2, never a traceback."""
    from kdcore.interrupt import Interrupted, ending

    try:
        with ending():
            sys.exit(app(standalone_mode=False) or 0)
    except (WrongCommandLine, UserError, OSError) as error:
        if not processes.first():
            _give_way(3)
        _complain(error)
        sys.exit(2)
    except Interrupted as stopped:
        if processes.first():
            print(f"stopped by {stopped}: {stopped.kept}", file=sys.stderr)
        sys.exit(128 + stopped.signum)
    except Exception:
        if processes.count() > 1:
            _give_way(10)
        raise


def _complain(error: Exception) -> None:
    from kdcore.faults import explained

    if isinstance(error, WrongCommandLine):
        error.show()
    else:
        print(explained(error) if isinstance(error, OSError) else error, file=sys.stderr)


def _give_way(seconds: float) -> None:
    """Wait for the launcher to end this process, as it does where another one failed before it and has said why."""
    from kdcore.interrupt import requested

    if signum := requested():
        sys.exit(128 + signum)
    time.sleep(seconds)
