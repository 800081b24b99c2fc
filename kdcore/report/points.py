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

STUDIES = {
    "depth": ("layers", "L"),
    "data_size": ("rows", "n"),
}  # study -> the field it varies, its file letter


@dataclass(frozen=True)
class Wanted:
    """A point that params.yaml asks for: its file, the params keys that ask, and what the file must say."""

    path: Path
    keys: Mapping[str, Any]  # params key -> value, the widest first
    says: Mapping[str, Any]  # field of the point -> value


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
    methods: Sequence[str],
    values: Sequence[int],
    seeds: Sequence[int],
) -> list[Wanted]:
    """Every point of a study, method x value x seed per task, and the teacher's point from the headline run.

    teachers: task -> its teacher.json. The values are depths or training rows, as the study has it.
    """
    field, letter = STUDIES[name]
    wanted = []
    for task, path in teachers.items():
        wanted.append(teacher(path, task))
        for method, value, seed in itertools.product(methods, values, seeds):
            says = {"task": task, "method": method, field: value, "seed": seed}
            keys = {
                "tasks": task,
                f"study.{name}.methods": method,
                f"study.{name}.{field}": value,
                "seeds": seed,
            }
            file = f"{method}-{letter}{value}-s{seed}.json"
            wanted.append(Wanted(points / task / file, keys, says))
    return wanted


def read(wanted: Sequence[Wanted]) -> pd.DataFrame:
    """Read every point. Raises UserError for missing files (by params key), broken ones, and mix-ups."""
    _check_all_exist(wanted)
    frame = pd.DataFrame([row(_parse(point)) for point in wanted])
    return frame.astype({"seed": "Int64", "rows": "Int64", "epochs": "Int64"})


def _check_all_exist(wanted: Sequence[Wanted]) -> None:
    missing = [point for point in wanted if not point.path.is_file()]
    found = [point for point in wanted if point.path.is_file()]
    files: dict[tuple[str, Any], list[Path]] = {}
    for point in missing:
        files.setdefault(_asked_by(point, found), []).append(point.path)
    if files:
        raise UserError("params.yaml", [_complaint(key, value, paths) for (key, value), paths in files.items()])


def _asked_by(point: Wanted, found: Sequence[Wanted]) -> tuple[str, Any]:
    """The widest params key whose value no point exists for, else the narrowest key."""
    for key, value in point.keys.items():
        if not any(other.keys.get(key) == value for other in found):
            return key, value
    return key, value


def _complaint(key: str, value: Any, paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    verb = "are" if more else "is"
    return f"{key}: {value} is asked for, but {paths[0]}{more} {verb} missing; `dvc repro` makes them"


def _parse(wanted: Wanted) -> Point:
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
