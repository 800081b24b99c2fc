"""Every result of a project in; the page out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kdcore.artefacts import publish
from kdcore.errors import UserError
from kdcore.params.overrides import every
from kdcore.params.sections import TaskEntry
from kdcore.report import points
from kdcore.report.analysis import Analysis, Errors, section
from kdcore.report.latency import Latency, blocks, read_latencies, timed
from kdcore.report.markdown import Block, over_tasks, tables
from kdcore.report.methods import words
from kdcore.report.page import alt
from kdcore.report.page.facts import Compared, Facts, Student, bars, read
from kdcore.report.page.picture import inline
from kdcore.report.page.render import embedded, render
from kdcore.report.statistics import percent
from kdcore.report.summary import Row, baselines, by_task, summarise
from kdcore.report.write import Grid, by_method, histories, summary, test_tables
from kdcore.studies import STUDIES, Study


def write_page(
    metrics: Path,
    runs: Path,
    out: Path,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    teachers: Sequence[int],
    confidence: float,
    grids: Mapping[str, Grid],
    entries: Mapping[str, TaskEntry],
    named: Mapping[str, str],
) -> tuple[list[Row], list[points.Run]]:
    """Write `out`, one HTML file, with what the params ask for and nothing else that lies in the folders; returns the
    rows of the headline run, and its runs.

    metrics: main/ (as the stages plots, errors and attention leave it) and a folder per study that has run; runs: the
    students of the headline run; grids: study -> its section of params.yaml; entries: its section `task`; named: task
    -> its teacher's model, as params.yaml has it. A study some of whose points are missing has not run; one of tasks
    that `entries` lacks can't run. Raises UserError for a file that is missing or broken, and writes nothing.
    """
    main = metrics / "main"
    scored = points.read(points.headline(main / "points", tasks, methods, seeds, teachers))
    latencies = read_latencies(metrics / "latency", scored)
    scored = timed(scored, latencies)
    rows, lines, _ = by_method(scored, confidence)
    tables_of = by_task(rows)
    facts = []
    for task in tasks:
        own = [run for run in scored if run["task"] == task]
        run = read(runs / task / f"{methods[0]}-s{seeds[0]}" / "run.json", Student, "student")
        overrides = every(task, entries.get(task))
        facts.append(Facts(tables_of[task], own[0], own[len(teachers)], run, list(teachers), overrides, named[task]))
    compared = [read(main / "attention" / f"{task}.json", Compared, "attention") for task in tasks]
    paths = [runs / run["task"] / f"{run['method']}-s{run['seed']}" / "history.csv" for run in scored]
    drawn = {
        "main": alt.scores(rows, "Validation score of each method"),
        "convergence": alt.convergence(histories(scored, paths, ["trains"])),
    }
    analysed: dict[str, Any] = {}
    if (main / "errors.json").is_file():
        found = read(main / "errors.json", Errors, "errors")
        analysed = {task: found[task] for task in tasks if task in found}
    values: dict[str, Any] = {
        "facts": facts,
        "confidence": percent(confidence),
        "overview": over_tasks(lines),
        "main_tables": {task: tables(own, words(["method"])) for task, own in tables_of.items()},
        "test_tables": _on_test(scored, confidence),
        "figures": {name: _picture(main / "figures" / f"{name}.svg", name, label) for name, label in drawn.items()},
        "errors": {task: section(task, analysis) for task, analysis in analysed.items()},
        "bars": {task: bars(analysis) for task, analysis in analysed.items() if isinstance(analysis, Analysis)},
        "attention": embedded([each.model_dump(exclude_unset=True) for each in compared]),
        "compared": compared,
        "attention_figures": {one.task: dict(_figure5(main / "attention/figures", one)) for one in compared},
        "studies": [
            (study, *_study(study, metrics, tasks, seeds, teachers, confidence, grids, latencies))
            for study in STUDIES.values()
            if not study.own or entries.keys() >= {*grids[study.name]["tasks"]}
        ],
        "latency": [block for latency in latencies.values() for block in blocks(latency)],
    }
    publish(out, render(values).encode())
    return rows, scored


def _on_test(scored: Sequence[points.Run], confidence: float) -> dict[str, list[Block]]:
    """The tables of the tasks that have a labelled test split."""
    rows = summarise(points.on_test(scored), ["method"], baselines, confidence)
    return {task: test_tables(own) for task, own in by_task(rows).items()}


def _study(
    study: Study,
    metrics: Path,
    tasks: Sequence[str],
    seeds: Sequence[int],
    teachers: Sequence[int],
    confidence: float,
    grids: Mapping[str, Grid],
    latencies: Mapping[str, Latency],
) -> tuple[Markup | None, list[Block]]:
    """The study's figure and table, computed from its points; (None, []) for a study that has not run as asked."""
    folder, grid = metrics / study.name, grids[study.name]
    place = str(metrics / "main/points/{}/teacher-s{}.json")
    if study.own:
        tasks, seeds, teachers = grid["tasks"], grid["seeds"], grid["teacher"]["seeds"]
    if study.own or study.tunes:  # its teachers are not the headline run's
        place = str(folder / "teacher/{}/s{}.json")
    taught = {task: {seed: Path(place.format(task, seed)) for seed in teachers} for task in tasks}
    wanted = points.of_study(study, folder / "points", taught, grid, seeds)
    if not all(point.path.is_file() for point in wanted):
        return None, []
    runs = points.read(wanted)
    rows, blocks = summary(study, timed(runs, latencies) if study.name == "depth" else runs, grid, confidence)
    path = folder / "figures" / f"{study.name}.svg"
    return _picture(path, f"study-{study.name}", alt.scores(rows, study.question), study.command), blocks


def _figure5(folder: Path, compared: Compared) -> Iterator[tuple[str, Markup]]:
    """The maps, and their KL where there are students."""
    for name, label in alt.attention(compared).items():
        if (path := folder / compared.task / f"{name}.svg").is_file():
            yield name, _picture(path, f"{compared.task}-{name}", label)


def _picture(path: Path, prefix: str, label: str, rerun: str = "dvc repro") -> Markup:
    try:
        svg = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"can't be read ({error}); run `{rerun}`") from error
    return inline(svg, prefix, label, str(path), rerun)
