"""What `kdcore latency` measured in; its tables out, and the runs of points.read with what a row takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from kdcore.artefacts import read_proved
from kdcore.console import count_of
from kdcore.errors import UserError
from kdcore.report.markdown import LATENCY, Block, Heading, Table
from kdcore.report.points import Run, problems

TORCH = "torch"  # the runtime of a student's own folder
RERUN = "dvc repro stages/dvc.yaml:latency"


class Measured(BaseModel):
    """One model by one runtime. batch: rows of a request; p50_ms, p95_ms: milliseconds of a request."""

    model_config = ConfigDict(frozen=True)
    layers: PositiveInt
    runtime: str
    threads: PositiveInt
    batch: PositiveInt
    p50_ms: PositiveFloat
    p95_ms: PositiveFloat
    rows_per_second: PositiveFloat


class Latency(BaseModel):
    """One task's file.

    parameters: layers -> weights of encoder and pooler; tokens: of a validation row, the mean; requests: rows of a
    request -> how many requests; others: share of the processors' time that other work took meanwhile, where known.
    """

    model_config = ConfigDict(frozen=True)
    task: str
    machine: dict[str, Any]
    others: float | None = None
    parameters: dict[PositiveInt, PositiveInt] = {}
    rows: PositiveInt
    tokens: PositiveFloat
    requests: dict[PositiveInt, PositiveInt]
    measured: tuple[Measured, ...] = Field(min_length=1)

    @property
    def teacher(self) -> int:
        """Its layers: no student has as many."""
        return max(one.layers for one in self.measured)

    def of(self, layers: int, runtime: str, threads: int, batch: int) -> Measured | None:
        found = (
            m for m in self.measured if (m.layers, m.runtime, m.threads, m.batch) == (layers, runtime, threads, batch)
        )
        return next(found, None)

    def told(self) -> str:
        """The machine and the way, in one paragraph."""
        machine, threads = self.machine, count_of(self.machine["threads"], "thread")
        versions = ", ".join(
            f"{name} {machine[name]}" for name in ("torch", "onnxruntime", "python") if name in machine
        )
        others = f"; other work took {self.others:.0%} of the processors' time" if self.others is not None else ""
        requests = " and ".join(f"{count_of(count, 'request')} of {rows}" for rows, count in self.requests.items())
        return (
            f"{machine['processor']}, {threads} in all{others}; {versions}. Token ids to logits of "
            f"{requests} validation rows ({self.tokens} tokens on average), every request to all models in turn: "
            "compare within the table, and not with another machine's."
        )


def read_latencies(folder: Path, runs: Sequence[Run]) -> dict[str, Latency]:
    """Task -> what its <task>.json in the folder says; a task that was not measured, or with another teacher, has none.

    runs: of points.read, the teachers' among them. Raises UserError for a file that is broken.
    """
    sizes = {run["task"]: run["cost"]["encoder_and_pooler"] for run in runs if run["method"] == "teacher"}
    files = {task: folder / f"{task}.json" for task in sizes}
    read = {task: read_latency(file) for task, file in files.items() if file.is_file()}
    return {task: found for task, found in read.items() if found.parameters.get(found.teacher) == sizes[task]}


def timed(runs: Sequence[Run], latencies: Mapping[str, Latency]) -> list[Run]:
    """The runs with the milliseconds that one row takes by torch on one thread, where that was measured of them."""
    made = []
    for run in runs:
        one = latencies[run["task"]].of(run["layers"], TORCH, 1, 1) if run["task"] in latencies else None
        made.append({**run, "cost": {**run["cost"], LATENCY: one.p50_ms}} if one else run)
    return made


def read_latency(path: Path) -> Latency:
    """Raises UserError where the file can't be read, or is no such file."""
    try:
        return Latency.model_validate(read_proved(path, RERUN))
    except ValidationError as error:
        raise UserError(str(path), [f"{problem}; run `{RERUN}`" for problem in problems(error, path.stem)]) from error
    except OSError as error:
        raise UserError(str(path), f"can't be read ({error}); run `{RERUN}`") from error


def blocks(latency: Latency) -> list[Block]:
    """A table per number of threads: a line per depth and runtime, the teacher's first."""
    made: list[Block] = [Heading(2, f"{latency.task}: latency by depth"), latency.told()]
    for threads in sorted({one.threads for one in latency.measured}):
        header = ["model", "by"]
        for batch in latency.requests:
            header += [f"batch {batch}, {what}" for what in ("p50 ms", "p95 ms", "rows/s", "× teacher")]
        pairs = {(one.layers, one.runtime): None for one in latency.measured if one.threads == threads}
        body = [
            [_name(latency, layers), runtime, *_cells(latency, layers, runtime, threads)]
            for layers, runtime in sorted(pairs, key=lambda pair: -pair[0])
        ]
        made += [Heading(3, count_of(threads, "thread")), Table(header, body, words=2)]
    return made


def _name(latency: Latency, layers: int) -> str:
    kind = "teacher" if layers == latency.teacher else "student"
    return f"{kind}, {count_of(layers, 'layer')}"


def _cells(latency: Latency, layers: int, runtime: str, threads: int) -> list[str]:
    cells = []
    for batch in latency.requests:
        one, teacher = (latency.of(*pair, threads, batch) for pair in ((layers, runtime), (latency.teacher, TORCH)))
        if one is None:
            cells += [""] * 4
            continue
        ratio = f"{one.rows_per_second / teacher.rows_per_second:.1f}" if teacher else ""
        cells += [_number(one.p50_ms), _number(one.p95_ms), _number(one.rows_per_second), ratio]
    return cells


def _number(value: float) -> str:
    """Three significant digits, and thousands with a comma."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:#.3g}"
