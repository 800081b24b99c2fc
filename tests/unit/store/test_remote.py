"""A run in a bucket: one machine works on it, all find it finished, whole or not at all, whoever dies meanwhile."""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdcore import runs
from kdcore.artefacts import HOST, link, link_folder
from kdcore.data.batches import Batch
from kdcore.distil import extraction, shards
from kdcore.distil.signals import Live, Teaching
from kdcore.errors import LeaseLostError, UserError
from kdcore.runs import Run, open_run
from kdcore.store import bucket, objects
from kdcore.store.bucket import AwayError
from kdcore.store.lease import Lease
from tests.distilling import encoder, examples
from tests.s3 import Server
from tests.unit.store.conftest import NAME

SELF = f"process {os.getpid()} of {HOST}"
Machine = Callable[[str], Run]
Keys = Callable[[], list[str]]


def write(folder: Path) -> None:
    (folder / "model").write_text("weights")
    (folder / "notes").write_text("seconds")


def write_otherwise(folder: Path) -> None:
    (folder / "model").write_text("other weights")


def save(run: Run, step: int) -> None:
    run.save(step, lambda folder: (folder / "state.json").write_text(f'{{"step": {step}}}') and None)


def take(run: Run, seconds: float = 0) -> bool:
    assert run.held is not None
    return run.held.take(seconds)


def release(run: Run) -> None:
    assert run.held is not None
    run.held.release()


def fall_silent(run: Run) -> None:
    """Hold the run no longer than its lease says, as a machine that hangs does; what it thinks it has, it keeps."""
    for one in run.held._repeated:  # type: ignore[union-attr]
        one.end(10)


def until(done: Callable[[], bool]) -> None:
    """Wait for what the threads do."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


# Results


def test_what_one_machine_finished_another_finds_whole_and_afterwards_without_the_server(
    machine: Machine, keys: Keys, server: Server, capsys: pytest.CaptureFixture[str]
):
    first, second = machine("first"), machine("second")
    assert take(first)
    assert not first.finished
    save(first, 5)
    first.finish(write, layers=2)
    release(first)
    assert take(second)
    assert second.finished
    assert (second.result / "model").read_text() == "weights"
    assert json.loads((second.result / "manifest.json").read_text())["layers"] == 2
    assert [key for key in keys() if "/" not in key or key.startswith("checkpoints/")] == ["identity.json"]
    release(second)
    with server.away():
        again = machine("second")
        assert take(again)
        assert again.finished
    assert capsys.readouterr() == ("", "")


def test_a_run_is_opened_and_finished_by_the_same_calls_as_in_a_folder(
    url: str, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for cache in ("first", "second"):
        monkeypatch.setenv("KDCORE_CACHE", str(tmp_path / cache))
        with open_run("student", {"seed": 0}) as run:
            assert run.folder.parent == tmp_path / cache
            assert run.finished == (cache == "second")
            if not run.finished:
                run.finish(write)
        assert (run.result / "model").read_text() == "weights"


def test_a_result_is_found_wherever_it_is_and_brought_here_only_where_it_is_asked_for(
    url: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: tuple[str, dict[str, int]] = ("student", {"seed": 0})
    assert runs.result_of(*asked) is None
    assert not (tmp_path / "cache" / runs.name_of(*asked)).exists()
    with open_run(*asked) as run:
        assert runs.result_of(*asked) is None  # at work
        run.finish(write)
    monkeypatch.setenv("KDCORE_CACHE", str(tmp_path / "elsewhere"))
    assert runs.result_here(*asked) is None
    found = runs.result_of(*asked)
    assert found is not None
    assert (found / "model").read_text() == "weights"
    with server.away():
        assert runs.result_here(*asked) == found == runs.result_of(*asked)


def test_what_was_uploaded_in_part_is_no_result_and_is_made_whole(machine: Machine, server: Server, url: str):
    first, second = machine("first"), machine("second")
    first.finish(write)  # has it, and has not taken the run
    place = f"{url.rpartition('/')[2]}/{NAME}/result"
    files = objects.contents(first.result)
    for name, cut in (("model", 3), ("notes", None)):  # half of a file, and a file; no seal
        server.write(f"{place}/{files[name]['sha256']}", (first.result / name).read_bytes()[:cut])
    shutil.rmtree(first.result)
    assert take(first)
    assert not first.finished
    first.finish(write)
    release(first)
    assert take(second)
    assert second.finished
    assert (second.result / "model").read_text() == "weights"


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_object_is_named_and_made_again(
    machine: Machine, server: Server, url: str, capsys: pytest.CaptureFixture[str], damage: str
):
    first, second, third = machine("first"), machine("second"), machine("third")
    assert take(first)
    first.finish(write)
    release(first)
    sha = objects.contents(first.result)["model"]["sha256"]
    key = f"{url.rpartition('/')[2]}/{NAME}/result/{sha}"
    if damage == "missing":
        server.remove(key)
    else:
        server.write(key, b"weightz" if damage == "flipped" else b"weig")
    assert take(second)
    assert not second.finished
    said = capsys.readouterr().err
    assert said.startswith("warning: a finished run is damaged and made again: ")
    assert f"{url}/{NAME}/result: model ({sha}): " in said
    assert said.count("\n") == 1
    second.finish(write)
    release(second)
    assert server.read(key) == b"weights"
    assert take(third)
    assert third.finished
    assert capsys.readouterr().err == ""


def test_a_seal_that_leads_out_of_its_folder_writes_nothing_there(
    machine: Machine, server: Server, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    files = {"../../../escaped": {"bytes": 1, "sha256": "0" * 64}}
    server.write(f"{url.rpartition('/')[2]}/{NAME}/result/seal.json", json.dumps({"files": files}).encode())
    assert take(machine("first"))
    assert "its name leads out of its folder" in capsys.readouterr().err
    assert not list(tmp_path.rglob("escaped"))


def test_a_file_that_a_part_has_is_in_the_bucket_once_and_is_made_whole_where_it_is_damaged(
    url: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    part, whole = {"rows": [0, 2]}, {"rows": 4}

    def make() -> None:
        with open_run("targets", whole) as run:
            if not run.finished:
                with open_run("targets", part) as own:
                    model = (own.result if own.finished else own.finish(write)) / "model"
                run.finish(lambda folder: link(model, folder / "model"), [own.result])

    def on(machine: str) -> None:
        monkeypatch.setenv("KDCORE_CACHE", str(tmp_path / machine))

    on("first")
    assert not runs.is_finished("targets", part)
    make()
    content = hashlib.sha256(b"weights").hexdigest()
    (stored,) = [key for key in server.keys(f"{tmp_path.name}/") if key.endswith(content)]
    assert f"/{runs.name_of('targets', part)}/result/" in stored
    on("second")
    assert runs.is_finished("targets", part)
    assert not (tmp_path / "second" / runs.name_of("targets", part)).exists()
    found = runs.result_of("targets", whole)
    assert found is not None
    assert (found / "model").read_bytes() == b"weights"
    server.write(stored, b"weightz")
    on("third")
    make()
    assert f"model ({content}): its content is not what was written" in capsys.readouterr().err
    on("fourth")
    make()
    assert capsys.readouterr().err == ""
    assert (tmp_path / "fourth" / runs.name_of("targets", whole) / "result/model").read_bytes() == b"weights"


# Two who want it


def test_who_opens_a_run_in_other_hands_says_once_whose_and_waits(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(runs, "PATIENCE", 0.1)
    with open_run("student", {"seed": 0}) as run:
        name = run.folder.name
    other = Lease(bucket.bucket(url), f"{name}/lease", "process 7 of node3", 60)
    assert other.claim()
    threading.Timer(1, other.release).start()
    with open_run("student", {"seed": 0}) as run:
        assert not run.finished
    assert capsys.readouterr().out == (
        f"{name}: process 7 of node3 works on it; waiting until it is done, or is stopped\n"
    )


def test_of_two_claimants_one_has_the_run_and_the_other_its_last_checkpoint_afterwards(machine: Machine):
    first, second = machine("first"), machine("second")
    assert take(first)
    save(first, 7)
    assert not take(second)
    assert second.held is not None
    assert second.held.owner() == SELF
    time.sleep(3.5)  # longer than a lease, which the first renews
    assert not take(second)
    release(first)  # as SIGTERM does
    assert take(second, 10)
    found = second.restore()
    assert found is not None
    assert json.loads((found / "state.json").read_text()) == {"step": 7}


def test_who_lost_its_lease_is_told_publishes_nothing_and_keeps_what_it_has(
    machine: Machine, keys: Keys, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KDCORE_LEASE_SECONDS", "0.5")
    first, second = machine("first"), machine("second")
    assert take(first)
    save(first, 3)
    until(lambda: "checkpoints/000000003/seal.json" in keys())
    fall_silent(first)
    assert take(second, 30)
    assert not first.lost
    first.held._renew()  # type: ignore[union-attr]  # as its thread would
    assert first.lost  # which the training loop asks after every step
    assert str(first.stopped()).startswith(f"{NAME}: {SELF} has taken it over: nothing is published")
    assert f"{SELF} has taken it over: this process stops at its next step" in capsys.readouterr().err
    second.finish(write)
    release(second)
    before = keys()
    with pytest.raises(LeaseLostError) as caught:
        first.finish(write_otherwise)
    assert str(caught.value).startswith(f"{NAME}: {SELF} has taken it over; its result is not published")
    assert first.lost
    release(first)
    assert keys() == before
    assert (first.result / "model").read_text() == "other weights"
    again = machine("first")
    assert take(again)  # and has the one that all have
    assert (again.result / "model").read_text() == "weights"


def test_an_extraction_that_lost_its_lease_stops_before_its_next_batch_and_keeps_its_shards(
    machine: Machine, keys: Keys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KDCORE_LEASE_SECONDS", "0.5")
    monkeypatch.setattr(shards, "SHARD_BYTES", 6_000)
    first, second = machine("first"), machine("second")
    assert take(first)
    batches: list[int] = []
    whole = Live.at

    def at(self: Live, batch: Batch, *asked: Any, **named: Any) -> Teaching:
        if len(batches) == 3:  # while it works at the fourth, another takes the run over
            fall_silent(first)
            assert take(second, 30)
            first.held._renew()  # type: ignore[union-attr]  # as its thread would
        batches.extend(batch.rows[:1].tolist())
        return whole(self, batch, *asked, **named)

    monkeypatch.setattr(Live, "at", at)
    with pytest.raises(LeaseLostError, match=f"{SELF} has taken it over: nothing is published; what is made of it in"):
        extraction.finish(first, encoder(), examples(), "float16", (1, 2, 3, 4), 1, {})
    assert len(batches) == 4
    assert keys() == []
    assert not first.result.exists()
    markers = [json.loads(file.read_text())["rows"] for file in sorted((first.folder / "partial").glob("shard-*.json"))]
    assert markers
    assert markers[0][0] == 0
    assert markers[-1][1] <= 4  # those of the batches before


def test_two_who_publish_at_once_never_overwrite_each_other(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    """The lease runs out between the first's last look at it and its seal."""
    monkeypatch.setenv("KDCORE_LEASE_SECONDS", "0.5")
    first, second = machine("first"), machine("second")
    assert take(first)
    fall_silent(first)
    assert take(second, 30)
    second.finish(write)
    release(second)
    monkeypatch.setattr(first.held._lease, "renew", lambda: None)  # type: ignore[union-attr]
    with pytest.raises(LeaseLostError, match="another process has published its result"):
        first.finish(write_otherwise)
    third = machine("third")
    assert take(third)
    assert (third.result / "model").read_text() == "weights"


# Checkpoints


def test_the_two_newest_checkpoints_are_in_the_bucket_and_a_damaged_one_gives_way(
    machine: Machine, keys: Keys, server: Server, url: str, capsys: pytest.CaptureFixture[str]
):
    first, second = machine("first"), machine("second")
    assert take(first)
    for step in (1, 2, 3):
        save(first, step)
        until(lambda: f"checkpoints/{step:09d}/seal.json" in keys())  # noqa: B023
    until(lambda: not [key for key in keys() if key.startswith("checkpoints/000000001/")])
    release(first)
    place = f"{url.rpartition('/')[2]}/{NAME}/"
    newest = [key for key in keys() if key.startswith("checkpoints/000000003/") and not key.endswith("seal.json")]
    server.write(place + newest[0], b"{}")
    assert take(second)
    assert "checkpoint is damaged, falling back to the one before it" in capsys.readouterr().err
    found = second.restore()
    assert found is not None
    assert found.name == "000000002"


def test_an_upload_whose_checkpoints_another_has_removed_meanwhile_removes_none(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    """As where another process took the run over, and has finished it."""
    run = machine("first")
    save(run, 1)
    mirror = run.held._mirror  # type: ignore[union-attr]
    monkeypatch.setattr(mirror, "_checkpoints", lambda: {"000000002": ["tensors"]})
    removed = list[str]()
    monkeypatch.setattr(mirror, "_remove", removed.extend)
    mirror.upload_checkpoint(0.0)
    assert removed == []


def test_a_checkpoint_that_goes_as_the_run_is_finished_is_no_failed_upload(
    machine: Machine, keys: Keys, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    found = threading.Event()

    def slowly(source: Path, target: Path) -> None:
        found.set()
        until(lambda: not source.exists())
        link_folder(source, target)

    monkeypatch.setattr("kdcore.store.mirror.link_folder", slowly)
    run = machine("first")
    assert take(run)
    save(run, 1)
    assert found.wait(60)
    run.finish(write)
    assert "result/seal.json" in keys()
    assert capsys.readouterr().err == ""


def test_a_machines_own_checkpoint_is_taken_where_it_is_newer(machine: Machine):
    first, second = machine("first"), machine("second")
    assert take(first)
    save(first, 4)
    release(first)
    save(second, 9)
    assert take(second)
    found = second.restore()
    assert found is not None
    assert found.name == "000000009"


# The server away


def test_while_the_server_is_away_an_owner_goes_on_and_hears_of_it_once(
    machine: Machine, server: Server, keys: Keys, capsys: pytest.CaptureFixture[str]
):
    first, second = machine("first"), machine("second")
    assert take(first)
    with server.away():
        save(first, 1)
        time.sleep(4)  # the lease runs out, and nobody can take it
    save(first, 2)
    until(lambda: "checkpoints/000000002/seal.json" in keys())
    until(lambda: first.held._lease.left > 0)  # type: ignore[union-attr]
    assert not take(second)
    first.finish(write)
    release(first)
    assert take(second)
    assert second.finished
    said = capsys.readouterr()
    assert said.err.count("does not answer") == 2  # by itself, and as the reason of the next line
    assert said.err.count("the lease ran out before it was renewed: another process may take the run over") == 1
    assert said.out.count("answers again") == 1


def test_a_finished_run_that_finds_no_server_is_kept_and_uploaded_by_the_next_command(
    machine: Machine, server: Server, keys: Keys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(bucket, "PATIENCE", 0.3)
    first = machine("first")
    assert take(first)
    with server.away():
        with pytest.raises(UserError, match="does not answer") as caught:
            first.finish(write)
        kept = f"the finished run is kept in {tmp_path / 'first' / NAME}, and the same command uploads it"
        assert kept in str(caught.value)
        fall_silent(first)
    assert keys() == []
    release(first)
    again = machine("first")
    assert take(again)
    assert again.finished
    assert "result/seal.json" in keys()


def test_who_waits_for_a_server_waits_for_so_long_and_no_longer(
    machine: Machine, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bucket, "PATIENCE", 0.3)
    with server.away(), pytest.raises(AwayError, match=r"s3://runs/.*: does not answer"):
        take(machine("first"))
