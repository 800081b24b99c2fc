"""A lease is one process's until it runs out; who does not hear that a write of it was done does not lose it."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from kdcore.errors import LeaseLostError, UserError
from kdcore.store.bucket import AwayError, Bucket, RefusedError
from kdcore.store.lease import Lease, holders


@pytest.fixture
def bucket(url: str) -> Bucket:
    return Bucket(url)


@pytest.fixture
def lease(bucket: Bucket) -> Callable[..., Lease]:
    """lease(owner, seconds=60): on the same object, for whoever asks."""
    return lambda owner, seconds=60.0: Lease(bucket, "run/lease", owner, seconds)


def lose_the_next_answer(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next write is done, and whoever asked for it does not hear of it."""
    put, lost = bucket.put, []

    def once(*args: Any, **named: Any) -> str:
        etag = put(*args, **named)
        if not lost:
            lost.append(etag)
            raise AwayError(bucket.url, "does not answer")
        return etag

    monkeypatch.setattr(bucket, "put", once)


def test_the_first_has_it_and_the_second_hears_who(lease: Callable[..., Lease], bucket: Bucket):
    first, second = lease("process 1 of a"), lease("process 2 of b")
    asked = time.monotonic()
    assert first.claim()
    assert not second.claim()
    assert second.holder == "process 1 of a"
    left = first.left
    assert 59 - (time.monotonic() - asked) <= left <= 59
    assert holders(bucket) == {"run": "process 1 of a"}
    first.release()
    assert holders(bucket) == {}
    assert second.claim()


def test_a_lease_that_ran_out_is_taken_and_its_old_owner_learns_it(lease: Callable[..., Lease]):
    first, second = lease("first", 0.1), lease("second")
    assert first.claim()
    time.sleep(2.2)  # its seconds, and two roundings to whole ones
    assert second.claim()
    with pytest.raises(LeaseLostError, match="second has taken it over"):
        first.renew()
    assert first.lost
    with pytest.raises(RefusedError):
        first.release()
    second.renew()


def test_a_lease_that_ran_out_and_that_nobody_took_is_renewed(lease: Callable[..., Lease]):
    first = lease("first", 1.0)
    assert first.claim()
    time.sleep(1.1)
    assert first.left < 0
    first.seconds = 60.0  # enough for the second to come in
    first.renew()
    assert not first.lost
    assert not lease("second").claim()


def test_of_two_who_take_over_at_once_one_has_it(lease: Callable[..., Lease], monkeypatch: pytest.MonkeyPatch):
    """Both have seen that it ran out before either writes."""
    first, second, third = lease("first", 0.1), lease("second"), lease("third")
    assert first.claim()
    time.sleep(2.2)
    found = third.bucket.get(third.key)
    assert second.claim()
    monkeypatch.setattr(third.bucket, "get", lambda _: found)
    assert not third.claim()


@pytest.mark.parametrize("what", ["claim", "renew"])
def test_a_write_whose_answer_is_lost_counts(
    lease: Callable[..., Lease], bucket: Bucket, monkeypatch: pytest.MonkeyPatch, what: str
):
    first = lease("first")
    if what == "renew":
        assert first.claim()
    lose_the_next_answer(bucket, monkeypatch)
    with pytest.raises(AwayError):
        getattr(first, what)()
    assert not lease("second").claim()
    assert what == "renew" or first.claim()
    first.renew()
    assert not first.lost


def test_what_is_no_lease_is_replaced(lease: Callable[..., Lease], bucket: Bucket):
    for content in ([1], {"owner": "somebody"}):
        bucket.put("run/lease", content)
        first = lease("first")
        assert first.claim()
        first.release()
    assert json.loads(bucket.get("run/lease").content)["owner"] is None  # type: ignore[union-attr]


@pytest.mark.parametrize(("condition", "header"), [("IfNoneMatch", "If-None-Match"), ("IfMatch", "If-Match")])
def test_a_server_that_does_not_heed_conditions_is_refused(
    lease: Callable[..., Lease], bucket: Bucket, monkeypatch: pytest.MonkeyPatch, condition: str, header: str
):
    """As one that does not know that header."""
    call = bucket._files.call_s3

    def without(*args: Any, **named: Any) -> Any:
        return call(*args, **{name: value for name, value in named.items() if name != condition})

    monkeypatch.setattr(bucket._files, "call_s3", without)
    with pytest.raises(UserError, match=f"the server does not heed {header}, so two processes could work on one run"):
        lease("first").claim()
