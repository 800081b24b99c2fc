"""The first signal is a request, the second is the end, and outside a loop signals are what they always were."""

import os
import signal
from collections.abc import Callable

import pytest

from kdcore import interrupt
from kdcore.interrupt import Interrupted, listening, requested

both = pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])


@both
def test_a_signal_within_the_block_is_a_request_and_no_more(signum: int, no_request: Callable[[], None]):
    with listening():
        assert requested() == 0
        os.kill(os.getpid(), signum)
        assert requested() == signum


@both
def test_a_second_signal_has_nothing_that_holds_it_back(signum: int, no_request: Callable[[], None]):
    with listening():
        os.kill(os.getpid(), signum)
        assert signal.getsignal(signum) == signal.SIG_DFL


@both
@pytest.mark.parametrize("asked", [False, True])
def test_after_the_block_signals_do_what_they_did_before(signum: int, asked: bool, no_request: Callable[[], None]):
    before = signal.getsignal(signum)
    with listening():
        assert signal.getsignal(signum) is interrupt._request
        if asked:
            os.kill(os.getpid(), signum)
    assert signal.getsignal(signum) is before


def test_after_a_block_that_fails_too(no_request: Callable[[], None]):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="x"), listening():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interruption_says_which_signal_it_was():
    assert (str(Interrupted(signal.SIGTERM)), Interrupted(signal.SIGTERM).signum) == ("SIGTERM", 15)
    assert (str(Interrupted(signal.SIGINT)), Interrupted(signal.SIGINT).signum) == ("SIGINT", 2)


@both
def test_outside_a_loop_a_signal_ends_the_command_at_once_and_says_what_is_kept(signum: int):
    before = signal.getsignal(signum)
    with pytest.raises(Interrupted) as stopped, interrupt.ending():
        os.kill(os.getpid(), signum)
    assert (stopped.value.signum, stopped.value.kept) == (
        signum,
        "what is finished is kept, the same command does the rest",
    )
    assert signal.getsignal(signum) is before
