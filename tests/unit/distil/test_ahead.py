"""Batches that a thread makes ahead: the same, in the same order, with the same bits; and no thread is left."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdcore import interrupt
from kdcore.distil import ahead
from kdcore.distil.objective import Objective
from kdcore.distil.signals import Stored
from kdcore.distil.training import Trainer
from kdcore.errors import UserError
from tests.distilling import encoder, examples, phases_of, stored, trainer, weights

ROWS = 24


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("depth", [0, 1, 3, 50])
def test_every_item_is_made_once_and_in_order(depth: int):
    made: list[int] = []

    def make(item: int) -> int:
        made.append(item)
        return 10 * item

    assert list(ahead.ahead(make, range(20), depth)) == [10 * item for item in range(20)]
    assert made == list(range(20))


def test_no_more_is_made_than_was_asked_for():
    made: list[int] = []
    with closing(ahead.ahead(made.append, range(20), 3)) as coming:
        for _ in range(2):
            next(coming)
    assert made == [0, 1, 2, 3, 4][: len(made)]  # the second, and at most three after it
    assert len(made) >= 2


def test_without_depth_nothing_is_made_before_its_turn():
    made: list[int] = []
    coming = ahead.ahead(made.append, range(20), 0)
    next(coming)
    assert made == [0]


def test_an_error_comes_in_its_turn():
    def make(item: int) -> int:
        if item == 2:
            raise UserError("attention-00000.npy", "is gone")
        return item

    coming = ahead.ahead(make, range(20), 5)
    assert [next(coming), next(coming)] == [0, 1]
    with pytest.raises(UserError, match=r"attention-00000\.npy: is gone"):
        next(coming)


def test_a_gpu_is_fed_ahead_and_a_cpu_is_not():
    assert (ahead.depth(torch.device("cuda", 1)), ahead.depth(torch.device("cpu"))) == (ahead.DEPTH, 0)


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return stored(encoder(seed=1), examples(rows=ROWS), tmp_path_factory.mktemp("signals"), dtype="float16")


def loop(signals: Stored, folder: Path, depth: int, method: str = "sid", **knobs: Any) -> Trainer:
    what = Objective(signals, (2, 4), {"kl": 1.0, "cos": 1.0}, hard_label_weight=0.5)
    made = trainer(encoder(layers=2), examples(rows=ROWS), phases_of(method), what, folder, accumulate=2, **knobs)
    made.ahead = depth
    return made


def trained(*args: Any, **knobs: Any) -> tuple[dict[str, Tensor], list[Any]]:
    made = loop(*args, **knobs)
    history = made.train().history
    return weights(made.encoder), history


@pytest.mark.parametrize("method", ["sid", "all"])
def test_a_thread_changes_no_bit(signals: Stored, tmp_path: Path, method: str):
    (one, history), (other, same) = (trained(signals, tmp_path / str(depth), depth, method) for depth in (0, 2))
    assert history == same
    assert all(torch.equal(values, other[name]) for name, values in one.items())


def test_all_that_is_stored_is_read_by_the_thread(signals: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names, read = set[str](), Stored.at

    def at(*args: Any, **kwargs: Any) -> Any:
        names.add(threading.current_thread().name)
        return read(*args, **kwargs)

    monkeypatch.setattr(Stored, "at", at)
    loop(signals, tmp_path, 2).train()
    assert names == {"ahead_0"}


def test_the_teacher_itself_runs_in_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where its maps are not stored: what a thread computes beside the loop would draw on the loop's own device."""
    found = stored(encoder(seed=1), examples(rows=ROWS), tmp_path, attention=False)
    assert not found.are_stored([2])
    assert found.are_stored([])
    assert trained(found, tmp_path / "ahead", 2)[1] == trained(found, tmp_path / "inline", 0)[1]


@pytest.mark.parametrize("step", [1, 2, 5])
def test_a_run_that_was_stopped_goes_on_with_the_same_bits(
    signals: Stored, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch, no_request: Callable[[], None]
):
    """By a real SIGTERM, while the thread has read what comes next."""
    expected = trained(signals, tmp_path / "whole", 0)
    stopped = loop(signals, tmp_path / "run", 2)
    rate = stopped._rate

    def stops(*args: Any) -> float:
        if stopped.position.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return rate(*args)

    monkeypatch.setattr(stopped, "_rate", stops)
    with pytest.raises(interrupt.Interrupted):
        stopped.train()
    no_request()
    assert stopped.position.step == step + 1
    went_on = trained(signals, tmp_path / "run", 2)
    assert went_on[1] == expected[1]
    assert all(torch.equal(values, expected[0][name]) for name, values in went_on[0].items())


def test_a_file_that_can_not_be_read_ends_the_loop(signals: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def at(*_: Any, **__: Any) -> Any:
        raise UserError("signals", "are gone")

    monkeypatch.setattr(Stored, "at", at)
    with pytest.raises(UserError, match="signals: are gone"):
        loop(signals, tmp_path, 2).train()
