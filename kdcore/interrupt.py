"""SIGTERM and Ctrl-C become a request that the loop honours between two steps, after a checkpoint."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_requested = 0


class Interrupted(Exception):  # noqa: N818  (it is no error)
    """The run stopped where it was asked to; `dvc repro` goes on from its checkpoint."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


@contextmanager
def listening() -> Iterator[None]:
    """Within the block the first SIGTERM or SIGINT is a request; a second one ends the process at once."""
    before = {signum: signal.signal(signum, _request) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _request(signum: int, frame: FrameType | None) -> None:
    global _requested
    _requested = signum
    signal.signal(signum, signal.SIG_DFL)


def requested() -> int:
    """The signal that asked this process to stop, or 0."""
    return _requested
