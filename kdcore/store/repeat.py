"""What goes on beside the training, in threads: a call every so many seconds, until it is told to end."""

import os
import threading
from collections.abc import Callable

from kdcore.errors import UserError, shown


class Repeated:
    """Calls `call` every `seconds` in a thread of its own, until `end`, or until it gives False."""

    def __init__(self, name: str, seconds: float, call: Callable[[], bool]) -> None:
        self._seconds, self._call, self._ended = seconds, call, threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds) and self._call():
            pass

    def end(self, patience: float) -> bool:
        """Call no more; whether the call that is under way, if one is, ended within so many seconds."""
        self._ended.set()
        self._thread.join(patience)
        return not self._thread.is_alive()


def seconds(variable: str, usual: float) -> float:
    """Seconds that an environment variable says, or what is usual. Raises UserError where it says none."""
    said = os.environ.get(variable) or str(usual)
    try:
        if 0 < (value := float(said)) < float("inf"):
            return value
    except ValueError:
        pass
    raise UserError(variable, f"must be a number of seconds greater than 0, found {shown(said)}")
