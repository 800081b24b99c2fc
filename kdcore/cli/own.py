"""Before a run: a project of one's own, its knobs, what it will cost, and whether the store of runs can be trusted."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from kdcore.cli.command import StudyOption, command, set_up_libraries
from kdcore.data.tasks import LABEL
from kdcore.door import finite
from kdcore.errors import UserError
from kdcore.params.sections import Params
from kdcore.studies import STUDIES


@command(reads=())
def init(
    folder: Annotated[Path, typer.Argument(help="The project's folder, new or in use.")] = Path(),
    teacher: Annotated[str | None, typer.Option(help="Folder or hub name of a fine-tuned classifier.")] = None,
    train: Annotated[Path | None, typer.Option(help="csv, tsv, jsonl or parquet file of training rows.")] = None,
    validation: Annotated[Path | None, typer.Option(help="File of validation rows; else a share of train.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A text column; twice for pairs. Else those with texts.")
    ] = None,
    label: Annotated[str, typer.Option(metavar="COLUMN", help="The label column.")] = LABEL,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="No row has a label: the teacher's answers are the truth.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="The task's name; else that of the rows' folder or file.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Of the student; else half of the teacher's.")] = None,
    example: Annotated[bool, typer.Option("--example", help="With a tiny classifier and rows to try it with.")] = False,
) -> None:
    """Make a project of your own: a pipeline that distils your classifier on your rows with `dvc repro`."""
    if example and (teacher or train or validation):
        raise UserError("--example", "brings a teacher and rows of its own, so it goes without --teacher and the files")
    if not example and (teacher is None or train is None):
        raise UserError("kdcore init", "name a classifier (--teacher) and its rows (--train), or try --example")
    if unlabelled and label != LABEL:
        raise UserError("--unlabelled", f"says that no row has a label, and --label names {label!r}")
    set_up_libraries()
    from kdcore.project.example import example as made
    from kdcore.project.init import Wish, check_free
    from kdcore.project.init import init as write

    check_free(folder)
    given = nullcontext((str(teacher), Path(train or ""), validation))
    with made(folder) if example else given as files:
        write(folder, Wish(*files, text or (), None if unlabelled else label, task, layers, quoted=example))


@command(reads=())
def params() -> None:
    """Print every knob of params.yaml with what it means."""
    from kdcore.project.pipeline import text

    print(text("params.yaml"), end="")


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
    tokens: Annotated[float | None, typer.Option(min=3, callback=finite, help="Its mean tokens per row.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0, callback=finite, help="How long to measure this machine; 0: not at all.")
    ] = 10.0,
) -> None:
    """Print what a run will cost before it is paid: FLOPs, hours, disk."""
    set_up_libraries()
    from kdcore.cli.opening import signals_asked
    from kdcore.plan.run import write_plan

    def asked(task: str, depth: int) -> tuple[int | None, set[int]]:
        return signals_asked(params, task, study, depth)

    write_plan(params, STUDIES[study] if study else None, asked, shape, rows, tokens, seconds)


@command(reads=())
def doctor() -> None:
    """Say where the store of runs is, whether its locks or leases can be trusted, who holds what, and the versions."""
    from kdcore.store.doctor import examine

    for line in examine():
        print(line, flush=True)
