"""Jobs as arrays of Slurm, whose machines share this folder: a lost one's tasks are queued again."""

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from kdcore import interrupt
from kdcore.console import say, warn
from kdcore.errors import UserError
from kdcore.grid.jobs import DATA, Job

GRACE = 90  # seconds between SIGTERM and a job's end, at its limit of time
PATIENCE, PAUSE = 300.0, 5.0  # seconds that its controller may be away, and between two questions then
# What its commands say where they could not reach the controller: nothing came of them.
AWAY = re.compile(r"Unable to contact slurm controller|Connection refused|Communication connection failure")


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
        self._away = False  # whether it was said that it does not answer

    def submit(self, folder: Path, jobs: Sequence[Job]) -> None:
        """An array for all jobs that wait for the same ones, and compute with as many CPUs; or several, where the
        cluster's arrays take fewer."""
        numbers = {job.stage: number for number, job in enumerate(jobs)}
        most, tasks = self._limits()
        groups: dict[tuple[tuple[str, ...], int, int, int], list[int]] = {}
        for number, job in enumerate(jobs):
            after = tuple(stage for stage in job.after if stage in numbers)
            gpus = self._gpus if job.line[0] not in DATA else 0
            groups.setdefault((after, job.asked.threads, gpus, number // most), []).append(number)
        arrays = [
            (*key, members[start : start + tasks])
            for key, members in groups.items()
            for start in range(0, len(members), tasks)
        ]
        if len(arrays) > len({key[:3] for key in groups}):
            say(f"launch: {len(arrays)} arrays, as one takes {tasks:,} jobs here")
        for after, threads, gpus, block, members in arrays:
            before = [self._ids[numbers[stage]] for stage in after]
            with interrupt.listening():  # who stops us now would else leave an array whose id nobody knows
                array = self._sbatch(folder, block * most, most, members, before, threads, gpus)
                self._ids |= {number: f"{array}_{number - block * most}" for number in members}
            if interrupt.requested():
                raise interrupt.Interrupted(interrupt.requested())

    def _limits(self) -> tuple[int, int]:
        """How many jobs share their leading digits in an array, a power of ten, and how many it may have.

        Numbers in an array must be below the cluster's MaxArraySize. So that a log's name is the number of its job,
        which only the last digits of it are, arrays begin at multiples of a power of ten.
        """
        said = self._ask("scontrol", "show", "config")
        if said.returncode:
            self._fail("scontrol", said)
        size = int(found[1]) if (found := re.search(r"^MaxArraySize\s*=\s*(\d+)", said.stdout, re.MULTILINE)) else 1001
        if not size:
            raise UserError("launch slurm", "the cluster takes no arrays of jobs (MaxArraySize is 0 in its slurm.conf)")
        most = 10 ** (len(str(size)) - 1)
        found = re.search(r"\bmax_array_tasks=(\d+)", said.stdout)
        return most, min(most, int(found[1])) if found else most

    def _sbatch(
        self, folder: Path, first: int, most: int, members: Sequence[int], after: Sequence[str], threads: int, gpus: int
    ) -> str:
        """The id of the array. first: the number that is its 0; most: a power of ten, one above the last that it may
        have."""
        attempt = shlex.join([sys.executable, "-m", "kdcore.grid.attempt", str(folder)])
        script = f"#!/bin/sh\nexec {attempt} $(({first} + SLURM_ARRAY_TASK_ID)) $SLURMD_NODENAME\n"
        digits = len(str(most)) - 1
        log = (f"{first // most}%{digits}a" if digits else first) if first else "%a"  # the last digits are Slurm's
        options = [
            *("--parsable", "--job-name=kdcore", f"--array={','.join(str(number - first) for number in members)}"),
            *("--requeue", "--nodes=1", "--ntasks=1", f"--cpus-per-task={threads}", f"--signal=B:TERM@{GRACE}"),
            *(f"--output={folder}/{log}.log", "--open-mode=append", f"--chdir={Path.cwd()}"),
            *([f"--gres=gpu:{gpus}"] if gpus else []),
            *([f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"] if after else []),
        ]
        made = self._ask("sbatch", *options, *self._options, script=script)
        if made.returncode:
            self._fail("sbatch", made)
        return made.stdout.strip().partition(";")[0]

    def unfinished(self) -> Collection[int]:
        asked = self._ask("squeue", "--noheader", "--array", "--me", "--format=%i", patience=0)
        if asked.returncode:  # its controller may be away for a while: what runs goes on
            return list(self._ids)
        active = set(asked.stdout.split())
        return [number for number, task in self._ids.items() if task in active]

    def _ask(
        self, *line: str, script: str | None = None, patience: float = PATIENCE
    ) -> "subprocess.CompletedProcess[str]":
        """What a command of Slurm says. Where the controller does not answer, say so once, and ask again for a while.

        patience: seconds.
        """
        end = time.monotonic() + patience
        while True:
            made = subprocess.run(  # noqa: S603 - in a session of its own, where a Ctrl-C does not reach it
                line, input=script, capture_output=True, text=True, check=False, start_new_session=True
            )
            away = bool(made.returncode and AWAY.search(made.stderr))
            failed = bool(made.returncode) and (away or line[0] == "squeue")
            if failed and not self._away:
                warn(f"launch: {line[0]}: {' '.join(made.stderr.split())}; jobs that run go on, and it is asked again")
            if self._away and not made.returncode:
                say("launch: Slurm answers again")
            self._away = failed
            if not away or time.monotonic() >= end:
                return made
            time.sleep(PAUSE)

    def _fail(self, command: str, made: "subprocess.CompletedProcess[str]") -> None:
        raise UserError(command, " ".join(made.stderr.split()))

    def why(self, number: int) -> str:
        """What a machine says goes to the job's log, and of others Slurm keeps no more than that."""
        return ""

    def cancel(self) -> None:
        if tasks := list(self._ids.values()):
            self._ask("scancel", "--quiet", "--state=PENDING", *tasks)
            # To the command alone: a second signal would end it at once.
            self._ask("scancel", "--quiet", "--batch", "--signal=TERM", *tasks)

    def close(self) -> None:
        """Nothing is held of it."""
