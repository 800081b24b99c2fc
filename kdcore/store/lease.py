"""A lease: one object that says who works on a run, until when, and that only its owner can write anew in time.

Only the server's clock counts: how old the object is, is the difference of two times that the server gives.
"""

import json
import threading
import time
import uuid
from typing import Any

from kdcore.errors import LeaseLostError, UserError
from kdcore.store.bucket import Bucket, Found, RefusedError

ROUNDING = 1.0  # seconds: the server gives its times in whole ones
NEVER = '"00000000000000000000000000000000"'  # no object's version


class Lease:
    """A lease of `seconds` on the object `key`; `holder` says who has it, as far as is known.

    The object is {owner, seconds, token, beat}, with no owner when it was given back. The token tells holds apart and
    the beat renewals, so no two versions are equal, and a write that replaces one fails once there is another.
    """

    def __init__(self, bucket: Bucket, key: str, owner: str, seconds: float) -> None:
        self.bucket, self.key, self.owner, self.seconds = bucket, key, owner, seconds
        self.holder, self.lost = "another process", False
        self._token, self._beat, self._etag, self._sure = uuid.uuid4().hex, 0, "", 0.0
        self._writing = threading.Lock()

    @property
    def left(self) -> float:
        """Seconds for which nobody else can take it, as far as this process can be sure."""
        return self._sure - time.monotonic()

    def claim(self) -> bool:
        """Take it where it is free, or ran out. Raises UserError where the server cannot give out leases."""
        found = self.bucket.get(self.key)
        said = _read(found)
        try:
            if found is None:
                self._write(new=True)
            elif said.get("token") == self._token:  # written by a try whose answer was lost
                self._write(replaces=found.etag)
            elif is_held(found):
                self.holder = said["owner"]
                return False
            else:
                self._write(replaces=found.etag)
        except RefusedError:  # another was faster
            return False
        self._check_conditions()
        return True

    def renew(self) -> None:
        """Hold it for `seconds` from now, also where it ran out and nobody took it.

        Raises LeaseLostError where somebody did.
        """
        with self._writing:
            while True:
                try:
                    return self._write(replaces=self._etag)
                except RefusedError as error:
                    found = self.bucket.get(self.key)
                    said = _read(found)
                    if found is None or said.get("token") != self._token:
                        self.lost, self.holder = True, said.get("owner") or self.holder
                        raise LeaseLostError(f"{self.holder} has taken it over") from error
                    self._etag = found.etag  # ours, written by a try whose answer was lost

    def release(self) -> None:
        """Give it back. Raises RefusedError where it is another's by now."""
        with self._writing:
            self.bucket.put(self.key, self._value() | {"owner": None}, replaces=self._etag)

    def _write(self, *, replaces: str | None = None, new: bool = False) -> None:
        self._beat += 1
        asked = time.monotonic()
        self._etag = self.bucket.put(self.key, self._value(), replaces=replaces, new=new)
        self._sure = asked + self.seconds - ROUNDING

    def _value(self) -> dict[str, Any]:
        return {"owner": self.owner, "seconds": self.seconds, "token": self._token, "beat": self._beat}

    def _check_conditions(self) -> None:
        """Raises UserError where the server writes an object though the write's condition does not hold."""
        for name, condition in {"If-None-Match": {"new": True}, "If-Match": {"replaces": NEVER}}.items():
            try:
                self.bucket.put(self.key, self._value(), **condition)  # type: ignore[arg-type]
            except RefusedError:
                continue
            problem = f"the server does not heed {name}, so two processes could work on one run"
            raise UserError(self.bucket.url, f"{problem}; use one that does (AWS S3, Ceph, MinIO of 2024 and later)")


def holders(bucket: Bucket) -> dict[str, str]:
    """Run -> who works on it now."""
    keys = [name for name in bucket.sizes("") if name.endswith("/lease")]
    found = {key.removesuffix("/lease"): bucket.get(key) for key in keys}
    return {run: _read(lease)["owner"] for run, lease in found.items() if lease and is_held(lease)}


def is_held(found: Found) -> bool:
    """Whether the lease that the object says was neither given back nor ran out."""
    said = _read(found)
    return bool(said.get("owner")) and found.age <= said["seconds"] + ROUNDING


def _read(found: Found | None) -> dict[str, Any]:
    """What a lease says; nothing where there is none, or where it is no lease."""
    try:
        said = json.loads(found.content) if found else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) and isinstance(said.get("seconds"), int | float) else {}
