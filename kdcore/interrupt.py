"""SIGTERM and Ctrl-C end a command with one line; within the loop they wait for the step's end and a checkpoint."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_requested = 0


class Interrupted(BaseException):  # like KeyboardInterrupt: no library may take it for an error of its own
    """The command stopped where it was asked to; `kept` says what of its work is left."""

    def __init__(self, signum: int, kept: str = "a checkpoint is written, the same command goes on from it") -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.kept = signum, kept


@contextmanager
def ending() -> Iterator[None]:
    """Within the block SIGTERM or SIGINT raises Interrupted wherever it comes, so that half-written files go."""
    with _handled(_end):
        yield


def _end(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_DFL)
    raise Interrupted(signum, "what is finished is kept, the same command does the rest")


@contextmanager
def listening() -> Iterator[None]:
    """Within the block the first SIGTERM or SIGINT is a request; a second one ends the process at once."""
    with _handled(_request):
        yield


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {signum: signal.signal(signum, handler) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, usual in before.items():
            signal.signal(signum, usual)


def _request(signum: int, frame: FrameType | None) -> None:
    global _requested
    _requested = signum
    signal.signal(signum, signal.SIG_DFL)


def requested() -> int:
    """The signal that asked this process to stop, or 0."""
    return _requested


def forget() -> None:
    """What follows in this process was not asked to stop, as in a notebook's next cell."""
    global _requested
    _requested = 0
