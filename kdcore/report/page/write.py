"""Every result of a project in; the page out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kdcore.artefacts import publish
from kdcore.errors import UserError
from kdcore.report import points
from kdcore.report.markdown import Block, tables
from kdcore.report.methods import words
from kdcore.report.page.facts import Compared, Errors, Facts, Student, read
from kdcore.report.page.picture import inline
from kdcore.report.page.render import embedded, prose, render
from kdcore.report.statistics import percent
from kdcore.report.summary import baselines, summarise
from kdcore.report.write import Grid, summary
from kdcore.studies import STUDIES, Study

ALT = {  # figure of the headline run -> what it shows
    "main": "validation score of each method: seeds, mean and interval",
    "convergence": "validation score of each method after each epoch",
    "maps": "attention maps of teacher and students on one example",
    "kl": "attention KL of each student, per layer and head",
}


def write_page(
    metrics: Path,
    runs: Path,
    out: Path,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    confidence: float,
    grids: Mapping[str, Grid],
) -> None:
    """Write `out`, one HTML file, with what the params ask for and nothing else that lies in the folders.

    metrics: main/ (as the stages plots, errors and attention leave it) and a folder per study that has run; runs: the
    students of the headline run; grids: study -> its section of params.yaml. A study some of whose points are missing
    has not run. Raises UserError for a file that is missing or broken; nothing is then written.
    """
    main = metrics / "main"
    scored = points.read(points.headline(main / "points", tasks, methods, seeds))
    rows = summarise(scored, ["method"], baselines, confidence)
    facts = []
    for task in tasks:
        teacher, student, *_ = [run for run in scored if run["task"] == task]
        run = read(runs / task / f"{methods[0]}-s{seeds[0]}" / "run.json", Student, "student")
        facts.append(Facts([row for row in rows if row.task == task], teacher, student, run))
    compared = [read(main / "attention" / f"{task}.json", Compared, "attention") for task in tasks]
    values: dict[str, Any] = {
        "facts": facts,
        "confidence": percent(confidence),
        "main_table": tables(rows, words(["method"])),
        "figures": {
            name: _picture(main / "figures" / f"{name}.svg", name, ALT[name]) for name in ("main", "convergence")
        },
        "bars": {},
        "attention": embedded([each.model_dump(exclude_unset=True) for each in compared]),
        "compared": compared,
        "attention_figures": {task: dict(_figure5(main / "attention/figures" / task)) for task in tasks},
        "studies": [(study, *_study(study, metrics, tasks, seeds, confidence, grids)) for study in STUDIES.values()],
    }
    if (main / "errors.json").is_file():
        analysed = read(main / "errors.json", Errors, "errors").root
        values["bars"] = {task: getattr(analysed[task], "bars", {}) for task in tasks if task in analysed}
        values["errors"] = prose(_sections(_text(main / "errors.md"), tasks))
    publish(out, render(values).encode())


def _study(
    study: Study,
    metrics: Path,
    tasks: Sequence[str],
    seeds: Sequence[int],
    confidence: float,
    grids: Mapping[str, Grid],
) -> tuple[Markup | None, list[Block]]:
    """The study's figure and table, computed from its points; (None, []) for a study that has not run as asked."""
    teachers = {task: metrics / "main/points" / task / "teacher.json" for task in tasks}
    folder, grid = metrics / study.name, grids[study.name]
    wanted = points.of_study(study, folder / "points", teachers, grid, seeds)
    if not all(point.path.is_file() for point in wanted):
        return None, []
    _, blocks = summary(study, points.read(wanted), grid, confidence)
    path = folder / "figures" / f"{study.name}.svg"
    return _picture(path, f"study-{study.name}", f"{study.title}: {study.question}", study.command), blocks


def _figure5(folder: Path) -> Iterator[tuple[str, Markup]]:
    """The maps, and their KL where there are students."""
    for name in ("maps", "kl"):
        if (path := folder / f"{name}.svg").is_file():
            yield name, _picture(path, f"{folder.name}-{name}", ALT[name])


def _picture(path: Path, prefix: str, label: str, rerun: str = "dvc repro") -> Markup:
    return inline(_text(path, rerun), prefix, label, str(path), rerun)


def _text(path: Path, rerun: str = "dvc repro") -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"can't be read ({error}); run `{rerun}`") from error


def _sections(text: str, tasks: Sequence[str]) -> str:
    """errors.md without the sections of tasks that are not asked for."""
    sections = f"\n{text}".split("\n## ")[1:]
    return "\n".join(f"## {section}" for section in sections if section.partition(":")[0] in tasks)
