"""Every result file of a project in; the page out."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from kdcore.errors import UserError
from kdcore.report.files import write
from kdcore.report.page import errors, studies
from kdcore.report.page.answers import against_soft, answers
from kdcore.report.page.facts import read
from kdcore.report.page.picture import inline
from kdcore.report.page.prose import blocks
from kdcore.report.page.render import embedded, render
from kdcore.report.statistics import percent


def write_page(
    metrics: Path,
    runs: Path,
    out: Path,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    confidence: float,
) -> None:
    """Write `out`, one HTML file.

    metrics: main/ (as the stages plots and attention leave it) and a folder per study that has run; runs: the
    students of the headline run. Raises UserError for a file that is missing or broken; nothing is then written.
    """
    main = metrics / "main"
    table = _table(main / "table.csv")
    differences = {task: answers(table[table["task"] == task], confidence) for task in tasks}
    attention = [_json(main / "attention" / f"{task}.json") for task in tasks]
    values: dict[str, Any] = {
        "facts": [read(task, main / "points", runs, methods, seeds) for task in tasks],
        "answers": differences,
        "verdicts": {task: against_soft(found) for task, found in differences.items()},
        "confidence": percent(confidence),
        "main_table": list(blocks(_text(main / "table.md"))),
        "figures": dict(_pictures(main / "figures")),
        "errors": errors.read(main),
        "attention": embedded(attention),
        "compared": attention,
        "attention_figures": {task: dict(_pictures(main / "attention/figures" / task)) for task in tasks},
        "studies": [(found, _study_pictures(found)) for found in studies.found(metrics)],
    }
    write(out, render(values))


def _study_pictures(found: studies.Found) -> Mapping[str, Markup]:
    prefix = found.study.name
    return {path.stem: _picture(path, f"{prefix}-{path.stem}") for path in found.figures}


def _pictures(folder: Path) -> Iterator[tuple[str, Markup]]:
    for path in sorted(folder.glob("*.svg")):
        yield path.stem, _picture(path, f"{folder.name}-{path.stem}")


def _picture(path: Path, prefix: str) -> Markup:
    return inline(_text(path), prefix, f"Figure: {path.stem.replace('_', ' ')}", str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"can't be read ({error}); run `dvc repro`") from error


def _table(path: Path) -> pd.DataFrame:
    text = _text(path)
    try:
        table = pd.read_csv(io.StringIO(text))
    except ValueError as error:
        raise UserError(str(path), f"is no table ({error}); run `dvc repro -f plots`") from error
    if absent := [name for name in ("task", "method", "metric") if name not in table]:
        raise UserError(str(path), [f"{name}: column is missing; run `dvc repro -f plots`" for name in absent])
    return table


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise UserError(str(path), f"is not valid JSON ({error}); run `dvc repro -f attention`") from error
