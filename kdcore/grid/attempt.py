"""One attempt at a job, on the machine that an engine chose: `python -m kdcore.grid.attempt FOLDER NUMBER PLACE`.

The command runs in this very process, so that a signal reaches it once. Its output goes to FOLDER/<number>.log, what
happened to FOLDER/<number>.events, a JSON line each, which `kdcore launch` reads.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from kdcore.__main__ import main as kdcore

CANCELLED = "cancelled"  # the file in FOLDER that says so
STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGINT)  # exit codes of a command that can go on
REQUESTS = 20  # two seconds apart, within the time that Slurm gives to a job that it stopped
RESUMED = re.compile(r"goes on at (epoch \d+, step \d+)")
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def attempt(folder: Path, number: int, place: str) -> int:
    """Run the job and return its exit code; where it was stopped, and not by who launched it, Slurm is to try again."""
    _end_with_parent()
    line, log = json.loads((folder / "jobs.json").read_text(encoding="utf-8"))[number], folder / f"{number}.log"
    start, before = time.monotonic(), log.stat().st_size if log.exists() else 0
    _note(folder, number, event="started", place=place, pid=os.getpid())
    code = _run(line, log)
    with log.open("rb") as file:
        file.seek(before)
        found = RESUMED.search(file.read().decode(errors="replace"))
    seconds = round(time.monotonic() - start, 1)
    _note(folder, number, event="ended", place=place, code=code, seconds=seconds, resumed=found[1] if found else None)
    if code in STOPPED and not (folder / CANCELLED).exists() and "SLURM_JOB_ID" in os.environ:
        _requeue(os.environ["SLURM_JOB_ID"])
    return code


def _requeue(job: str) -> None:
    """Have Slurm try the job again; its controller may be away for a while."""
    for _ in range(REQUESTS):
        if subprocess.run(["scontrol", "requeue", job], check=False).returncode == 0:  # noqa: S603, S607
            return
        time.sleep(2)


def _run(line: list[str], log: Path) -> int:
    """The exit code of `kdcore …`, whose output is added to the log."""
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["kdcore", *line]
    try:
        kdcore()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # whatever it is, it is in the log, and the engine is told
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _note(folder: Path, number: int, **event: Any) -> None:
    with (folder / f"{number}.events").open("a", encoding="utf-8") as file:
        file.write(json.dumps(event | {"at": time.time()}) + "\n")


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM where the engine's process above goes: a run must not stay on a lost node."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(attempt(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
