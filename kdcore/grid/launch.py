"""Jobs in, an engine that runs them; out: a line for each that starts, ends or moves, and what ran where."""

import json
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kdcore import interrupt
from kdcore.artefacts import write_json
from kdcore.console import count_of, in_words, say, warn
from kdcore.grid.attempt import CANCELLED
from kdcore.grid.jobs import Job

POLL = 0.5  # seconds between two looks at what the jobs note in their folder
SOON, LATER = 2.0, 10.0  # seconds between two questions to the engine: after news, and at most
LOGS = Path("work/launch")  # of the project, which the machines share even where its store is a bucket


class Engine(Protocol):
    """What runs jobs on machines that share this folder and the store."""

    def submit(self, folder: Path, jobs: Sequence[Job]) -> None:
        """Hand all jobs over, each to start when those that it waits for have ended well; to be tried again wherever
        its machine is lost. An attempt is `python -m kdcore.grid.attempt <folder> <number of the job> <place>`."""

    def unfinished(self) -> Collection[int]:
        """The numbers of the jobs that still wait or run; all of them while the engine does not answer, which is said
        once."""

    def why(self, number: int) -> str:
        """Why a job that ended could not be started, where the engine knows; else nothing."""

    def cancel(self) -> None:
        """Take back those that wait, and have those that run write a checkpoint (SIGTERM)."""

    def close(self) -> None:
        """Leave the cluster, once no job is left: from here on it prints nothing of its own."""


@dataclass
class Seen:
    """What is known of one job. events: of all attempts; told: how many of them were said."""

    events: list[dict[str, Any]] = field(default_factory=list)
    told: int = 0
    settled: bool = False

    @property
    def done(self) -> bool:
        return bool(self.events) and self.events[-1].get("code") == 0

    @property
    def places(self) -> list[str]:
        return [event["place"] for event in self.events if event["event"] == "started"]


def launch(jobs: Sequence[Job], engine: Engine) -> bool:
    """Run the jobs; returns whether all ended well. SIGTERM or Ctrl-C raises Interrupted once all have stopped.

    Whatever ends this sooner takes back the jobs that were handed over: nobody would watch them.
    """
    folder = (LOGS / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}").resolve()
    folder.mkdir(parents=True)
    write_json(folder / "jobs.json", [job.line for job in jobs])
    started = time.monotonic()
    try:
        engine.submit(folder, jobs)
        say(f"launch: {count_of(len(jobs), 'job')}, each with a log in {folder}")
        seen, stopping = _watch(folder, jobs, engine)
    except BaseException:
        _take_back(folder, engine)
        raise
    engine.close()
    _summarise(jobs, seen, time.monotonic() - started)
    if stopping:
        raise interrupt.Interrupted(interrupt.requested())
    return all(one.done for one in seen)


def _watch(folder: Path, jobs: Sequence[Job], engine: Engine) -> tuple[list[Seen], bool]:
    """What became of each job, once all have ended, and whether they were asked to."""
    seen, stopping, pause, asked = [Seen() for _ in jobs], False, POLL, time.monotonic()
    failed = set[str]()  # stages whose jobs failed by themselves, and not because of one before them
    with interrupt.listening():
        while not all(one.settled for one in seen):
            if interrupt.requested() and not stopping:
                stopping = True
                say("launch: the jobs that run write a checkpoint, the others are taken back")
                _take_back(folder, engine)
            for number, (job, one) in enumerate(zip(jobs, seen, strict=True)):
                if not one.settled and _look(folder, number, job, one):
                    pause = min(pause, SOON)
            if time.monotonic() - asked >= pause:
                unfinished, asked, pause = {*engine.unfinished()}, time.monotonic(), min(1.5 * pause, LATER)
                for number, (job, one) in enumerate(zip(jobs, seen, strict=True)):
                    if number not in unfinished and not one.settled:
                        _look(folder, number, job, one)  # it may have ended since
                        one.settled = True
                        before = [stage for stage in job.after if stage in failed]
                        if not one.done and not before:
                            failed.add(job.stage)
                        _say_end(folder, number, job, one, stopping, engine, before)
            time.sleep(POLL)
    return seen, stopping


def _take_back(folder: Path, engine: Engine) -> None:
    (folder / CANCELLED).touch()
    engine.cancel()


def _look(folder: Path, number: int, job: Job, one: Seen) -> bool:
    """Read what was noted of a job, and say where it started, or started again; whether anything was new."""
    path = folder / f"{number}.events"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    one.events = [json.loads(line) for line in lines if line.endswith("\n")]
    for event in one.events[one.told :]:
        if event["event"] == "started":
            say(f"{job.stage}: {'again, ' if event is not one.events[0] else ''}on {event['place']}")
    news, one.told = len(one.events) > one.told, len(one.events)
    return news


def _say_end(
    folder: Path, number: int, job: Job, one: Seen, stopping: bool, engine: Engine, before: Sequence[str]
) -> None:
    """before: the stages that this job comes after and that failed."""
    last, log = one.events[-1] if one.events else {}, folder / f"{number}.log"
    if one.done:
        resumed = f", went on at {last['resumed']}" if last["resumed"] else ""
        say(f"{job.stage}: done on {last['place']} in {in_words(last['seconds'])}{resumed}")
        return
    if stopping:
        say(f"{job.stage}: stopped{'' if one.events else ' before it began'}")
        return
    said = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    ended = f"{said[-1]} ({log})" if said else ""
    if one.events:
        code = f"exit code {last['code']}" if "code" in last else "it was lost"
        warn(f"{job.stage}: failed on {last['place']}, {code}: {ended or f'nothing was said ({log})'}")
    else:
        others = f"it comes after {' and '.join(before)}, which failed" if before else "the engine took it back"
        warn(f"{job.stage}: did not start: {engine.why(number) or ended or others}")


def _summarise(jobs: Sequence[Job], seen: Sequence[Seen], seconds: float) -> None:
    """What ran where."""
    done = [one for one in seen if one.done]
    say(f"launch: {len(done)} of {len(jobs)} jobs done in {in_words(seconds)}")
    for place in sorted({event["place"] for one in done for event in one.events}):
        own = [one.events[-1]["seconds"] for one in done if one.events[-1]["place"] == place]
        say(f"  {place}: {count_of(len(own), 'job')}, {in_words(sum(own))}")
    for job, one in zip(jobs, seen, strict=True):
        if len(one.places) > 1:
            resumed = one.events[-1].get("resumed")
            say(f"  moved: {job.stage}, {' → '.join(one.places)}{f', went on at {resumed}' if resumed else ''}")
