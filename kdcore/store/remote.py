"""A run in a bucket: held through a lease, worked on in a cache on this machine, and published when it is finished."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kdcore.console import warn
from kdcore.errors import LeaseLostError, UserError, shown
from kdcore.store.bucket import AwayError, RefusedError, bucket
from kdcore.store.lease import Lease
from kdcore.store.local import Local, is_whole, this_process
from kdcore.store.mirror import Mirror

LEASE_SECONDS = 120.0  # KDCORE_LEASE_SECONDS: after these a silent owner's run is another's to take
UPLOAD_SECONDS = 180.0  # KDCORE_UPLOAD_SECONDS: between two checkpoints that are uploaded
RENEWALS = 4  # in the time of a lease
POLL = 5.0  # seconds between two looks at a lease that another holds, at most
CLOSING = 20.0  # seconds that a process which is asked to stop gives its last checkpoint


class Remote:
    """The hold of a run in a bucket. Processes of one machine take turns at its cache, as at any folder.

    A finished run that is whole in the cache, and known to be in the bucket, needs neither server nor lease.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.name = folder, folder.name
        self._local, self._mirror = Local(folder), Mirror(folder, bucket(url))
        self._lease_seconds = seconds("KDCORE_LEASE_SECONDS", LEASE_SECONDS)
        self._upload_seconds = seconds("KDCORE_UPLOAD_SECONDS", UPLOAD_SECONDS)
        self._lease = Lease(self._mirror.bucket, f"{self.name}/lease", this_process(), self._lease_seconds)
        self._held = False
        self._repeated: list[Repeated] = []
        self._late, self._unsaved = False, False  # whether that was said

    @property
    def lost(self) -> bool:
        return self._lease.lost

    def owner(self) -> str:
        return self._lease.holder if self._local.taken else self._local.owner()

    def is_there(self) -> bool:
        return self._mirror.is_known() or self._mirror.is_there()

    def find(self) -> bool:
        if not self.is_there():
            return False
        if self._mirror.is_known():
            return True
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._local.take(0):  # a process of this machine brings it, or makes it again
            return False
        try:
            return self._mirror.bring_result()
        finally:
            self._local.release()

    def take(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        if not self._local.take(seconds):
            return False
        if self._mirror.bring_result():
            return True
        while not self._mirror.bucket.patiently(self._lease.claim):
            if time.monotonic() >= end:
                return False
            time.sleep(min(POLL, self._lease_seconds / RENEWALS))
        self._held = True
        self._repeated = [Repeated("lease", self._lease_seconds / RENEWALS, self._renew)]
        self._take_up()
        return True

    def _take_up(self) -> None:
        """With the lease: find what others made of the run since."""
        if self._mirror.bring_result():
            self._give_back()
        elif is_whole(self.folder / "result"):  # made here, and not published: the server was away
            self.publish()
        else:
            self._mirror.bring_checkpoint()
            self._repeated.append(Repeated("checkpoints", self._upload_seconds, self._upload))

    def publish(self) -> None:
        if not self._held:
            return
        try:
            self._end_uploads(CLOSING)
            self._mirror.bucket.patiently(self._lease.renew)
            self._mirror.publish()
        except LeaseLostError as error:
            self._lease.lost = True
            kept = f"its result is not published, and is kept in {self.folder}"
            raise LeaseLostError(f"{self.name}: {error}; {kept}") from error
        except UserError as error:
            kept = f"the finished run is kept in {self.folder}, and the same command uploads it"
            raise UserError(error.source, [f"{problem}; {kept}" for problem in error.problems]) from error
        self._give_back()

    def release(self) -> None:
        if self._held and not self.lost:
            try:
                if self._end_uploads(CLOSING) and not self._mirror.is_known():
                    self._mirror.upload_checkpoint(CLOSING)
            except (UserError, OSError) as error:
                warn(f"{self.name}: its last checkpoint could not be uploaded, and is kept in {self.folder}: {error}")
        if self._held:
            self._give_back()
        self._local.release()

    def _give_back(self) -> None:
        """Let others have the lease. Where the server does not hear of it, it runs out by itself."""
        for one in self._repeated:
            one.end(CLOSING)
        self._held, self._repeated = False, []
        with suppress(RefusedError, UserError):
            self._lease.release()

    def _end_uploads(self, patience: float) -> bool:
        ended = [one.end(patience) for one in self._repeated[1:]]
        return all(ended)

    # In threads of their own

    def _renew(self) -> bool:
        """Renew the lease; False where it is lost for good."""
        try:
            self._lease.renew()
            self._late = False
        except LeaseLostError as error:
            warn(f"{self.name}: {error}: this process stops at its next step, and publishes nothing")
            return False
        except UserError as error:
            if self._lease.left < 0 and not self._late:
                self._late = True
                what = "another process may take the run over; this one goes on, and publishes if none did"
                warn(f"{self.name}: the lease ran out before it was renewed: {what} ({error})")
        return True

    def _upload(self) -> bool:
        """Upload the newest checkpoint; what fails is tried again the next time."""
        try:
            self._mirror.upload_checkpoint(0.0)
            self._unsaved = False
        except AwayError:  # which the bucket has said
            pass
        except (UserError, OSError) as error:
            finished = (self.folder / "result").is_dir()  # its checkpoints go meanwhile
            if not finished and not self._unsaved:
                self._unsaved = True
                warn(f"{self.name}: a checkpoint could not be uploaded, training goes on: {error}")
        return not self.lost


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
