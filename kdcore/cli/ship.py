"""After a run: predictions, exported and published models."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdcore.cli.command import BATCH, BatchSize, Method, OwnStudyOption, PointsOption, command, set_up_libraries
from kdcore.cli.opening import distilled, open_all, open_data, recipe_of
from kdcore.errors import UserError
from kdcore.params.overrides import for_task
from kdcore.params.sections import Params
from kdcore.studies import STUDIES, teacher_of

if TYPE_CHECKING:
    from kdcore.distil.card import Scores
    from kdcore.distil.finished import Finished


@command(reads=())
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a student, a teacher, or any classifier that was saved.")],
    data: Annotated[Path, typer.Argument(help="A prepared task, or a csv, tsv, json(l) or parquet file.")],
    out: Annotated[Path, typer.Argument(help="Folder for a prepared task or --server; else the file to write.")],
    task: Annotated[str | None, typer.Option(help="A built-in task, where the model does not say its own.")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="A text column of the file, if not called as in training; twice for pairs."
        ),
    ] = None,
    server: Annotated[str | None, typer.Option(help="Write a file's rows for the GLUE server, e.g. AX.")] = None,
    zip_: Annotated[bool, typer.Option("--zip", help="Zip all of the server's files in OUT.")] = False,
    max_length: Annotated[int | None, typer.Option(min=3, help="Tokens per row, if not as in training.")] = None,
    batch_size: BatchSize = BATCH,
) -> None:
    """Label any file with the task's texts, or a prepared task's test splits (GLUE's for its server)."""
    set_up_libraries()
    from kdcore.artefacts import check_file, check_place
    from kdcore.data.prepared import Data
    from kdcore.predict.model import open_classifier
    from kdcore.predict.rows import rows_of_file
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
        rows = rows_of_file(data, classifier.task, classifier.columns)
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
    study: OwnStudyOption = None,
) -> None:
    """Predict every task's test splits for the GLUE server, each by the seed that is best on validation, and zip them.

    The students are those of the headline run, or of a study with its own tasks; one that the store lacks is trained.
    """
    set_up_libraries()
    from kdcore.artefacts import check_file, check_place
    from kdcore.console import say
    from kdcore.predict.model import open_classifier
    from kdcore.predict.run import check_tasks, predict_folder, unseen_files, zip_files
    from kdcore.predict.server import ZIP
    from kdcore.report.points import best

    runs, points = Path("runs", study or ""), Path("metrics", study or "main", "points")
    rerun = STUDIES[study].command if study else "dvc repro"
    check_place(out, runs, points)
    check_file(out / ZIP)
    check_tasks(params.tasks)
    taken = {task: best(points / task, task, method, params.seeds, rerun) for task in params.tasks}
    folder = STUDIES[study].data if study else Path("data")
    data = {task: open_data(task, folder / task) for task in params.tasks}
    for one in data.values():  # before a student of the first is trained, which may take hours
        unseen_files(one, out)
    for task, (seed, point) in taken.items():
        say(f"{task}: {method}, seed {seed}, {point.metric} {point.score:.4f} on validation")
        taught_by = teacher_of(seed, params.teacher.seeds)
        opened = open_all(data[task], runs / "teacher" / task, runs / "targets" / task, taught_by)
        own = for_task(params, task, method)
        made, _ = distilled(recipe_of(own, method, seed, *opened), params.evaluate.batch_size)
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
    set_up_libraries()
    from kdcore.artefacts import check_folder
    from kdcore.console import say
    from kdcore.data.tokens import tokenised
    from kdcore.distil.finished import Finished
    from kdcore.export import export as write

    check_folder(out, model, *filter(None, [data]))
    made = Finished.open(model, "dvc repro")
    folder = data or Path("data") / made.task.name
    check_folder(out, folder)
    prepared = open_data(made.task.name, folder)
    rows = tokenised(prepared, "validation", made.tokenizer, made.max_length)
    facts = write(model, prepared.task, rows, out, int8, batch_size, _scores(made, points))
    for kind in [kind for kind in ("float32", "int8") if kind in facts]:
        same = f"answers as torch on {facts[kind]['agreement']:.2%} of {facts['rows']:,} rows"
        scored = [f", {name} {facts[kind][name]:.4f}" for name in prepared.task.metrics if name in facts[kind]]
        say(f"{kind}: {same} (logits within {facts[kind]['largest_difference']:.2g}){''.join(scored)}")


@command(reads=())
def push(
    model: Annotated[Path, typer.Argument(help="Folder of a finished student, or what `export` made of it.")],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub, made if need be.")],
    private: Annotated[bool, typer.Option("--private", help="A repository that is made is its owner's only.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to, made if need be.")] = None,
    points: PointsOption = None,
) -> None:
    """Upload a student to the Hugging Face hub, its model card with the scores that are known."""
    set_up_libraries()
    from kdcore.console import say
    from kdcore.distil.finished import Finished
    from kdcore.push import push as upload

    made = Finished.open(model, "dvc repro -f student")
    if made.facts["method"] == "teacher":
        raise UserError(str(model), "is a teacher; name the folder of a student")
    say(upload(made, repository, private, revision, _scores(made, points)))


def _scores(made: "Finished", points: Path | None) -> "Scores | None":
    """The scores that a model's card shows, as far as they are known."""
    from kdcore.report.card import known_scores

    return known_scores(made.facts, points or Path("metrics/main/points") / made.task.name)
