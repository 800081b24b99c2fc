"""Jobs as tasks of a Ray cluster, whose machines share this folder: a lost one's tasks are tried again elsewhere."""

import logging
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from kdcore.errors import UserError
from kdcore.grid.jobs import DATA, Job


class Ray:
    """The cluster that RAY_ADDRESS names, or the one of this machine, or a new one on it."""

    def __init__(self, gpus: float) -> None:
        """gpus: of a job that trains or computes signals; a fraction shares one. Raises UserError without Ray."""
        try:
            import ray
        except ImportError as error:
            raise UserError("launch ray", f"needs {error.name}: pip install 'kdcore[ray]'") from error
        self._gpus = gpus
        try:
            ray.init(log_to_driver=False, logging_level=logging.WARNING)
        except ConnectionError as error:
            raise UserError("launch ray", f"no cluster answers: {error}") from error
        self._tasks: dict[int, Any] = {}

    def submit(self, folder: Path, jobs: Sequence[Job]) -> None:
        import ray

        task = ray.remote(max_retries=-1, retry_exceptions=True)(_task())
        by_stage: dict[str, Any] = {}
        for number, job in enumerate(jobs):
            gpus = self._gpus if job.line[0] not in DATA else 0
            before = [by_stage[stage] for stage in job.after if stage in by_stage]
            options = {"num_cpus": job.asked.threads, "num_gpus": gpus, "name": job.stage}
            where = (sys.executable, str(Path.cwd()), str(folder), number, _environment())
            by_stage[job.stage] = self._tasks[number] = task.options(**options).remote(*where, *before)

    def unfinished(self) -> Collection[int]:
        import ray

        _, waiting = ray.wait([*self._tasks.values()], num_returns=len(self._tasks), timeout=0)
        left = set(waiting)
        return [number for number, task in self._tasks.items() if task in left]

    def cancel(self) -> None:
        import ray

        for task in reversed(self._tasks.values()):
            ray.cancel(task, recursive=False)

    def close(self) -> None:
        import ray

        ray.shutdown()  # its listener prints the news of a lost node on our stdout, whenever they come


def _environment() -> dict[str, str]:
    """What commands read of the environment here."""
    return {name: value for name, value in os.environ.items() if name.startswith(("KDCORE_", "HF_"))}


def _task() -> Any:
    """The function that a worker runs. It is sent as it is, so that workers need no kdcore of their own to start it."""

    def run(python: str, root: str, folder: str, number: int, environment: dict[str, str], *before: int) -> int:
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
        process = subprocess.Popen(line, cwd=root, env=os.environ | environment)  # noqa: S603
        try:
            while process.poll() is None:
                time.sleep(0.2)
        except KeyboardInterrupt:  # ray.cancel
            process.terminate()
            return process.wait()
        if process.returncode in (130, 143) and not os.path.exists(os.path.join(folder, "cancelled")):
            raise RuntimeError(f"stopped with {process.returncode}; it goes on elsewhere")
        return process.returncode

    return run
