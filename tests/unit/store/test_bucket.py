"""Every way in which a bucket can't be used is one message that says what to do; one that is away is asked again."""

import os
import socket
import threading
from pathlib import Path

import pytest

from kdcore.errors import UserError
from kdcore.store import bucket as module
from kdcore.store.bucket import AwayError, Bucket
from kdcore.store.remote import seconds
from tests.s3 import Server


@pytest.mark.parametrize("url", ["gs://runs/a", "S3://runs", "s3://", "s3:///a", "file:///tmp/runs", "://"])
def test_a_place_that_is_no_bucket_is_refused(url: str):
    with pytest.raises(UserError) as caught:
        Bucket(url)
    assert str(caught.value) == f"KDCORE_WORK: must be a folder, or s3://BUCKET/PREFIX, found {url!r}"


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"s3://runs/a needs s3fs; `pip install 'kdcore\[s3\]'` has it"):
        Bucket("s3://runs/a")


def test_a_bucket_that_is_not_there_is_named(url: str):
    other, said = Bucket("s3://no-such-bucket/a"), "there is no such bucket; make it, or name another in KDCORE_WORK"
    for ask in (lambda: other.get("x"), lambda: other.put("x", 1), lambda: other.sizes("x")):
        with pytest.raises(UserError, match=f"s3://no-such-bucket/a: {said}"):
            ask()


def test_credentials_that_are_missing_are_asked_for(url: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(UserError, match=r"no credentials are found .*; set AWS_ACCESS_KEY_ID and AWS_SECRET"):
        Bucket(url).get("x")


def test_an_address_that_is_none_is_said(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    with pytest.raises(UserError, match="Invalid endpoint: nonsense; the AWS_ variables say where the server is"):
        Bucket(url).get("x")


def answering(status: int, code: str, port: list[int]) -> threading.Thread:
    """A server that gives one request that answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    port.append(listener.getsockname()[1])
    body = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()
    head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()

    def answer() -> None:
        connection, _ = listener.accept()
        with listener, connection:
            connection.recv(65536)
            connection.sendall(head + body)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("status", "code", "away", "said"),
    [
        (503, "SlowDown", True, "asks to come again (SlowDown: so it is)"),
        (500, "InternalError", True, "asks to come again (InternalError: so it is)"),
        (403, "InvalidAccessKeyId", False, "the server refuses: so it is (InvalidAccessKeyId)"),
        (403, "AccessDenied", False, "the server refuses: so it is (AccessDenied)"),
        (400, "ExpiredToken", False, "the server refuses: so it is (ExpiredToken)"),
    ],
)
def test_a_server_that_is_overloaded_is_asked_again_and_one_that_refuses_is_not(
    url: str, monkeypatch: pytest.MonkeyPatch, status: int, code: str, away: bool, said: str
):
    port: list[int] = []
    thread = answering(status, code, port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port[0]}")
    with pytest.raises(UserError) as caught:
        Bucket(url).get("x")
    thread.join()
    assert isinstance(caught.value, AwayError) == away
    assert str(caught.value) == f"{url}: {said}"


def test_a_server_that_takes_a_connection_and_never_answers_is_away(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(AwayError, match="does not answer"):
            Bucket(url).get("x")


def test_a_server_that_comes_back_is_asked_again_until_then_and_both_are_said_once(
    url: str, server: Server, capsys: pytest.CaptureFixture[str]
):
    found = Bucket(url)
    found.put("x", [1])
    server.stop()
    threading.Timer(1.0, server.start).start()
    got = found.patiently(found.get, "x")
    assert got is not None
    assert got.content == b"[\n  1\n]"
    said = capsys.readouterr()
    assert said.err.count("does not answer") == 1
    assert said.out == f"{url}: answers again\n"


def test_a_file_comes_back_as_it_was(url: str, tmp_path: Path):
    content = os.urandom(2**20)
    (tmp_path / "there").write_bytes(content)
    found = Bucket(url)
    found.upload(tmp_path / "there", "run/file")
    assert found.sizes("run") == {"file": len(content)}
    found.download("run/file", tmp_path / "deep/back")
    assert (tmp_path / "deep/back").read_bytes() == content


def test_what_is_wrong_with_this_machines_disk_is_said_of_it(url: str, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="absent"):
        Bucket(url).upload(tmp_path / "absent", "run/file")


@pytest.mark.parametrize("said", ["0", "-1", "soon", "nan", "inf"])
def test_seconds_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, said: str):
    monkeypatch.setenv("KDCORE_LEASE_SECONDS", said)
    with pytest.raises(UserError) as caught:
        seconds("KDCORE_LEASE_SECONDS", 120)
    assert str(caught.value) == f"KDCORE_LEASE_SECONDS: must be a number of seconds greater than 0, found {said!r}"


def test_seconds_that_nobody_said_are_the_usual(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KDCORE_LEASE_SECONDS", "")
    assert seconds("KDCORE_LEASE_SECONDS", 120) == 120
