"""Runs are named by what determines them, held by one process, and come back from their newest whole checkpoint."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kdcore import artefacts, runs
from kdcore.artefacts import HOST
from kdcore.distil import checkpoint
from kdcore.runs import Run, open_run
from kdcore.store import local

ROOT = Path(__file__).parents[2]
HOLDS = """
import sys
from kdcore.runs import open_run
with open_run("student", {"seed": 0}) as run:
    print(run.folder, flush=True)
    sys.stdin.read()
"""


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((8, 8), float(step)), "random": torch.arange(16, dtype=torch.uint8)}


def save(run: Run, step: int, values: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    run.save(step, lambda folder: checkpoint.write(folder, values, state))


def restore(run: Run) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    found = run.restore()
    return None if found is None else checkpoint.read(found)


def checkpoints(run: Run) -> list[str]:
    return sorted(path.name for path in (run.folder / "checkpoints").iterdir())


# Names


def test_a_run_is_named_by_its_kind_and_by_all_that_determines_it(store: Path):
    identities: list[dict[str, Any]] = [{"seed": 0}, {"seed": 1}, {"seed": 0, "rows": None}]
    names = []
    for kind in ("student", "teacher"):
        for identity in identities:
            with open_run(kind, identity) as run:
                names.append(run.folder)
    assert len(set(names)) == 6
    with open_run("student", {"rows": None, "seed": 0}) as run:
        assert run.folder == names[2]
    assert all(name.parent == store for name in names)


def test_a_run_says_what_determines_it(store: Path):
    with open_run("student", {"seed": 0, "layer_map": (2, 4)}) as run:
        assert json.loads((run.folder / "identity.json").read_text()) == {"seed": 0, "layer_map": [2, 4]}


def test_the_store_is_in_the_project_and_shared_by_dvcs_other_workspaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDCORE_WORK", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert artefacts.store() == Path("work")
    assert (tmp_path / "work").is_dir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    assert artefacts.store() == tmp_path / "project/work"
    monkeypatch.setenv("KDCORE_WORK", str(tmp_path / "elsewhere"))
    assert artefacts.store() == tmp_path / "elsewhere"


def test_a_run_is_opened_without_torch(store: Path):
    code = "import sys, kdcore.runs\nwith kdcore.runs.open_run('student', {}) as run: assert not run.finished\n"
    code += "print(sorted({'torch', 'safetensors', 'numpy', 'pandas'} & {*sys.modules}))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


# One process at a time


@pytest.fixture
def owner(store: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the run {"seed": 0}."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(str(store))
    yield process
    process.kill()
    process.communicate()


def test_a_run_in_other_hands_is_waited_for_and_the_wait_says_once_whose(
    owner: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(runs, "PATIENCE", 0.1)
    with open_run("student", {"seed": 1}) as other:
        assert not other.finished
    assert capsys.readouterr().out == ""
    threading.Timer(0.5, owner.kill).start()
    with open_run("student", {"seed": 0}) as run:
        assert owner.wait(timeout=600) == -signal.SIGKILL
        assert (run.folder / "owner").read_text() == f"process {os.getpid()} of {HOST}"
    said = f"process {owner.pid} of {HOST} works on it; waiting until it is done, or is stopped"
    assert capsys.readouterr().out == f"{run.folder.name}: {said}\n"


def test_who_waits_finds_the_run_finished(store: Path, monkeypatch: pytest.MonkeyPatch):
    """Two threads of this process stand for two processes: the lock is of the file."""
    monkeypatch.setattr(runs, "PATIENCE", 0.1)
    written = []

    def slowly(folder: Path) -> None:
        time.sleep(0.3)
        written.append(folder)

    def work() -> None:
        with open_run("student", {"seed": 0}) as run:
            if not run.finished:
                run.finish(slowly)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    assert len(written) == 1


def test_a_run_is_free_again_after_it_failed(store: Path):
    def fails() -> None:
        with open_run("student", {"seed": 0}):
            raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011  (it is raised three lines above)
            fails()


# What the disk refuses


def test_what_the_disk_refuses_within_a_run_is_said_of_its_folder(store: Path):
    def fails(error: Exception) -> None:
        with open_run("student", {"seed": 0}):
            raise error

    for error in (OSError(28, "No space left on device"), RuntimeError("I/O error (os error 28)")):
        with pytest.raises(OSError, match="No space left on device") as caught:
            fails(error)
        assert caught.value.filename == str(next(store.iterdir()))
    with pytest.raises(FileNotFoundError) as caught:
        fails(FileNotFoundError(2, "No such file or directory", "a/model"))
    assert caught.value.filename == "a/model"


def test_an_owner_that_cannot_be_written_down_frees_the_run(store: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(local, "write_bytes", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*student-"), open_run("student", {"seed": 0}):
            pytest.fail("the run was opened")
    with open_run("student", {"seed": 0}) as run:
        assert (run.folder / "owner").read_text() == f"process {os.getpid()} of {HOST}"


# Checkpoints


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "student-0")


def test_a_run_comes_back_to_its_newest_checkpoint_bit_by_bit(run: Run):
    values = {"weight": torch.randn(7, 5), "step": torch.tensor(3.0), "random": torch.get_rng_state()}
    state = {"position": {"step": 3}, "record": {"sums": {"hard_labels": 0.1 + 0.2, "tiny": 5e-324}}}
    save(run, 2, tensors(2), {})
    save(run, 3, values, state)
    found = restore(run)
    assert found is not None
    assert found[1] == state
    assert set(found[0]) == set(values)
    assert all(
        torch.equal(value, found[0][name]) and value.dtype == found[0][name].dtype for name, value in values.items()
    )


def test_a_new_run_has_no_checkpoint(run: Run):
    assert restore(run) is None
    assert not run.finished


def test_the_two_newest_checkpoints_are_kept(run: Run):
    for step in (5, 10, 99, 100, 1000):
        save(run, step, tensors(step), {})
    assert checkpoints(run) == ["000000100", "000001000"]


def test_a_checkpoint_that_fails_leaves_the_ones_before_it(run: Run, monkeypatch: pytest.MonkeyPatch):
    save(run, 1, tensors(1), {"n": 1})
    save(run, 2, tensors(2), {"n": 2})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        save(run, 3, tensors(3), {"n": 3})
    assert checkpoints(run) == ["000000001", "000000002"]
    found = restore(run)
    assert found is not None
    assert found[1] == {"n": 2}


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 4
    file.write_bytes(raw)


@pytest.mark.parametrize("damage", [half, flip, Path.unlink, lambda file: file.write_bytes(b"")])
@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it_and_says_so(
    run: Run, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], file: str
):
    save(run, 1, tensors(1), {"n": 1})
    save(run, 2, tensors(2), {"n": 2})
    damage(run.folder / "checkpoints/000000002" / file)
    found = restore(run)
    assert found is not None
    assert found[1] == {"n": 1}
    assert torch.equal(found[0]["weight"], tensors(1)["weight"])
    said = capsys.readouterr().err
    assert said.startswith("warning: checkpoint is damaged, falling back to the one before it: ")
    assert "000000002" in said
    assert file in said
    assert checkpoints(run) == ["000000001"]


def test_where_every_checkpoint_is_damaged_the_run_starts_over_and_says_so_of_each(
    run: Run, capsys: pytest.CaptureFixture[str]
):
    for step in (1, 2):
        save(run, step, tensors(step), {})
        half(run.folder / f"checkpoints/{step:09d}/tensors.safetensors")
    assert restore(run) is None
    assert capsys.readouterr().err.count("checkpoint is damaged") == 2


def test_what_a_killed_process_left_half_written_is_no_checkpoint(run: Run):
    save(run, 1, tensors(1), {"n": 1})
    aside = run.folder / "checkpoints/.000000002.4711"
    aside.mkdir()
    (aside / "tensors.safetensors").write_bytes(b"half")
    found = restore(run)
    assert found is not None
    assert found[1] == {"n": 1}


# Results


def write(folder: Path) -> None:
    (folder / "model").write_text("weights")


def test_a_finished_run_has_its_result_sealed_and_no_checkpoints(run: Run):
    save(run, 1, tensors(1), {})
    assert run.finish(write, layers=2) == run.result
    assert run.finished
    assert json.loads((run.result / "manifest.json").read_text())["layers"] == 2
    assert not (run.folder / "checkpoints").exists()


def test_a_run_whose_result_cannot_be_written_is_not_finished_and_keeps_its_checkpoints(run: Run):
    save(run, 1, tensors(1), {})

    def fails(folder: Path) -> None:
        write(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run.finish(fails)
    assert not run.finished
    assert restore(run) is not None


def test_a_damaged_result_is_named_and_dropped_so_that_it_is_made_again(run: Run, capsys: pytest.CaptureFixture[str]):
    run.finish(write)
    (run.result / "model").write_text("weighty")
    assert not run.finished
    assert not run.result.exists()
    said = capsys.readouterr().err
    assert said.startswith("warning: a finished run is damaged and made again: ")
    assert "model: its content is not what was written" in said
