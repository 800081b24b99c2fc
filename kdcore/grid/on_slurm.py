"""Jobs as arrays of Slurm, whose machines share this folder: a lost one's tasks are queued again."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from kdcore.console import warn
from kdcore.errors import UserError
from kdcore.grid.jobs import DATA, Job

GRACE = 90  # seconds between SIGTERM and a job's end, at its limit of time


class Slurm:
    """The cluster whose commands are on this machine."""

    def __init__(self, gpus: float, options: str) -> None:
        """gpus: whole ones, of a job that trains or computes signals; options: of sbatch, `--partition=long`, say.

        Raises UserError without Slurm's commands, and for a fraction of a GPU.
        """
        absent = [name for name in ("sbatch", "squeue", "scancel", "scontrol") if shutil.which(name) is None]
        if absent:
            raise UserError("launch slurm", f"{', '.join(absent)} is not on this machine: launch where Slurm's are")
        if gpus != int(gpus):
            raise UserError("--gpus", f"Slurm gives out whole ones, found {gpus}; `kdcore launch ray` shares them")
        self._gpus, self._options = int(gpus), shlex.split(options)
        self._ids: dict[int, str] = {}  # by number

    def submit(self, folder: Path, jobs: Sequence[Job]) -> None:
        """An array for all jobs that wait for the same ones, and compute with as many CPUs."""
        numbers = {job.stage: number for number, job in enumerate(jobs)}
        arrays: dict[tuple[tuple[str, ...], int, int], list[int]] = {}
        for number, job in enumerate(jobs):
            after = tuple(stage for stage in job.after if stage in numbers)
            gpus = self._gpus if job.line[0] not in DATA else 0
            arrays.setdefault((after, job.asked.threads, gpus), []).append(number)
        for (after, threads, gpus), members in arrays.items():
            array = self._sbatch(folder, members, [self._ids[numbers[stage]] for stage in after], threads, gpus)
            self._ids |= {number: f"{array}_{number}" for number in members}

    def _sbatch(self, folder: Path, members: Sequence[int], after: Sequence[str], threads: int, gpus: int) -> str:
        attempt = shlex.join([sys.executable, "-m", "kdcore.grid.attempt", str(folder)])
        script = f"#!/bin/sh\nexec {attempt} $SLURM_ARRAY_TASK_ID $SLURMD_NODENAME\n"
        options = [
            *("--parsable", "--job-name=kdcore", f"--array={','.join(map(str, members))}", "--requeue"),
            *("--nodes=1", "--ntasks=1", f"--cpus-per-task={threads}", f"--signal=B:TERM@{GRACE}"),
            *(f"--output={folder}/%a.log", "--open-mode=append", f"--chdir={Path.cwd()}"),
            *([f"--gres=gpu:{gpus}"] if gpus else []),
            *([f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"] if after else []),
        ]
        made = subprocess.run(  # noqa: S603
            ["sbatch", *options, *self._options],  # noqa: S607
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            self.cancel()
            raise UserError("sbatch", " ".join(made.stderr.split()))
        return made.stdout.strip().partition(";")[0]

    def unfinished(self) -> Collection[int]:
        asked = subprocess.run(
            ["squeue", "--noheader", "--array", "--me", "--format=%i"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode:  # its controller may be away for a while
            warn(f"squeue: {' '.join(asked.stderr.split())}")
            return list(self._ids)
        active = set(asked.stdout.split())
        return [number for number, task in self._ids.items() if task in active]

    def why(self, number: int) -> str:
        """What a machine says goes to the job's log, and of others Slurm keeps no more than that."""
        return ""

    def cancel(self) -> None:
        if tasks := list(self._ids.values()):
            subprocess.run(["scancel", "--quiet", "--state=PENDING", *tasks], check=False)  # noqa: S603, S607
            # To the command alone: a second signal would end it at once.
            subprocess.run(["scancel", "--quiet", "--batch", "--signal=TERM", *tasks], check=False)  # noqa: S603, S607

    def close(self) -> None:
        """Nothing is held of it."""
