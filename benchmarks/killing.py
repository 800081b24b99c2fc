"""Kill `dvc repro` of a tiny project, and see what it ends with, for chaos.py."""

import contextlib
import json
import os
import signal
import time
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

# In place of kdcore/__main__.py of a project.
WATCHED = '''"""python -m kdcore, which writes a byte to $STEPS for every optimizer step that is done."""

import os

from torch.optim.optimizer import register_optimizer_step_post_hook

from kdcore.cli import main


def count(*_: object) -> None:
    with open(os.environ["STEPS"], "ab") as file:
        file.write(b".")


register_optimizer_step_post_hook(count)
main()
'''


class Repro:
    """One `dvc repro`, in a process group of its own. Its output is a file, which its orphans may go on writing."""

    def __init__(self, project: Project, log: Path) -> None:
        self.log = log
        environment = project.environment() | {"STEPS": str(steps_file(project)), "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as file:
            self.process = psutil.Popen(
                COMMAND,
                cwd=project.root,
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

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
                os.killpg(self.process.pid, signum)
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
        """Seconds of processor time of dvc, of its stages that ended, and of the one that runs."""
        total = 0.0
        with contextlib.suppress(psutil.Error):
            for process in (self.process, *self.process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += sum(process.cpu_times()[:4])
        return total

    def orphans(self) -> list[psutil.Process]:
        """What lives on in the group after dvc has ended."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def end(self) -> None:
        """Nothing of it outlives the caller."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        psutil.wait_procs([self.process, *self.orphans()], timeout=10)


def watch(project: Project) -> None:
    """Make the project's commands count their optimizer steps."""
    (project.root / "kdcore/__main__.py").write_text(WATCHED, encoding="utf-8")


def steps_file(project: Project) -> Path:
    return project.root.parent / "steps"


def steps(project: Project) -> int:
    """Optimizer steps that were done in the project, those that were done twice among them."""
    return steps_file(project).stat().st_size


def outputs(project: Project) -> dict[str, str]:
    """sha256 by path of all that the pipeline made. Seconds, which no two runs share, are left out."""
    files = [path for name in OUTPUTS for path in (project.root / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(project.root)): _digest(path) for path in sorted(files)}


def _digest(path: Path) -> str:
    if path.suffix != ".json":
        return sha256(path)
    return digest(_timeless(json.loads(path.read_text(encoding="utf-8"))))


def _timeless(value: Any) -> Any:
    """JSON without `seconds`, which run.json and points hold, and without run.json's checksum in manifests."""
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in ("seconds", "run.json")}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def left_behind(project: Project) -> list[str]:
    """Half-written files and folders: everything that is written is first written under a hidden name."""
    found = [path for name in (*OUTPUTS, "work", "metrics") for path in (project.root / name).rglob(".*")]
    return sorted(str(path.relative_to(project.root)) for path in found if path.name != ".gitignore")
