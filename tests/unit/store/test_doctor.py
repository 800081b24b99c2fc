"""`kdcore doctor` says what the store is, and ends with an error where it can't be used or shared."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcore.artefacts import HOST
from kdcore.errors import UserError
from kdcore.runs import Run, open_run
from kdcore.store import doctor
from kdcore.store.doctor import examine
from kdcore.store.locks import Locks

ROOT = Path(__file__).parents[3]
SELF = f"process {os.getpid()} of {HOST}"


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kdcore", "doctor"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_it_says_where_a_folder_is_what_locks_it_has_and_who_holds_what(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "locks_of", lambda _: Locks(True, "ext4, this machine's own disk"))
    for seed in (0, 1):
        with open_run("student", {"seed": seed}) as other:
            other.finish(lambda folder: (folder / "model").write_text("weights") and None)
    with open_run("student", {"seed": 2}) as held:
        lines = list(examine())
    assert lines[0].startswith("kdcore      ")
    assert "torch 2." in lines[1]
    assert lines[2].startswith(f"store       {store}, ")
    assert lines[2].endswith(" GB free")
    assert lines[3] == "locks       can be trusted (ext4, this machine's own disk)"
    assert lines[4] == f"runs here   2 finished, 1 worked on:\n            {held.folder.name}: {SELF}"
    assert not list(store.glob(".doctor*"))


def test_a_folder_whose_locks_are_only_local_is_an_error_and_one_not_known_is_to_be_tried(
    store: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doctor, "locks_of", lambda _: Locks(False, "nfs, mounted with nolock"))
    with pytest.raises(UserError, match=r"locks hold on this machine only, .* \(nfs, mounted with nolock\)"):
        list(examine())
    monkeypatch.setattr(doctor, "locks_of", lambda _: Locks(None, "virtiofs: whether"))
    assert "between machines unknown; try it: `flock FILE sleep 60` on one machine" in "\n".join(examine())


def test_a_file_system_that_gives_one_lock_to_two_is_found(store: Path, monkeypatch: pytest.MonkeyPatch):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(UserError, match="gives one lock to two; set KDCORE_WORK to another"):
        list(examine())


def test_it_says_of_a_bucket_where_it_is_that_leases_hold_and_who_has_them(machine: Callable[[str], Run], url: str):
    first = machine("first")
    assert first.held is not None
    assert first.held.take(0)
    said = run()
    assert (said.returncode, said.stderr) == (0, "")
    assert f"store       {url}, a bucket at {os.environ['AWS_ENDPOINT_URL']}\n" in said.stdout
    assert "leases      can be trusted: the server heeds the conditions of writes" in said.stdout
    assert f"runs        0 finished, 1 worked on:\n            student-0: {SELF}\n" in said.stdout
    assert f"cache       {os.environ['KDCORE_CACHE']}, " in said.stdout


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"KDCORE_WORK": "gs://runs"}, "KDCORE_WORK: must be a folder, or s3://BUCKET/PREFIX, found 'gs://runs'\n"),
        ({"KDCORE_WORK": "s3://absent"}, "s3://absent: there is no such bucket; make it, or name another in "),
        ({"AWS_ACCESS_KEY_ID": ""}, "no credentials are found"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_one_message_and_exit_code_2(url: str, environment: dict[str, str], said: str):
    found = run(**environment)
    assert found.returncode == 2
    assert said in found.stderr
    assert found.stderr.count("\n") == 1
