"""Result points (one JSON per evaluated run) in; one long pandas frame, a row per run, out."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from kdcore.errors import UserError
from kdcore.report.point import Point, row
from kdcore.report.studies import cells


@dataclass(frozen=True)
class Wanted:
    """A point that params.yaml asks for: its file, the params keys that ask, and what the file must say."""

    path: Path
    keys: Mapping[str, Any]  # params key -> value, the widest first
    says: Mapping[str, Any]  # field of the point -> value
    rerun: str = "dvc repro"  # what makes it


def teacher(path: Path, task: str) -> Wanted:
    """The teacher's point of a task."""
    return Wanted(path, {"tasks": task}, {"task": task, "method": "teacher"})


def headline(points: Path, tasks: Iterable[str], methods: Sequence[str], seeds: Sequence[int]) -> list[Wanted]:
    """Every point of the headline run: the teacher and each method x seed, per task."""
    wanted = []
    for task in tasks:
        wanted.append(teacher(points / task / "teacher.json", task))
        for method in methods:
            for seed in seeds:
                says = {"task": task, "method": method, "seed": seed}
                keys = {"tasks": task, "methods": method, "seeds": seed}
                wanted.append(Wanted(points / task / f"{method}-s{seed}.json", keys, says))
    return wanted


def study(
    name: str,
    points: Path,
    teachers: Mapping[str, Path],
    grid: Mapping[str, Sequence[Any]],
    seeds: Sequence[int],
) -> list[Wanted]:
    """Every point of a study, cell x seed per task, and the teacher's point from the headline run.

    teachers: task -> its teacher.json; grid: the study's section of params.yaml, list name -> values.
    """
    wanted = []
    for task, path in teachers.items():
        wanted.append(teacher(path, task))
        for cell, seed in itertools.product(cells(name, grid), seeds):
            says = {"task": task, **cell.says, "seed": seed}
            keys = {"tasks": task, **cell.keys, "seeds": seed}
            file = points / task / f"{cell.name}-s{seed}.json"
            wanted.append(Wanted(file, keys, says, f"dvc repro stages/dvc.yaml:{name}"))
    return wanted


def read(wanted: Sequence[Wanted]) -> pd.DataFrame:
    """Read every point. Raises UserError for missing files (by params key), broken ones, and mix-ups."""
    check_all_exist(wanted)
    frame = pd.DataFrame([row(parse(point)) for point in wanted])
    return frame.astype({"seed": "Int64", "rows": "Int64", "epochs": "Int64"})


def check_all_exist(wanted: Sequence[Wanted]) -> None:
    """Raises UserError that names the params key which asks for each missing file, and what makes it."""
    missing = [point for point in wanted if not point.path.is_file()]
    found = [point for point in wanted if point.path.is_file()]
    asked: dict[tuple[str, Any], list[Wanted]] = {}
    for point in missing:
        asked.setdefault(_asked_by(point, found), []).append(point)
    if asked:
        raise UserError("params.yaml", [_complaint(key, value, points) for (key, value), points in asked.items()])


def _asked_by(point: Wanted, found: Sequence[Wanted]) -> tuple[str, Any]:
    """The widest params key whose value no point exists for, else the narrowest key."""
    for key, value in point.keys.items():
        if not any(other.keys.get(key) == value for other in found):
            return key, value
    return key, value


def _complaint(key: str, value: Any, missing: Sequence[Wanted]) -> str:
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    verb, them = ("are", "them") if more else ("is", "it")
    path, rerun = missing[0].path, missing[0].rerun
    return f"{key}: {value} is asked for, but {path}{more} {verb} missing; `{rerun}` makes {them}"


def parse(wanted: Wanted) -> Point:
    """One point. Raises UserError for a file that is broken, or says other things than are wanted."""
    try:
        point = Point.model_validate(json.loads(wanted.path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(str(wanted.path), f"not valid JSON: {error}") from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'point'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise UserError(str(wanted.path), problems) from error
    wrong = {field: value for field, value in wanted.says.items() if getattr(point, field) != value}
    if wrong:
        found = [f"{name}: expected {value}, found {getattr(point, name)}" for name, value in wrong.items()]
        raise UserError(str(wanted.path), found)
    return point
