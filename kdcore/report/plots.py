"""Points and histories in; every file of the `plots` stage out.

Everything is computed before the first file is written, so bad input leaves the folder as it was.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from kdcore.report import convergence, dots, points, series, tables
from kdcore.report.files import csv, write_all
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
    files, drawn = summary(frame, confidence, "main")
    histories = series.convergence(frame, lambda run: runs / run.task / f"{run.method}-s{run.seed}" / "history.csv")
    files |= {"convergence.csv": csv(histories)}
    files |= {
        f"scores/{task}.json": json.dumps(scores, indent=2) + "\n"
        for task, scores in tables.scores(tables.rows(frame, confidence)).items()
    }
    write_all(out, files, drawn | {"convergence": convergence.figure(histories)})


def summary(frame: pd.DataFrame, confidence: float, name: str) -> tuple[dict[str, str], dict[str, Figure]]:
    """The main table as table.md and table.csv; its runs as <name>.csv, and their picture, by name."""
    table, per_run = tables.rows(frame, confidence), series.per_run(frame, confidence)
    files = {"table.md": markdown(table), "table.csv": csv(tables.frame_of(table)), f"{name}.csv": csv(per_run)}
    return files, {name: dots.headline(per_run, confidence)}
