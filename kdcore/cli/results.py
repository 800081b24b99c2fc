"""The stages of dvc.yaml that write tables, pictures and the page."""

from pathlib import Path
from typing import Annotated

import typer

from kdcore.cli.command import (
    DataFolder,
    LatenciesOption,
    StudentsFolder,
    TargetsFolder,
    TeachersFolder,
    command,
    set_up_libraries,
)
from kdcore.cli.opening import check_notes, check_predictions, open_all, open_data
from kdcore.params.sections import Params
from kdcore.studies import teacher_of


@command(reads=("tasks", "methods", "seeds", "teacher.seeds", "evaluate.confidence"))
def plots(params: Params, points: Path, students: Path, out: Path, latencies: LatenciesOption = None) -> None:
    """Write the tables, the scores by epoch and the pictures of the headline run."""
    from kdcore.artefacts import check_place
    from kdcore.report.write import write_main

    check_place(out, points, students, *filter(None, [latencies]))
    check_notes(students, params, "history.csv")
    write_main(
        *(points, students, out, params.tasks, params.methods, params.seeds, params.teacher.seeds),
        *(params.evaluate.confidence, latencies),
    )


@command(reads=("attention", "methods", "seeds", "teacher.seeds", "report.texts"))
def attention(
    params: Params,
    task: str,
    data: DataFolder,
    teacher: TeachersFolder,
    targets: TargetsFolder,
    students: StudentsFolder,
    points: Annotated[Path, typer.Argument(help="Folder of the task's scores.")],
    predictions: Annotated[Path, typer.Argument(help="Folder of the task's predictions.")],
    out: Annotated[Path, typer.Argument(help="Folder to write <task>.json and figure 5 to.")],
) -> None:
    """Compare attention maps of teacher, standard and internal student on chosen validation examples."""
    set_up_libraries()
    from kdcore.artefacts import check_place
    from kdcore.console import say
    from kdcore.distil.finished import Finished
    from kdcore.evaluation.attention import compare, compared, matching
    from kdcore.report.attention import write_attention

    check_place(out, data, teacher, targets, students, points, predictions)
    check_predictions(predictions)
    own, seed = params.attention, params.seeds[0]
    methods, notes = compared({"standard": own.standard, "internal": own.internal}, params.methods)
    models, apart = matching(
        {method: Finished.open(students / f"{method}-s{seed}", "dvc repro -f student") for method in methods}
    )
    notes += apart
    for note in notes:
        say(f"attention: {note}")
    taught_by = teacher_of(seed, params.teacher.seeds)
    opened = open_all(open_data(task, data), teacher, targets, taught_by)
    logits = {"teacher": predictions / f"teacher-s{taught_by}.parquet"}
    logits |= {method: predictions / f"{method}-s{seed}.parquet" for method in methods}
    seen = compare(*opened, models, logits, own.examples)
    shown = seen if params.report.texts or seen.task.embedded else seen.without_texts()
    write_attention(shown, points, out, seed, notes)


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
        check_predictions(predictions / task)
    write_errors(
        *(predictions, data, out, params.tasks, params.methods, params.seeds, params.teacher.seeds),
        params.evaluate.confidence,
        params.report.texts,
    )


@command(
    reads=(
        *("tasks", "methods", "seeds", "model.name", "teacher.finetuned", "teacher.seeds", "evaluate.confidence"),
        *("study", "task"),
    )
)
def report(
    params: Params,
    metrics: Annotated[Path, typer.Argument(help="Folder of all results: main/ and one per study.")],
    students: Annotated[Path, typer.Argument(help="Folder of the students of the headline run.")],
    out: Annotated[Path, typer.Argument(help="HTML file to write.")],
) -> None:
    """Write the page: every result in one HTML file that opens without a network; say how the run ended."""
    from kdcore.artefacts import check_file
    from kdcore.report.page.write import write_page
    from kdcore.report.terminal import conclude

    check_file(out, metrics, students)
    check_notes(students, params, "run.json")
    named = {task: _named_teacher(params, task) for task in params.tasks}
    rows, runs = write_page(
        *(metrics, students, out, params.tasks, params.methods, params.seeds, params.teacher.seeds),
        *(params.evaluate.confidence, params.study, params.task, named),
    )
    conclude(rows, runs, students, out)


def _named_teacher(params: Params, task: str) -> str:
    """The model that is a task's teacher, or becomes it, as params.yaml names it."""
    from kdcore.params.overrides import of_task, values

    own = values(of_task(task, params.task.get(task)))
    return own.get("teacher.finetuned", params.teacher.finetuned) or params.model.name
