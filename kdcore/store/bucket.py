"""A bucket of an S3 server: objects by key, read and written, also on conditions; and who answers, and who does not.

Credentials, region and endpoint are those of AWS's own variables and files: AWS_ENDPOINT_URL, AWS_PROFILE, …
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from kdcore.console import say, warn
from kdcore.errors import UserError, one_line, shown

PATIENCE = 300.0  # seconds that a server may be away before a command gives up
TIMEOUT = 20.0  # seconds for it to take a connection, or to go on with an answer
SLOW_DOWN = ("SlowDown", "RequestTimeout", "RequestLimitExceeded", "Throttling")

T = TypeVar("T")


class AwayError(UserError):
    """The server does not answer, or asks to come again."""


class RefusedError(Exception):
    """The condition of a write does not hold."""


@dataclass(frozen=True)
class Found:
    """An object: its content, its version, and the seconds since it was written, both times being the server's."""

    content: bytes
    etag: str
    age: float


class Bucket:
    """The objects below s3://BUCKET/PREFIX. Keys are below that prefix.

    All may raise AwayError, and UserError where the server refuses for good: no such bucket, no permission.
    """

    def __init__(self, url: str) -> None:
        scheme, _, place = url.partition("://")
        self.name, _, self.prefix = place.rstrip("/").partition("/")
        if scheme != "s3" or not self.name:
            raise UserError("KDCORE_WORK", f"must be a folder, or s3://BUCKET/PREFIX, found {shown(url)}")
        if find_spec("s3fs") is None:
            raise UserError("KDCORE_WORK", f"{url} needs s3fs; `pip install 'kdcore[s3]'` has it")
        self.url, self._away, self._noting = url.rstrip("/"), False, threading.Lock()

    @cached_property
    def _files(self) -> Any:
        from s3fs import S3FileSystem

        once = {"connect_timeout": TIMEOUT, "read_timeout": TIMEOUT, "retries": {"total_max_attempts": 1}}
        files = S3FileSystem(skip_instance_cache=True, use_listings_cache=False, config_kwargs=once)
        files.retries = 1  # we ask again ourselves, and say so
        return files

    @property
    def endpoint(self) -> str:
        """The server's address."""
        return str(self._asked(lambda: self._files.s3.meta.endpoint_url))

    def get(self, key: str) -> Found | None:
        """The object with that key, where there is one."""
        from fsspec.asyn import sync

        async def read() -> tuple[Mapping[str, Any], bytes]:
            answer = await self._files._call_s3("get_object", **self._at(key))
            return answer, await answer["Body"].read()

        try:
            answer, content = self._asked(sync, self._files.loop, read)
        except FileNotFoundError:
            return None
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return Found(content, answer["ETag"], (now - answer["LastModified"]).total_seconds())

    def put(self, key: str, value: Any, *, replaces: str | None = None, new: bool = False) -> str:
        """Write a value as JSON; returns its version.

        replaces: the version that must be there; new: nothing must be there. Raises RefusedError where it is not so.
        """
        condition = ({"IfMatch": replaces} if replaces else {}) | ({"IfNoneMatch": "*"} if new else {})
        content = json.dumps(value, indent=2, ensure_ascii=False).encode()
        try:
            return self._asked(self._files.call_s3, "put_object", Body=content, **self._at(key), **condition)["ETag"]
        except FileNotFoundError as error:  # what it was to replace is gone
            raise RefusedError(key) from error

    def sizes(self, folder: str) -> dict[str, int]:
        """The bytes of every object below a key that ends with a slash, by the rest of its key."""
        start = f"{self._full(folder)}/"
        found = self._asked(self._files.find, start, detail=True)
        return {name.removeprefix(start): facts["size"] for name, facts in found.items()}

    def upload(self, file: Path, key: str) -> None:
        self._asked(self._files.put_file, str(file), self._full(key))

    def download(self, key: str, file: Path) -> None:
        """Raises FileNotFoundError where there is no such object."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._asked(self._files.get_file, self._full(key), str(file))

    def remove(self, keys: list[str]) -> None:
        if keys:
            self._asked(self._files.rm, [self._full(key) for key in keys])

    def patiently(self, call: Callable[..., T], *args: Any, patience: float | None = None, **named: Any) -> T:
        """What the call gives. Where the server is away it is asked again, for so long (PATIENCE) before AwayError."""
        end, pause = time.monotonic() + (PATIENCE if patience is None else patience), 0.2
        while True:
            try:
                return call(*args, **named)
            except AwayError:
                if time.monotonic() >= end:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _full(self, key: str) -> str:
        return "/".join(filter(None, (self.name, self.prefix, key.strip("/"))))

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": self._full(key).partition("/")[2]}

    def _asked(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Ask once. That the server is away, and that it is back, is said once."""
        try:
            answer = call(*args, **named)
        except Exception as error:
            found = _as_ours(error, self.url)
            self._note(found if isinstance(found, AwayError) else None)
            raise found from error
        self._note(None)
        return answer

    def _note(self, away: AwayError | None) -> None:
        with self._noting:
            if away and not self._away:
                warn(f"{away}; it is asked again, and what needs no store goes on")
            if self._away and not away:
                say(f"{self.url}: answers again")
            self._away = away is not None


@cache
def bucket(url: str) -> Bucket:
    """The bucket of this process with that URL."""
    return Bucket(url)


def _as_ours(error: Exception, url: str) -> Exception:
    """What an error of s3fs, or of a library below it, means; what it does not know stays as it is."""
    import asyncio

    from botocore import exceptions
    from fsspec.exceptions import FSTimeoutError

    answer = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if answer:
        return _refusal(answer, url)
    credentials = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)
    if isinstance(error, credentials):
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        return UserError(url, f"no credentials are found ({error}); {advice}")
    network = (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.ResponseStreamingError)
    timeouts = (asyncio.TimeoutError, FSTimeoutError, ConnectionError, TimeoutError, exceptions.IncompleteReadError)
    if isinstance(error, (*network, *timeouts)) or type(error).__module__.startswith("aiohttp"):
        return AwayError(url, f"does not answer ({one_line(error) or type(error).__name__})")
    if isinstance(error, exceptions.BotoCoreError | ValueError):
        return UserError(url, f"{error}; the AWS_ variables say where the server is, and who asks")
    return error


def _refusal(answer: Mapping[str, Any], url: str) -> Exception:
    """What an answer that is an error means."""
    code, text = str(answer["Error"].get("Code")), answer["Error"].get("Message", "")
    status = answer["ResponseMetadata"].get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return UserError(url, "there is no such bucket; make it, or name another in KDCORE_WORK")
    if status == 404:
        return FileNotFoundError(text)
    if status in (409, 412):
        return RefusedError(text)
    if status >= 500 or status == 429 or code in SLOW_DOWN:
        return AwayError(url, f"asks to come again ({code}: {text})")
    return UserError(url, f"the server refuses: {text} ({code})")
