"""One run's place in the store, held by one process at a time: the one interface of a folder and of a bucket."""

import os
from pathlib import Path
from typing import Protocol

from kdcore.store.local import Local

PARTS = "parts.json"  # of a run's folder: the names of runs whose files its result has too


class Hold(Protocol):
    """A run that this process works on, or wants to. Its files are in a folder of this machine, whatever the store."""

    @property
    def lost(self) -> bool:
        """Whether another process has taken the run over since; then nothing may be published."""

    def is_there(self) -> bool:
        """Whether the run is finished, wherever its result is."""

    def find(self) -> bool:
        """Whether the run is finished, with its result in its folder; it is not taken."""

    def take(self, seconds: float) -> bool:
        """Whether the run could be taken within that time. What others made of it is then in its folder."""

    def owner(self) -> str:
        """Who has it, in words."""

    def publish(self) -> None:
        """Show the finished result to all who share the store.

        Raises LeaseLostError where the run is another's by now.
        """

    def release(self) -> None:
        """Let others take it; nothing happens where it was not taken."""


def hold(folder: Path) -> Hold:
    """The place of the run whose folder that is, in the store that KDCORE_WORK names; nothing is taken yet."""
    if (url := bucket_url()) is None:
        return Local(folder)
    from kdcore.store.remote import Remote

    return Remote(folder, url)


def bucket_url() -> str | None:
    """KDCORE_WORK where it is a URL, and no folder."""
    place = os.environ.get("KDCORE_WORK", "")
    return place if "://" in place else None
