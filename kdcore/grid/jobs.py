"""The jobs that DVC's stages ask for: one per stage that makes data, a teacher, its signals or students, and one per
part of the signals of many rows.

The list is DVC's own graph, read as `dvc repro` reads it. No torch here.
"""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdcore.artefacts import MANIFEST, vouch
from kdcore.errors import UserError

DATA = ("prepare", "holdout")  # commands that need no GPU, and whose results no hash names
COMMANDS = (*DATA, "teacher", "targets", "student", "point", "tune")
FILES = ("dvc.yaml", "stages/dvc.yaml")  # of the headline run, of the studies


@dataclass(frozen=True)
class Asked:
    """What a job asks the store for.

    runs: their names, none where they depend on what is not there yet (unknown: on what); found: whether all that the
    job makes is there; threads: CPUs that it computes with; gflop: what its models compute, None where none does or it
    can't be told yet; parts: what a job of its own asks for that makes one of several parts, which this one puts
    together; alike: equal for jobs that ask for one same student, None where nothing tells.
    """

    runs: tuple[str, ...] = ()
    unknown: str | None = None
    found: bool = False
    threads: int = 1
    gflop: float | None = None
    parts: tuple["Asked", ...] = ()
    alike: str | None = None


@dataclass(frozen=True)
class Job:
    """A stage to run, as DVC would, or a part of it.

    stage: its address, and which part; command: its command line; after: the jobs, by stage, that it waits for; serves:
    other stages that ask for the same run, and find it once this job is done.
    """

    stage: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    asked: Asked = field(default_factory=Asked)
    serves: tuple[str, ...] = ()

    @property
    def line(self) -> tuple[str, ...]:
        """The words after `kdcore`."""
        return _after_kdcore(self.command)

    def shown(self) -> dict[str, Any]:
        """The job as `kdcore jobs` prints it."""
        own = self.asked
        return {
            "stage": self.stage,
            "command": self.command,
            "runs": own.runs or None,
            **({"unknown": own.unknown} if own.unknown else {}),
            "found": own.found,
            "after": self.after,
            **({"serves": self.serves} if self.serves else {}),
            "threads": own.threads,
            "gflop": own.gflop if own.gflop is None else round(own.gflop, 3),
        }


def jobs(study: str | None, asked: Callable[[Job, Sequence[str]], Asked]) -> list[Job]:
    """The jobs of the headline run, or of a study with all that it needs, each after those that it waits for.

    Stages that ask for one same student are one job, of the first: the others would wait for it, and keep their CPUs.

    asked: what a job asks the store for, given the stages before it that are not found. Raises UserError where DVC
    can't read its stages.
    """
    made: dict[str, Job] = {}
    first: dict[str, str] = {}  # what jobs that are alike share -> the stage that stands for them
    for job in _stages(study):
        missing = [stage for stage in job.after if not made[stage].asked.found]
        own = asked(job, missing)
        if own.alike in first:
            one = made[first[own.alike]]
            made[one.stage] = replace(one, serves=(*one.serves, job.stage))
            continue
        if own.alike:
            first[own.alike] = job.stage
        parts = []
        for number, part in enumerate(own.parts, 1):
            stage = f"{job.stage}, part {number} of {len(own.parts)}"
            parts.append(Job(stage, (*job.command, "--part", str(number)), job.after, part))
        made |= {part.stage: part for part in parts}
        made[job.stage] = replace(job, after=(*job.after, *(part.stage for part in parts)), asked=own)
    return list(made.values())


def prepare(study: str | None) -> None:
    """Bring the prepared data up to date by `dvc repro`, here: only DVC knows what became of the raw rows.

    Raises UserError where that fails; DVC has said why.
    """
    stages = [job.stage for job in _stages(study) if job.line[0] in DATA]
    if subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", *stages], check=False).returncode:  # noqa: S603
        raise UserError("dvc repro", f"failed for {', '.join(stages)}")


def take_over(jobs: Sequence[Job]) -> None:
    """Let the jobs replace what their stages wrote before, as dvc.lock has it, also where it came with a clone.

    `dvc repro` takes that away before it runs a stage; what is otherwise stays, and its job will name it.
    """
    asked = {job.stage for job in jobs}
    with _repo() as repo:
        for stage in (stage for stage in repo.index.stages if stage.addressing in asked):
            for out in stage.outs:
                place = Path(out.fs_path)
                # A sealed folder proves itself; the others are small.
                if not (place / MANIFEST).exists() and not out.workspace_status():
                    for file in [place] if place.is_file() else filter(Path.is_file, place.rglob("*")):
                        vouch(file)


@contextmanager
def _repo() -> Iterator[Any]:
    """DVC's. Raises UserError where it can't read the stages."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(".") as repo:
            yield repo
    except DvcException as error:
        raise UserError("dvc.yaml", f"DVC can't read the stages: {' '.join(str(error).split())}") from error


def _stages(study: str | None) -> list[Job]:
    """The stages that are jobs, in the graph's order."""
    import networkx

    with _repo() as repo:
        graph = repo.index.graph  # an edge leads from a stage to one that it needs
    wanted = {stage for stage in graph if _is_asked(stage, study)}
    if not wanted:
        raise UserError(FILES[bool(study)], f"has no stage{f' {study}' if study else ''}")
    needed = wanted.union(*(networkx.descendants(graph, stage) for stage in wanted))
    order = networkx.lexicographical_topological_sort(graph.subgraph(needed).reverse(), key=lambda one: one.addressing)
    made: dict[Any, Job] = {}
    for stage in order:
        command = _words(stage.cmd)
        if (line := _after_kdcore(command)) and line[0] in COMMANDS:
            before = networkx.descendants(graph, stage)
            made[stage] = Job(stage.addressing, command, tuple(made[one].stage for one in made if one in before))
    return list(made.values())


def _words(command: str | list[str] | None) -> tuple[str, ...]:
    """A stage's command line; none where it has several, or one that a shell alone can read: such a stage is the
    user's own."""
    try:
        return tuple(shlex.split(command)) if isinstance(command, str) else ()
    except ValueError:
        return ()


def _after_kdcore(command: tuple[str, ...]) -> tuple[str, ...]:
    return command[command.index("kdcore") + 1 :] if "kdcore" in command else ()


def _is_asked(stage: Any, study: str | None) -> bool:
    if study is None:
        return stage.path_in_repo == FILES[0]
    return stage.path_in_repo == FILES[1] and stage.name == study
