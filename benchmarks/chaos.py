"""Kill the tiny pipeline at random moments, again and again, and compare what it ends with, bit by bit.

    python -m benchmarks.chaos --kills 100
    python -m benchmarks.chaos --kills 100 --what study

Every project is run to its end by the same command, however often that is killed: by SIGKILL, SIGTERM or SIGINT,
sent to the stage's process, to dvc's, or to the whole group. Projects follow each other until there were enough kills.
"""

import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.killing import (
    BROKEN,
    COMMAND,
    OUTPUTS,
    RWLOCK,
    SIGNALS,
    TARGETS,
    Repro,
    Worker,
    left_behind,
    outputs,
    steps,
    watch,
)
from tests import tiny
from tests.pipeline.conftest import Project, make_project

# Long enough to be hit while it trains; a checkpoint after every step.
PARAMS: dict[str, Any] = {
    "teacher.epochs": 12,
    "distill.classification_epochs": 60,
    "train.checkpoint_seconds": 0,
}


@dataclass(frozen=True)
class Way:
    """params: of the project, beside PARAMS; command: what is killed; folders: where its results lie; applied: whether
    they come by `dvc exp apply`; queued: the experiment's name, where the command queues it and a worker is killed."""

    params: Mapping[str, Any]
    command: tuple[str, ...] = COMMAND
    folders: tuple[str, ...] = OUTPUTS
    applied: bool = False
    queued: str = ""

    def start(self, project: Project, log: Path) -> Repro:
        if self.queued:
            return Worker(project, log, self.queued, self.command[1:])
        return Repro(project, log, command=self.command)


WAYS = {
    "repro": Way({"methods": ["none", "soft", "all", "pid", "sid"]}),
    "study": Way(
        {"study.depth.layers": [1], "study.depth.methods": ["sid"]},
        ("dvc", "repro", "stages/dvc.yaml:depth"),
        ("data", "runs/teacher", "runs/targets", "metrics/teacher", "metrics/depth"),
    ),
    # In a workspace of its own, where queued experiments run too; all of them share the project's store.
    "experiment": Way({"methods": ["sid"]}, ("dvc", "exp", "run", "--temp", "evaluate"), applied=True),
    "queue": Way(
        {"methods": ["sid"], "teacher.epochs": 2, "distill.classification_epochs": 10},
        ("dvc", "exp", "run", "--queue", "--name", "queued", "evaluate"),
        applied=True,
        queued="queued",
    ),
}
REMOVED = "Auto removed it from the lock file"  # what dvc says of the lock of a dvc that was killed
HEEDED = 1.0  # seconds of computing that a signal has to take effect before the next one comes
WAITING = "waiting until it is done"
RESUMED = "goes on at epoch"


@dataclass
class Tally:
    """What happened, over all projects."""

    projects: int = 0
    started: int = 0
    kills: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (signal, target, stage)
    ignored: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # those that ended no `dvc repro`
    resumed: int = 0
    waited: int = 0
    unlocked: int = 0
    broken: int = 0
    orphans: int = 0
    redone: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


def main(
    kills: Annotated[int, typer.Option(min=1, help="How many at least.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the moments, signals and targets.")] = 0,
    what: Annotated[str, typer.Option(help=f"One of {', '.join(WAYS)}.")] = "repro",
    longest: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds of computing before a kill, at most; else all of a run's.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="A new folder for the projects, which then stays.")] = None,
) -> None:
    """Run, kill, restart, compare; exit code 1 where anything differs, fails by itself, or is left behind."""
    with tempfile.TemporaryDirectory() as spare:
        folder = keep or Path(spare)
        tally, rng, began = Tally(), random.Random(seed), time.monotonic()  # noqa: S311  (no secret)
        way = WAYS[what]
        template = make_template(folder, way)
        expected, needed, seconds = undisturbed(template, folder / "undisturbed", way)
        if way.applied:  # it begins again at every attempt, so kills that all come sooner would let none end
            longest = max(longest or 0.0, seconds)
        while tally.kills.total() < kills:
            project = template.copy(folder / f"project-{tally.projects}")
            disturbed(project, way, expected, needed, tally, rng, longest or seconds)
            print(f"{tally.kills.total()} kills, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(tally, len(expected), needed))
    raise typer.Exit(int(bool(tally.failures or tally.differences or tally.leftovers)))


def make_template(folder: Path, way: Way) -> Project:
    """The project that all others are copies of, so that an edit to the sources meanwhile changes nothing."""
    model = tiny.save_pretrained(folder / "model")
    project = make_project(folder / "template", model, {**PARAMS, **way.params})
    watch(project)
    project.commit("Counted steps")
    return project


def undisturbed(template: Project, folder: Path, way: Way) -> tuple[dict[str, str], int, float]:
    """What a run that nothing stops ends with, its optimizer steps, and the seconds of computing that it takes.

    An attempt that never gets further than a part of them would never end: an experiment begins again at each.
    """
    project = template.copy(folder)
    repro = way.start(project, folder / "log")
    while not repro.worked(1.0):
        pass
    if not repro.finished:
        raise SystemExit(f"the undisturbed run fails:\n{repro.output}")
    return results(project, way), steps(project), repro.seconds


def results(project: Project, way: Way) -> dict[str, str]:
    """The bits that a finished project ends with."""
    if way.applied:
        experiment = project.run("dvc", "exp", "list", "--name-only").stdout.split()[0]
        project.run("dvc", "exp", "apply", experiment)
    return outputs(project, way.folders)


def disturbed(
    project: Project, way: Way, expected: dict[str, str], needed: int, tally: Tally, rng: random.Random, longest: float
) -> None:
    """One project, killed until it is finished all the same."""
    folder, attempts = project.root.parent, list[Repro]()
    while not attempts or not attempts[-1].finished:
        repro = way.start(project, folder / f"log-{len(attempts):03d}")
        attempts.append(repro)
        hits = attempt(repro, rng, longest)
        tally.kills.update(hits)
        finished = repro.finished
        tally.ignored.update(hits if finished else hits[:-1])
        tally.started += 1
        tally.orphans += bool(repro.orphans())
        if BROKEN in repro.output:
            tally.broken += 1
            (project.root / RWLOCK).unlink(missing_ok=True)
        elif not finished and not hits:
            tally.failures.append(f"{repro.log}\n{repro.output}")
            if len(tally.failures) > 20:
                raise SystemExit("\n".join(tally.failures))
    for repro in attempts:
        repro.wait_for_orphans()
        tally.resumed += repro.output.count(RESUMED)
        tally.waited += repro.output.count(WAITING)
        tally.unlocked += REMOVED in repro.output
    found = results(project, way)
    tally.differences += [
        f"{folder.name}/{path}" for path in expected.keys() | found if expected.get(path) != found.get(path)
    ]
    tally.leftovers += [f"{folder.name}/{path}" for path in left_behind(project)]
    tally.redone.append(steps(project) - needed)
    tally.projects += 1


def attempt(repro: Repro, rng: random.Random, longest: float) -> list[tuple[str, str, str]]:
    """Kill one `dvc repro` once, or again where it takes no notice; returns what hit it before its end."""
    hits = []
    while not repro.worked(rng.uniform(0, longest)):
        signum = rng.choice(SIGNALS)
        target, stage = repro.kill(signum, rng.choice(TARGETS))
        hits.append((signal.Signals(signum).name, target, stage))
        repro.worked(HEEDED)
    return hits


def table(tally: Tally, files: int, needed: int) -> str:
    """The figures, as Markdown."""
    total = tally.kills.total()
    lines = [
        "| what | count |",
        "|---|---|",
        f"| projects run to their end | {tally.projects} |",
        f"| commands started | {tally.started} |",
        f"| kills | {total} |",
        *(f"| … by {name} | {count} |" for name, count in _by(tally.kills, 0)),
        *(f"| … of {name} | {count} |" for name, count in _by(tally.kills, 1)),
        *(f"| … during {name} | {count} |" for name, count in _by(tally.kills, 2)),
        *(f"| of these without effect: {name} | {count} |" for name, count in _by(tally.ignored, 0, 1)),
        f"| orphaned stages, dvc being killed alone | {tally.orphans} |",
        f"| … that a later stage waited for | {tally.waited} |",
        f"| times that training went on from a checkpoint | {tally.resumed} |",
        f"| stale entries in dvc's lock file, removed by dvc itself | {tally.unlocked} |",
        f"| dvc's lock file broken by its death, removed as docs/reliability.md says | {tally.broken} |",
        f"| optimizer steps of a project | {needed} |",
        f"| steps done twice, in all projects | {sum(tally.redone)} |",
        f"| commands that failed without being killed | {len(tally.failures)} |",
        f"| files compared in each project | {files} |",
        f"| half-written files left behind | {len(tally.leftovers)} |",
        f"| files that differ from the undisturbed run's | {len(tally.differences)} |",
        "",
        *tally.failures,
        *(f"differs: {path}" for path in tally.differences),
        *(f"left behind: {path}" for path in tally.leftovers),
    ]
    return "\n".join(lines)


def _by(kills: Counter[tuple[str, str, str]], *parts: int) -> list[tuple[str, int]]:
    """How many there are of each kind, which the parts (signal, target, stage) tell."""
    counts: Counter[str] = Counter()
    for kill, count in kills.items():
        counts[" to ".join(kill[part] for part in parts)] += count
    return sorted(counts.items())


if __name__ == "__main__":
    typer.run(main)
