"""Jobs as tasks of a Ray cluster, whose machines share this folder: a lost one's tasks are tried again elsewhere."""

import logging
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdcore.console import count_of, warn
from kdcore.errors import UserError, one_line
from kdcore.grid.jobs import DATA, Job


class Ray:
    """The cluster that RAY_ADDRESS names, or the one of this machine, or a new one on it."""

    def __init__(self, gpus: float) -> None:
        """gpus: of a job that trains or computes signals; a fraction shares one.

        Raises UserError without Ray, and for a fraction of several GPUs.
        """
        if gpus > 1 and gpus != int(gpus):
            raise UserError("--gpus", f"must be whole, or a fraction of one, found {gpus}")
        try:
            import ray
        except ImportError as error:
            raise UserError("launch ray", f"needs {error.name}: pip install 'kdcore[ray]'") from error
        self._gpus = gpus
        try:
            ray.init(log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, ray.exceptions.RayError) as error:  # RayError: it asks for a token
            raise UserError("launch ray", f"no cluster answers: {one_line(error, 300)}") from error
        self._tasks: dict[int, Any] = {}
        self._needs: dict[int, tuple[int, float]] = {}  # CPUs and GPUs of each job
        self._lacking: set[tuple[int, float]] = set()  # of these, those that were said to be nowhere

    def submit(self, folder: Path, jobs: Sequence[Job]) -> None:
        import ray

        task = ray.remote(max_retries=-1)(_task())
        by_stage: dict[str, Any] = {}
        for number, job in enumerate(jobs):
            gpus = self._gpus if job.line[0] not in DATA else 0
            self._needs[number] = (job.asked.threads, gpus)
            before = [by_stage[stage] for stage in job.after if stage in by_stage]
            options: dict[str, Any] = {"num_cpus": job.asked.threads, "num_gpus": gpus, "name": job.stage}
            options["retry_exceptions"] = [InterruptedError]
            where = (sys.executable, str(Path.cwd()), str(folder), number, _environment())
            by_stage[job.stage] = self._tasks[number] = task.options(**options).remote(*where, *before)

    def unfinished(self) -> Collection[int]:
        import ray

        _, waiting = ray.wait([*self._tasks.values()], num_returns=len(self._tasks), timeout=0)
        waits = set(waiting)
        left = [number for number, task in self._tasks.items() if task in waits]
        lacking = lacked([self._needs[number] for number in left], ray.nodes())
        for cpus, gpus in lacking - self._lacking:
            wanted = count_of(cpus, "CPU") + (f" and {gpus:g} GPU{'s' * (gpus > 1)}" if gpus else "")
            warn(f"launch: no machine of the cluster has {wanted}: the jobs that need so much wait until one comes")
        self._lacking = lacking
        return left

    def why(self, number: int) -> str:
        import ray

        try:
            ended = ray.get(self._tasks[number])
        except ray.exceptions.RayError as error:
            return str(error).strip().rpartition("\n")[2]
        return ended if isinstance(ended, str) else ""

    def cancel(self) -> None:
        import ray

        for task in reversed(self._tasks.values()):
            ray.cancel(task, recursive=False)

    def close(self) -> None:
        import ray

        ray.shutdown()  # its listener prints the news of a lost node on our stdout, whenever they come


def lacked(needs: Iterable[tuple[int, float]], nodes: Iterable[Mapping[str, Any]]) -> set[tuple[int, float]]:
    """Of the needs, CPUs and GPUs of a job, those that none of the nodes, as `ray.nodes()` lists them, has."""
    there = [node["Resources"] for node in nodes if node["Alive"]]
    return {
        (cpus, gpus)
        for cpus, gpus in needs
        if not any(one.get("CPU", 0) >= cpus and one.get("GPU", 0) >= gpus for one in there)
    }


def _environment() -> dict[str, str]:
    """What commands read of the environment here."""
    return {name: value for name, value in os.environ.items() if name.startswith(("KDCORE_", "HF_"))}


def _task() -> Any:
    """The function that a worker runs. It is sent as it is, so that workers need no kdcore of their own to start it.

    It gives the exit code, or why the job could not be started there. InterruptedError has Ray try again; whatever else
    it raised would be raised for ever.
    """

    def run(
        python: str, root: str, folder: str, number: int, environment: dict[str, str], *before: int | str
    ) -> int | str:
        import os
        import signal
        import socket
        import subprocess
        import time

        import ray

        if any(before):
            return 1
        # ray.cancel raises KeyboardInterrupt by it, which a cluster that a script started in its background ignores.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        place = f"{socket.gethostname()} ({ray.get_runtime_context().get_node_id()[:8]})"
        line = [python, "-m", "kdcore.grid.attempt", folder, str(number), place]
        try:
            with open(os.path.join(folder, f"{number}.log"), "ab") as log:
                process = subprocess.Popen(  # noqa: S603
                    line, cwd=root, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT
                )
        except OSError as error:
            return f"{place}: {error}; machines must share the project's folder, and have its Python at the same path"
        try:
            while process.poll() is None:
                time.sleep(0.2)
        except KeyboardInterrupt:  # ray.cancel
            process.terminate()
            return process.wait()
        if process.returncode in (130, 143) and not os.path.exists(os.path.join(folder, "cancelled")):
            raise InterruptedError(f"stopped with {process.returncode}; it goes on elsewhere")
        return process.returncode

    return run
