"""The commands, one per stage of dvc.yaml: the only place that sees params.yaml and paths as a whole.

Heavy imports happen inside the commands, so that `--help` and a wrong value in params.yaml answer at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdcore.errors import UserError

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

# What each command reads of params.yaml, and, where it works for a study, the study's own section beside.
# dvc.yaml declares the same, and a test compares the two.
READS: dict[str, tuple[str, ...]] = {
    "prepare": ("data", "task"),
    "teacher": ("model", "teacher", "train", "evaluate.batch_size"),
    "targets": ("student.rows", "targets", "evaluate.batch_size"),
    "student": ("model", "student", "distill", "train"),
    "evaluate": ("methods", "seeds", "evaluate.batch_size"),
    "plots": ("tasks", "methods", "seeds", "evaluate.confidence"),
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
}

DataFolder = Annotated[Path, typer.Argument(help="Prepared data of the task.")]
TeacherFolder = Annotated[Path, typer.Argument(help="The teacher's folder.")]
TargetsFolder = Annotated[Path, typer.Argument(help="The teacher's signals.")]


class Knobs(dict[str, Any]):
    """The values of params.yaml that a command reads, by dotted key, from a file that was checked as a whole."""

    def __init__(self, command: str, study: str | None = None) -> None:
        from kdcore.params import load

        params = load("params.yaml")
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


@app.command()
def prepare(task: str, out: Path) -> None:
    """Read and check a task's rows; write parquet with provenance."""
    from kdcore.data import prepare as stage
    from kdcore.data import tasks

    knobs = Knobs("prepare")
    stage.prepare(tasks.find(task, knobs["task"]), knobs["data"], out)


@app.command()
def teacher(
    task: str,
    data: DataFolder,
    out: Path,
    point: Annotated[Path, typer.Argument(help="JSON file to write its validation scores to.")],
) -> None:
    """Fine-tune the teacher, or take one that is fine-tuned already, and score it."""
    _heavy()
    from kdcore.artefacts import write_json
    from kdcore.distil import teacher as stage
    from kdcore.evaluation.score import read_point, score_run

    knobs = Knobs("teacher")
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
    stage.check_floor(found, own.floor)
    write_json(point, found)


@app.command()
def targets(
    task: str,
    data: DataFolder,
    teacher: TeacherFolder,
    out: Path,
    study: Annotated[str | None, typer.Option(help="data_size: as many rows as this study needs.")] = None,
) -> None:
    """Write the teacher's logits, [CLS] vectors and attention maps."""
    _heavy()
    from kdcore.distil.targets import write_targets

    knobs = Knobs("targets", study)
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
    )


@app.command()
def student(
    task: str,
    method: str,
    layers: int,
    seed: int,
    data: DataFolder,
    teacher: TeacherFolder,
    targets: TargetsFolder,
    out: Path,
) -> None:
    """Distil one student of the headline run."""
    _heavy()
    from kdcore.artefacts import link_folder
    from kdcore.distil.student import Recipe, Sources, distil

    knobs = Knobs("student")
    _check_task(task, data)
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
    _heavy()
    import shutil

    from kdcore.artefacts import new_folder
    from kdcore.evaluation.score import score_run

    knobs = Knobs("evaluate")
    _check_task(task, data)
    names = [f"{method}-s{seed}" for method in knobs["methods"] for seed in knobs["seeds"]]
    models = {"teacher": teacher, **{name: students / name for name in names}}
    with new_folder(points) as new_points, new_folder(predictions) as new_predictions:
        for name, folder in models.items():
            compared = None if folder == teacher else targets
            found = score_run(folder, data, teacher, compared, knobs["evaluate.batch_size"])
            shutil.copyfile(found / "point.json", new_points / f"{name}.json")
            shutil.copyfile(found / "predictions.parquet", new_predictions / f"{name}.parquet")


@app.command()
def plots(points: Path, students: Path, out: Path) -> None:
    """Write the tables, the plot data and the pictures of the headline run."""
    from kdcore.report.plots import write_main

    knobs = Knobs("plots")
    write_main(points, students, out, *(knobs[key] for key in READS["plots"]))


@app.command()
def point(
    task: str,
    method: str,
    seed: int,
    data: DataFolder,
    teacher: TeacherFolder,
    targets: TargetsFolder,
    out: Annotated[Path, typer.Argument(help="JSON file to write.")],
    layers: Annotated[int, typer.Option(help="Depth of the student.")],
    rows: Annotated[int | None, typer.Option(help="Training rows, where they are not student.rows.")] = None,
) -> None:
    """Distil one student of a study and score it, in one process."""
    _heavy()
    from kdcore.artefacts import write_json
    from kdcore.distil.student import Recipe, Sources, distil
    from kdcore.evaluation.score import read_point, score_run

    knobs = Knobs("point")
    _check_task(task, data)
    recipe = Recipe(
        method=method,
        layers=layers,
        rows=rows or knobs["student.rows"],
        init=knobs["student.init"],
        layer_map=knobs["student.layer_map"],
        **knobs["distill"].model_dump(),
    )
    sources = Sources(data, teacher, targets, knobs["model"].name, knobs["model"].revision)
    folder = distil(recipe, sources, _settings(knobs["train"], knobs["train"].learning_rate, seed))
    write_json(out, read_point(score_run(folder, data, teacher, targets, knobs["evaluate.batch_size"])))


@app.command()
def curve(
    study: Annotated[str, typer.Argument(help="depth | data_size")],
    points: Path,
    teachers: Annotated[Path, typer.Argument(help="Folder of the teachers' scores, <task>.json each.")],
    out: Path,
) -> None:
    """Write the table, the plot data and the picture of a study from its points."""
    from kdcore.report.plots import write_curve

    knobs = Knobs("curve", study)
    grid = knobs["study"]
    values = grid.layers if study == "depth" else grid.rows
    by_task = {task: teachers / f"{task}.json" for task in knobs["tasks"]}
    write_curve(study, points, out, by_task, grid.methods, values, knobs["seeds"], knobs["evaluate.confidence"])


def _settings(train: Any, learning_rate: float, seed: int) -> "Settings":
    from kdcore.distil.training import Settings

    return Settings(**train.model_dump() | {"learning_rate": learning_rate, "seed": seed})


def _check_task(task: str, data: Path) -> None:
    from kdcore.data.prepared import read_task

    if (found := read_task(data).name) != task:
        raise UserError(str(data), f"holds task {found!r}, not {task!r}")


def _heavy() -> None:
    """What must be set before torch and transformers are imported."""
    import os

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def main() -> None:
    """Run a command; a user's mistake is one message on stderr and exit code 2, never a traceback."""
    from kdcore.interrupt import Interrupted

    try:
        app(standalone_mode=True)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except Interrupted as stopped:
        print(f"stopped by {stopped}: a checkpoint is written, the same command goes on from it", file=sys.stderr)
        sys.exit(128 + stopped.signum)
