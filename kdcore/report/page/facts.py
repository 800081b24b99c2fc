"""Points and run.json of the headline run in; what the page says of the run itself out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdcore.errors import UserError
from kdcore.report import points
from kdcore.report.methods import ordered
from kdcore.report.point import Point

CHOICES = {  # key of run.json -> how the page calls it; what `none` and `soft` have not is left out by itself
    "init": "initialisation",
    "layer_map": "layer map",
    "temperature": "temperature",
    "hard_label_weight": "weight of hard labels",
    "weights": "weights of internal losses",
    "epochs_per_layer": "epochs per layer",
    "classification_epochs": "epochs of classification",
    "trains": "classification trains",
}


@dataclass(frozen=True)
class Facts:
    """One task of the headline run. versions, choices: as the first student's run.json has them."""

    task: str
    metric: str
    teacher: Point
    students: tuple[Point, ...]
    layer_map: tuple[int, ...]
    choices: Mapping[str, Any]
    versions: Mapping[str, Any]

    @property
    def methods(self) -> list[str]:
        return ordered(point.method for point in self.students)

    @property
    def seeds(self) -> list[int]:
        return sorted({point.seed for point in self.students if point.seed is not None})

    @property
    def degenerate(self) -> list[str]:
        """The runs that predict one class only, by name."""
        runs = [(self.teacher, "teacher"), *((p, f"{p.method}, seed {p.seed}") for p in self.students)]
        return [name for point, name in runs if point.degenerate]


def read(task: str, folder: Path, runs: Path, methods: Sequence[str], seeds: Sequence[int]) -> Facts:
    """folder: the headline's points, <task>/<name>.json; runs: its students, <task>/<method>-s<seed>/run.json."""
    wanted = points.headline(folder, [task], methods, seeds)
    points.check_all_exist(wanted)
    teacher, *students = (points.parse(point) for point in wanted)
    run = _run(runs / task / f"{methods[0]}-s{seeds[0]}" / "run.json")
    try:
        choices = {said: run[key] for key, said in CHOICES.items()}
        return Facts(task, teacher.metric, teacher, tuple(students), tuple(run["mapped"]), choices, run["versions"])
    except KeyError as error:
        raise UserError(str(runs / task), f"run.json lacks {error}; run `dvc repro -f student`") from error


def _run(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(str(path), f"can't be read ({error}); run `dvc repro -f student`") from error
