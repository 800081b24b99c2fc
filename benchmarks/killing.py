"""Kill `dvc repro`, or another command of DVC, in a tiny project, and see what it ends with.

chaos.py takes random moments, tests/pipeline/test_kills.py chosen ones.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from kdcore.artefacts import digest, sha256
from tests.pipeline.conftest import Project

TARGETS = ("stage", "dvc", "group")  # the stage's process, dvc's own, or all that were started together
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Every kind of stage, up to the scores and predictions of every model, and what they make.
COMMAND = ("dvc", "repro", "evaluate")
OUTPUTS = ("data", "runs", "metrics/teacher", "metrics/main/points")

BROKEN = "Unable to read RWLock-file"  # dvc died while it wrote its lock file, which only a person can remove
RWLOCK = ".dvc/tmp/rwlock"

# In place of kdcore/__main__.py of a project.
WATCHED = '''"""python -m kdcore, which counts its optimizer steps in $STEPS, and at the moment of $KILL gets a signal.

KILL is `command event count signal target`. An event is `step`, which comes after an optimizer step and before its
checkpoint, or a part of a path, which comes before each flush to the disk of a file whose path has that part.
"""

import os
import sys

from kdcore.cli import main
from kdcore.cli.command import set_up_libraries

command, event, count, signum, target = os.environ.get("KILL", "none none 0 0 none").split()
seen = 0
fsync = os.fsync


def happens(what):
    global seen
    if sys.argv[1] == command and event in what:
        seen += 1
        if seen == int(count):
            group = os.getpgrp()  # whose leader is dvc
            os.kill({"stage": os.getpid(), "dvc": group, "group": -group}[target], int(signum))


def step(*_):
    with open(os.environ.get("STEPS", os.devnull), "ab") as file:
        file.write(b".")
    happens("step")


def flush(handle):
    happens(os.path.relpath(os.readlink(f"/proc/self/fd/{handle}")))
    fsync(handle)


if sys.argv[1] in ("teacher", "student", "point", "tune"):  # alone: torch takes seconds to import
    set_up_libraries()
    from torch.optim.optimizer import register_optimizer_step_post_hook

    register_optimizer_step_post_hook(step)
os.fsync = flush
main()
'''


class Repro:
    """One run of the command, in a process group of its own. Its output is a file; its orphans may go on writing it."""

    def __init__(self, project: Project, log: Path, kill: str | None = None, command: Sequence[str] = COMMAND) -> None:
        """kill: a moment, as WATCHED reads it."""
        self.log = log
        self.seconds = 0.0  # of processor time, as last seen
        self.process = _started(project, log, command, {"KILL": kill} if kill else {})
        self.group = self.process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def finished(self) -> bool:
        """Whether it ended as it should."""
        return self.process.poll() == 0

    def stage(self) -> tuple[str, psutil.Process] | None:
        """The stage that runs now: its command's name and its process; None between two stages."""
        with contextlib.suppress(psutil.Error):
            for child in self.process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if child.name().startswith("python") and child.cmdline()[1:3] == ["-m", "kdcore"]:
                        return child.cmdline()[3], child
        return None

    def kill(self, signum: int, target: str) -> tuple[str, str]:
        """Send the signal; returns what was hit: (target, stage). Without a stage at work dvc is hit instead."""
        name, process = self.stage() or ("between stages", None)
        hit = "dvc" if process is None and target == "stage" else target
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it may end just now
            if hit == "group":
                os.killpg(self.group, signum)
            else:
                (self.process if hit == "dvc" or process is None else process).send_signal(signum)
        return hit, name

    def wait(self) -> int:
        return self.process.wait()

    def worked(self, seconds: float) -> bool:
        """Let it compute for so many seconds of processor time, on whatever busy machine; whether it ended before."""
        until = self._computed() + seconds
        while not self.ended and self._computed() < until:
            time.sleep(0.05)
        return self.ended

    def _computed(self) -> float:
        """Seconds of processor time of dvc, of its stages that ended, and of the one that runs, as far as is known."""
        total = 0.0
        with contextlib.suppress(psutil.Error):
            for process in (self.process, *self.process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += sum(process.cpu_times()[:4])
        self.seconds = max(self.seconds, total)
        return total

    def orphans(self) -> list[psutil.Process]:
        """What lives on in the group after dvc has ended."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) == self.group and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def wait_for_orphans(self) -> None:
        while self.orphans():
            time.sleep(0.1)

    def end(self) -> None:
        """Nothing of it outlives the caller."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signal.SIGKILL)
        self.process.wait()


class Worker(Repro):
    """The worker that `dvc queue start` leaves behind, and the experiment of that name that it runs.

    Where it dies, DVC has its experiment for running for ever, and no other worker takes it. So the next one begins as
    docs/reliability.md says: what no worker runs is given up, and queued again.
    """

    def __init__(self, project: Project, log: Path, name: str, command: Sequence[str]) -> None:
        """command: what queues it."""
        self.log, self.seconds, self._project, self._name = log, 0.0, project, name
        states = [line.split()[-1] for line in self._dvc("queue", "status").splitlines() if name in line.split()]
        if "Running" in states:
            self._dvc("queue", "kill", name)
        if "Queued" not in states:
            self._dvc(*command)
        self._before = {*self._logs()}
        _started(project, log, ("dvc", "queue", "start"), {}).wait()
        facts = json.loads((self._exps / "celery/dvc-exp-worker-1.json").read_text(encoding="utf-8"))
        self.process, self.group = psutil.Process(facts["pid"]), os.getpgid(facts["pid"])

    @property
    def _exps(self) -> Path:
        return self._project.root / ".dvc/tmp/exps"

    def _logs(self) -> list[Path]:
        return sorted(self._exps.glob("run/*/*.out"))

    def _dvc(self, *args: str) -> str:
        """What it says; where a dvc that was killed has broken its lock file, that is removed first."""
        done = self._project.run("dvc", *args, check=False)
        if BROKEN in done.stderr:
            (self._project.root / RWLOCK).unlink()
            return self._dvc(*args)
        return done.stdout

    @property
    def output(self) -> str:
        own = [self.log, *(file for file in self._logs() if file not in self._before)]
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in own)

    @property
    def ended(self) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return self.process.status() == psutil.STATUS_ZOMBIE
        return True

    @property
    def finished(self) -> bool:
        return self.ended and self._name in self._dvc("exp", "list", "--name-only").split()


def _started(project: Project, log: Path, command: Sequence[str], more: dict[str, str]) -> psutil.Popen:
    """The command in a process group of its own. more: variables of its environment."""
    own = {"STEPS": str(steps_file(project)), "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}  # as in the Makefile
    with log.open("wb") as file:
        return psutil.Popen(
            command,
            cwd=project.root,
            env=project.environment() | own | more,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=_heed_interrupts,
        )


def _heed_interrupts() -> None:
    """As in a terminal: what a shell starts in the background ignores SIGINT, and so does what that starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def watch(project: Project) -> None:
    """Make the project's commands count their optimizer steps, and fall where a Repro wants them to."""
    (project.root / "kdcore/__main__.py").write_text(WATCHED, encoding="utf-8")


def stopping(command: str, step: int = 1) -> dict[str, str]:
    """The environment in which a watched project's command stops itself after that optimizer step."""
    return {"KILL": f"{command} step {step} {int(signal.SIGSTOP)} stage"}


def stopped(pid: int) -> psutil.Process:
    """The process, as soon as it has stopped itself; raises psutil.NoSuchProcess where it ends before."""
    process = psutil.Process(pid)
    while (status := process.status()) != psutil.STATUS_STOPPED:
        if status == psutil.STATUS_ZOMBIE:
            raise psutil.NoSuchProcess(pid)
        time.sleep(0.05)
    return process


def steps_file(project: Project) -> Path:
    return project.root.parent / "steps"


def steps(project: Project) -> int:
    """Optimizer steps that were done in the project, those that were done twice among them."""
    return steps_file(project).stat().st_size


def outputs(project: Project, folders: Sequence[str] = OUTPUTS) -> dict[str, str]:
    """The bits of all that the pipeline made in these folders, by path."""
    return {f"{name}/{path}": found for name in folders for path, found in bits(project.root / name).items()}


def bits(folder: Path) -> dict[str, str]:
    """sha256 of each file by its path in the folder, without the seconds that it took, and git's commit."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _digest(path) for path in files}


def _digest(path: Path) -> str:
    if path.suffix != ".json":
        return sha256(path)
    return digest(_timeless(json.loads(path.read_text(encoding="utf-8"))))


def _timeless(value: Any) -> Any:
    """JSON without `seconds` and `commit`, which run.json holds, and without run.json's checksum in manifests."""
    if isinstance(value, dict):
        left_out = ("seconds", "commit", "run.json")
        return {key: _timeless(inner) for key, inner in value.items() if key not in left_out}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def left_behind(project: Project) -> list[str]:
    """Half-written files and folders: everything that is written is first written under a hidden name."""
    found = [path for name in ("data", "runs", "work", "metrics") for path in (project.root / name).rglob(".*")]
    return sorted(str(path.relative_to(project.root)) for path in found if path.name != ".gitignore")
