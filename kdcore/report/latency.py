"""What `kdcore latency` measured in; its tables out, and with the depth study's rows: performance against latency."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from kdcore.artefacts import read_proved
from kdcore.errors import UserError
from kdcore.report.canvas import SIZE, heading, legend, line_style, panels, style, subtitle, within
from kdcore.report.markdown import Block, Heading, Table, estimate_text
from kdcore.report.methods import look, ordered
from kdcore.report.points import Run, problems
from kdcore.report.summary import Row

TORCH, FLOAT32 = "torch", "ONNX float32"  # runtimes of a student with the same answers; int8's differ
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
    """One task's file. tokens: of a validation row, the mean; requests: rows of a request -> how many requests."""

    model_config = ConfigDict(frozen=True)
    task: str
    machine: dict[str, Any]
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
        machine, many = self.machine, "s" * (self.machine["threads"] != 1)
        versions = ", ".join(
            f"{name} {machine[name]}" for name in ("torch", "onnxruntime", "python") if name in machine
        )
        requests = " and ".join(f"{count} requests of {rows}" for rows, count in self.requests.items())
        return (
            f"{machine['processor']}, {machine['threads']} thread{many} in all; {versions}. Token ids to logits of "
            f"{requests} validation rows ({self.tokens} tokens on average), every request to all models in turn: "
            "compare within the table, and not with another machine's."
        )


def timed(run: Run, latency: Latency | None) -> Run:
    """The run with the milliseconds that one row takes by torch on one thread, where that was measured of its depth."""
    one = latency.of(run["layers"], TORCH, 1, 1) if latency else None
    return {**run, "cost": {**run["cost"], "ms": one.p50_ms}} if one else run


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
        made += [Heading(3, f"{threads} thread{'s' * (threads > 1)}"), Table(header, body, words=2)]
    return made


def _name(latency: Latency, layers: int) -> str:
    kind = "teacher" if layers == latency.teacher else "student"
    return f"{kind}, {layers} layer{'s' * (layers > 1)}"


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


# Beside the scores of the depth study


def tradeoff_blocks(rows: Sequence[Row], latencies: Mapping[str, Latency]) -> list[Block]:
    """A table per task: a line per depth, its milliseconds for one row on one thread, and the score of each method."""
    made: list[Block] = []
    for task, table in _by_task(rows).items():
        latency, methods = latencies[task], ordered(row.method for row in table if not row.teacher)
        runtimes = list(dict.fromkeys(one.runtime for one in latency.measured))
        body = []
        for layers in sorted({row.keys["layers"] for row in table}):
            line = {row.method: row for row in table if row.keys["layers"] == layers}
            times = [latency.of(layers, runtime, 1, 1) for runtime in runtimes]
            scores = [estimate_text(line[m].score, 3) if m in line else "" for m in ("teacher", *methods)]
            body.append([str(layers), *(_number(one.p50_ms) if one else "" for one in times), *scores])
        header = ["layers", *(f"{runtime}, ms" for runtime in runtimes), "teacher", *methods]
        made += [Heading(2, f"{task}: {table[0].metric} against latency"), Table(header, body)]
        made.append(f"Milliseconds: the median for one row on one thread. {latency.told()}")
    return made


def tradeoff_figure(rows: Sequence[Row], latencies: Mapping[str, Latency]) -> Figure:
    """Mean and interval of each method over the milliseconds of its depth: by torch, and hollow by ONNX in float32."""
    tasks = _by_task(rows)
    with style():
        figure, panes = panels(list(tasks), *SIZE)
        for pane, (task, table) in zip(panes, tasks.items(), strict=True):
            for method in ordered(row.method for row in table):
                line = [row for row in table if row.method == method]
                for runtime in (TORCH, FLOAT32):
                    _line(pane, line, latencies[task], runtime)
            pane.set_xscale("log")
            pane.set(title=task if len(tasks) > 1 else "", ylabel=table[0].metric)
            pane.set_xlabel("milliseconds for one row on one thread (logarithmic); hollow: by ONNX Runtime, float32")
            within(pane, table[0].metric, "y")
        legend(figure, panes)
        heading(figure, "Score against latency", subtitle(rows))
    return figure


def _line(pane: Any, line: Sequence[Row], latency: Latency, runtime: str) -> None:
    timed = [(latency.of(row.keys["layers"], runtime, 1, 1), row) for row in line]
    known = sorted(((one.p50_ms, row) for one, row in timed if one), key=lambda pair: pair[0])
    if not known:
        return
    x, score = np.array([ms for ms, _ in known]), np.array([row.score.value for _, row in known])
    low, high = (np.array([getattr(row.score, end) for _, row in known], float) for end in ("low", "high"))
    drawn: dict[str, Any] = line_style(known[0][1].method)
    label = drawn.pop("label")
    if runtime != TORCH:
        drawn |= {"markerfacecolor": "white", "linewidth": 0.9}
    if known[0][1].teacher:
        drawn |= {"linestyle": "", "marker": look("teacher").marker, "markersize": 10}
    bars = pane.errorbar(x, score, yerr=[score - low, high - score], capsize=2, elinewidth=1, **drawn)
    if runtime == TORCH:
        bars.lines[0].set_label(label)


def _by_task(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {task: [row for row in rows if row.task == task] for task in dict.fromkeys(row.task for row in rows)}
