"""What every test may ask for: tiny models, folders and texts; what none gets: a network, more threads."""

import os

# Read once, when Python or a library starts; commands that tests start inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of some hundred commands compiles kdcore anew

import ipaddress
import socket
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import tiny

hypothesis.settings.register_profile("any machine", deadline=None)  # one that is busy may take its time
hypothesis.settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests that import torch compute on one thread, also after a test that asked for more."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to another machine fails by name; Unix sockets and this machine itself are allowed."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_own(address[0]):
            raise ConnectionRefusedError(f"tests have no network, and this one asks for {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _is_own(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Callable[..., Any]:
    """tiny_tokenizer(family="bert"): a WordPiece tokenizer whose special tokens suit the family."""
    return tiny.tokenizer


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """tiny_model(family="bert", layers=4, labels=2, seed=0): a new random-weight classifier, in eval mode."""
    return tiny.model


@pytest.fixture(scope="session")
def tiny_texts() -> Callable[..., Any]:
    """tiny_texts(rows=64, pairs=False, labels=2, seed=0): a frame of labelled sentences or pairs."""
    return tiny.texts


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """tiny_folder(family="bert", layers=4, seed=0): encoder and tokenizer, saved once. Read only."""

    @cache
    def saved(family: str = "bert", layers: int = 4, seed: int = 0) -> Path:
        return tiny.save_pretrained(tmp_path_factory.mktemp(family), family, layers, seed)

    return saved


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """tiny_classifier(family="bert", layers=4, labels=("bad", "good"), seed=0): saved once. Read only."""

    @cache
    def saved(family: str = "bert", layers: int = 4, labels: tuple[str, ...] = ("bad", "good"), seed: int = 0) -> Path:
        return tiny.save_finetuned(tmp_path_factory.mktemp(family), family, layers, labels, seed)

    return saved
