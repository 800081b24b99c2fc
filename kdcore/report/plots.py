"""Points and histories in; every file of the `plots` stage and of a study's `curve` stage out.

Everything is computed before the first file is written, so bad input leaves the folder as it was.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from kdcore.report import convergence, dots, figures, points, series, tables
from kdcore.report.canvas import encode
from kdcore.report.curve_table import curve_markdown
from kdcore.report.files import csv, write
from kdcore.report.markdown import markdown


def write_main(
    points_folder: Path,
    runs: Path,
    out: Path,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    confidence: float,
) -> None:
    """Write the headline results into `out`.

    points_folder: <task>/<method>-s<seed>.json and <task>/teacher.json.
    runs: <task>/<method>-s<seed>/history.csv.
    out: scores/<task>.json, table.{md,csv}, main.csv, convergence.csv, figures/{main,convergence}.{png,svg}.
    Raises UserError for a point or history that is missing or broken.
    """
    frame = points.read(points.headline(points_folder, tasks, methods, seeds))
    table, per_run = tables.rows(frame, confidence), series.per_run(frame, confidence)
    histories = series.convergence(frame, runs)
    files = {
        f"scores/{task}.json": json.dumps(scores, indent=2) + "\n" for task, scores in tables.scores(table).items()
    }
    files |= {"table.md": markdown(table), "table.csv": csv(tables.frame_of(table))}
    files |= {"main.csv": csv(per_run), "convergence.csv": csv(histories)}
    drawn = {"main": dots.headline(per_run, confidence), "convergence": convergence.figure(histories)}
    _write(out, files, drawn)


def write_curve(
    study: str,
    points_folder: Path,
    out: Path,
    teachers: Mapping[str, Path],
    methods: Sequence[str],
    values: Sequence[int],
    seeds: Sequence[int],
    confidence: float,
) -> None:
    """Write a study's results into `out`: curve.csv, table.md, figures/<study>.{png,svg}.

    study: `depth` or `data_size`; values: its depths or training rows.
    points_folder: <task>/<method>-L<layers>-s<seed>.json or <task>/<method>-n<rows>-s<seed>.json.
    teachers: task -> the headline run's teacher.json.
    Raises UserError for a point that is missing or broken.
    """
    field, _ = points.STUDIES[study]
    frame = points.read(points.study(study, points_folder, teachers, methods, values, seeds))
    curve = series.curve(frame, field, confidence)
    draw = {"depth": figures.depth, "data_size": figures.data_size}[study]
    files = {"curve.csv": csv(curve), "table.md": curve_markdown(curve, field, confidence)}
    _write(out, files, {study: draw(curve, confidence)})


def _write(out: Path, files: Mapping[str, str], drawn: Mapping[str, Figure]) -> None:
    encoded = {name: encode(figure) for name, figure in drawn.items()}
    for name, text in files.items():
        write(out / name, text)
    for name, kinds in encoded.items():
        for kind, picture in kinds.items():
            write(out / "figures" / f"{name}.{kind}", picture)
