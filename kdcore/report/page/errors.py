"""errors.json and errors.md of the headline run in; what the page shows of how students repeat the teacher out."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdcore.errors import UserError
from kdcore.report.page.prose import Block, blocks

SAID = {  # the counts of errors.json, in the order of the bar
    "both_right": "both right",
    "only_teacher_right": "only the teacher right",
    "only_student_right": "only the student right",
    "both_wrong": "both wrong",
}


@dataclass(frozen=True)
class Part:
    """One of the four counts of a method, the mean over seeds: where its part of the bar starts, of 0 … 100."""

    name: str
    said: str
    count: float
    start: float
    width: float


@dataclass(frozen=True)
class Errors:
    """bars: task -> method -> its four parts; text: the whole analysis."""

    bars: Mapping[str, Mapping[str, list[Part]]]
    text: list[Block]


def read(main: Path) -> Errors | None:
    """The error analysis in the folder, or None where there is none. Raises UserError for a broken one."""
    path = main / "errors.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        bars = {task: _bars(facts) for task, facts in found.items() if "skipped" not in facts}
        return Errors(bars, list(blocks((main / "errors.md").read_text(encoding="utf-8"))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(str(path), f"can't be read ({error}); run `dvc repro -f errors`") from error


def _bars(facts: Mapping[str, Any]) -> dict[str, list[Part]]:
    return {method: list(_parts(found["runs"], facts["examples"])) for method, found in facts["methods"].items()}


def _parts(runs: list[Mapping[str, int]], examples: int) -> Iterator[Part]:
    start = 0.0
    for name, said in SAID.items():
        count = sum(run[name] for run in runs) / len(runs)
        width = 100 * count / examples
        yield Part(name, said, count, round(start, 3), round(width, 3))
        start += width
