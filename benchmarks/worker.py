"""A job in a process of its own, which is made once and run whenever it is told: repeats of several can take turns.

Each process has a peak memory of its own, and none disturbs the others' allocator; only one computes at a time.
"""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.machine import peak_resident, private_now

SAMPLING = 0.02  # seconds between two looks at a process's memory

Job = Callable[..., Any]


class NotInstalledError(Exception):
    """A package that the job needs is not installed; the message is its name."""


class JobError(Exception):
    """The job raised; the message is its traceback."""


class Worker:
    """A process that holds `make(*args)`, a function, and calls it at each `run`."""

    def __init__(self, make: Callable[..., Job], *args: Any) -> None:
        """Raises NotInstalledError where the job lacks a package, JobError where making it raises."""
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, make, args), daemon=True)
        self._process.start()
        far_end.close()
        self.private = 0
        self._answer()

    def run(self, *args: Any) -> Any:
        """What the job gives. Raises JobError where it raises, or where its process is gone."""
        self._pipe.send(args)
        return self._answer()

    @property
    def resident(self) -> int:
        """Most bytes that the process has had in memory so far; `private` is the same without mapped files."""
        return peak_resident(self._process.pid or "self")

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def _answer(self) -> Any:
        while not self._pipe.poll(SAMPLING):
            self.private = max(self.private, private_now(self._process.pid or "self"))
        try:
            kind, answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise JobError(f"the process ended with exit code {self._process.exitcode}") from None
        if kind == "absent":
            raise NotInstalledError(answer)
        if kind == "failed":
            raise JobError(answer)
        return answer


def _serve(pipe: Connection, make: Callable[..., Job], args: tuple[Any, ...]) -> None:
    """The other end: make the job, then run it for each message until the pipe is closed."""
    _be_quiet()
    try:
        job = make(*args)
    except ModuleNotFoundError as error:
        pipe.send(("absent", error.name))
        return
    except Exception:
        pipe.send(("failed", traceback.format_exc()))
        return
    pipe.send(("made", None))
    while True:
        try:
            told = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("done", job(*told)))
        except Exception:
            pipe.send(("failed", traceback.format_exc()))


def _be_quiet() -> None:
    """Lines and bars of several libraries would end up between the lines of the table."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


@contextmanager
def working(makers: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Worker]]:
    """Workers by name, from a maker and its arguments each; one whose package is absent is left out, and said so."""
    workers: dict[str, Worker] = {}
    try:
        for name, (make, *args) in makers.items():
            try:
                workers[name] = Worker(make, *args)
            except NotInstalledError as package:
                print(f"{name}: left out, {package} is not installed", flush=True)
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def interleaved(workers: Mapping[str, Worker], repeats: int, *args: Any) -> dict[str, list[Any]]:
    """Run every worker's job once per repeat, in turns: forwards, then backwards, as who goes before may matter."""
    found: dict[str, list[Any]] = {name: [] for name in workers}
    for repeat in range(repeats):
        order = list(workers) if repeat % 2 == 0 else list(reversed(list(workers)))
        for name in order:
            found[name].append(workers[name].run(*args))
        print(f"repeat {repeat + 1} of {repeats}", flush=True)
    return found
