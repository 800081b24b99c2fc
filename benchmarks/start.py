"""How long one waits: for `--help`, for a run's first optimizer step, for `dvc repro` where nothing has changed.

    python -m benchmarks.start

It measures the project in the working folder, after `make repro` and the studies, and leaves it as it is. What can't be
measured, because its inputs are not there or are out of date, is left out with a line that says so.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from ruamel.yaml import YAML

from benchmarks.machine import description
from benchmarks.table import markdown, number, spread

DVC = str(Path(sys.executable).with_name("dvc"))
SEED = "12345"  # of a student that no project has
TORCH, FIRST_STEP = "import torch", "process start to first optimizer step"


class UnmeasurableError(Exception):
    """Something can't be measured here; the message says why."""


def helped() -> float:
    return _seconds(sys.executable, "-m", "kdcore", "--help")


def torch_imported() -> float:
    return _seconds(sys.executable, "-c", "import torch")


def first_step() -> float:
    """From before the process is there to after its first optimizer step, for a student by sid; it ends there."""
    params = YAML(typ="safe").load(Path("params.yaml"))
    task = params["tasks"][0]
    places = [f"data/{task}", f"runs/teacher/{task}", f"runs/targets/{task}"]
    absent = [place for place in places if not Path(place).exists()]
    if absent:
        raise UnmeasurableError(f"{', '.join(absent)}: not there, run `make repro`")
    with TemporaryDirectory() as work:
        command = ["student", task, "sid", SEED, *places, f"{work}/student"]
        said = _run(sys.executable, "-m", "benchmarks.first_step", str(time.time()), *command, KDCORE_WORK=work)
    found = re.search(r"first step after ([\d.]+) s", said)
    if not found:
        raise UnmeasurableError(f"no optimizer step was seen; the command said {said!r}")
    return float(found[1])


def headline() -> float:
    return _no_op("dvc.yaml")


def everything() -> float:
    return _no_op("--all-pipelines")


def _no_op(what: str) -> float:
    """Raises UnmeasurableError where there is something to do, which `dvc repro` would begin."""
    looked_at = () if what.startswith("-") else (what,)  # without a name, status looks at every pipeline
    if subprocess.run([DVC, "status", "--quiet", *looked_at], check=False, capture_output=True).returncode:
        raise UnmeasurableError(f"`dvc status {' '.join(looked_at)}` says that there is something to do")
    return _seconds(DVC, "repro", what)


def _seconds(*command: str) -> float:
    start = time.perf_counter()
    _run(*command)
    return time.perf_counter() - start


def _run(*command: str, **environment: str) -> str:
    """What a command says. Raises UnmeasurableError where it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        raise UnmeasurableError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


WAITS: dict[str, Callable[[], float]] = {
    "python -m kdcore --help": helped,
    TORCH: torch_imported,
    FIRST_STEP: first_step,
    "dvc repro, nothing to do": headline,
    "dvc repro -P (with every study), nothing to do": everything,
}


def measure(names: Sequence[str], repeats: int) -> dict[str, list[float]]:
    """Seconds of each wait, in turns; what can't be measured is said once and left out."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in list(found):
            try:
                found[name].append(WAITS[name]())
            except UnmeasurableError as reason:
                print(f"{name}: left out. {reason}", flush=True)
                del found[name]
    return found


def table(found: Mapping[str, Sequence[float]]) -> str:
    lines = [[name, spread(seconds)] for name, seconds in found.items()]
    if TORCH in found and FIRST_STEP in found:
        beyond = median(found[FIRST_STEP]) - median(found[TORCH])
        lines.append(["first optimizer step beyond importing torch", number(beyond)])
    return markdown(["", "seconds"], lines)


def main() -> None:
    told = _arguments()
    print(description(os.cpu_count() or 1))
    print("", table(measure(told.only or list(WAITS), told.repeats)), sep="\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=list(WAITS), help="some of them")
    return parser.parse_args()


if __name__ == "__main__":
    main()
