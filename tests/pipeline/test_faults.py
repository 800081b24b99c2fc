"""What the machine refuses, by real means: each command ends in one line, leaves nothing half-written, and goes on."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file

from kdcore.artefacts import open_sealed
from tests.namespaces import Disk
from tests.pipeline.conftest import TASK, Project

AGAIN = "then run the same command again: what is finished is kept"
FOLDERS = (f"data/{TASK}", f"runs/teacher/{TASK}", f"runs/targets/{TASK}")
KB = 1024
# What notes the time that a run took, and so differs between two of them.
TIMED = {"run.json", "manifest.json"}


@dataclass(frozen=True)
class Stage:
    """One command of the pipeline: its words but the last, what it leaves in the finished project, its run's kind."""

    words: tuple[str, ...]
    leaves: str
    run: str = ""

    def command(self, out: Path) -> tuple[str, ...]:
        points = (str(out.with_suffix(".json")),) if self.words[0] == "teacher" else ()
        return ("python", "-m", "kdcore", *self.words, str(out), *points)


STAGES = {
    "prepare": Stage(("prepare", TASK), FOLDERS[0]),
    "teacher": Stage(("teacher", TASK, "0", FOLDERS[0]), f"{FOLDERS[1]}/s0", "teacher"),
    "targets": Stage(("targets", TASK, FOLDERS[0], f"{FOLDERS[1]}/s0"), f"{FOLDERS[2]}/s0", "targets"),
    "student": Stage(("student", TASK, "sid", "0", *FOLDERS), f"runs/student/{TASK}/sid-s0", "student"),
}
# Bytes that are free when the disk is as good as full: enough to begin, and too few to end.
FREE = {"prepare": 4 * KB, "teacher": 1500 * KB, "student": 500 * KB}


@pytest.fixture(scope="module")
def eager(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished project that writes a checkpoint after every step, and must store attention maps."""
    project = finished.copy(tmp_path_factory.mktemp("eager"))
    project.edit({"train.checkpoint_seconds": 0, "targets.store": "disk"})
    return project


@pytest.fixture
def disk(eager: Project, tmp_path: Path) -> Iterator[Disk]:
    """An empty disk of 16 MB, which is gone after the test."""
    made = Disk(tmp_path, 16, eager.root)
    yield made
    made.end()


@pytest.fixture
def begin(eager: Project, disk: Disk) -> Callable[[Stage], subprocess.CompletedProcess[str]]:
    """begin(stage, out): run its command with its store, and its out unless that is elsewhere, on the disk."""

    def run(stage: Stage, out: Path = disk.folder / "out") -> subprocess.CompletedProcess[str]:
        words = disk.command(*stage.command(out))
        return eager.run(*words, check=False, KDCORE_WORK=str(disk.folder / "work"))

    return run


def refusal(found: subprocess.CompletedProcess[str]) -> str:
    """The one line with which the command refused."""
    assert found.returncode == 2, found.stderr
    assert len(found.stderr.splitlines()) == 1, found.stderr
    return found.stderr.strip()


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in TIMED
    }


def half_written(disk: Disk) -> list[str]:
    """Names aside, and the out, of which nothing may be there."""
    return [name for name in disk.files() if "/." in f"/{name}" or name.startswith("out")]


def maps_of(finished: Project) -> int:
    """The bytes of the attention maps of the training rows."""
    return sum(file.stat().st_size for file in (finished.root / FOLDERS[2] / "s0/train").glob("attention-*.npy"))


# A full disk


@pytest.mark.parametrize("name", STAGES)
def test_a_full_disk_stops_a_command_in_one_line_and_with_room_it_ends_with_the_same_bits(
    finished: Project, disk: Disk, begin: Callable[..., subprocess.CompletedProcess[str]], name: str
):
    stage = STAGES[name]
    disk.fill(FREE.get(name) or maps_of(finished) + 8 * KB)
    said = refusal(begin(stage))
    where = f"{disk.folder}/work/{stage.run}-" if stage.run else f"{disk.folder}/out: "
    assert said.startswith(where), said
    assert said.endswith(f"No space left on device; make room on that disk, {AGAIN}"), said
    assert half_written(disk) == []
    kept = sorted(disk.inside.glob("work/*/checkpoints/*"))
    for checkpoint in kept:
        open_sealed(checkpoint, "-")

    disk.make_room()
    again = begin(stage)
    assert again.returncode == 0, again.stderr
    assert ("goes on at epoch" in again.stdout) == bool(kept)
    assert bool(kept) == (name in ("teacher", "student"))
    assert content(disk.inside / "out") == content(finished.root / stage.leaves)


def test_signals_that_find_no_room_are_refused_before_one_is_written(
    finished: Project, disk: Disk, begin: Callable[..., subprocess.CompletedProcess[str]]
):
    disk.fill(maps_of(finished) // 2)
    said = refusal(begin(STAGES["targets"]))
    assert re.fullmatch(
        r"params\.yaml: targets\.store: disk needs [\d.]+ kB for the attention maps, and [\d.]+ [kM]B are free; "
        r"use live, or fewer rows",
        said,
    )
    assert not [name for name in disk.files() if "targets" in name]


def test_a_file_that_may_grow_no_further_is_named_with_the_limit(eager: Project, tmp_path: Path):
    limited = ("prlimit", f"--fsize={2 * KB}", "--", *STAGES["prepare"].command(tmp_path / "out"))
    said = refusal(eager.run(*limited, check=False))
    assert said == f"{tmp_path}/out: File too large; allow larger files (`ulimit -f`, or another file system), {AGAIN}"
    assert list(tmp_path.iterdir()) == []


# No permission


@pytest.mark.parametrize("place", ["out", "work"])
def test_a_read_only_disk_is_named(
    eager: Project, disk: Disk, begin: Callable[..., subprocess.CompletedProcess[str]], place: str
):
    disk.read_only()
    elsewhere = {"work": (eager.root / "elsewhere",)}
    said = refusal(begin(STAGES["student"], *elsewhere.get(place, ())))
    assert said.startswith(f"{disk.folder}/{place}: ")
    assert said.endswith(f"Read-only file system; make it writable, or work in another folder, {AGAIN}"), said
    assert disk.files() == set()


def test_a_folder_that_this_user_may_not_write_to_is_named(eager: Project, tmp_path: Path):
    tmp_path.chmod(0o555)
    # Root may write everywhere, until it gives these two rights away.
    bound = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--") if os.geteuid() == 0 else ()
    said = refusal(eager.run(*bound, *STAGES["prepare"].command(tmp_path / "out"), check=False))
    tmp_path.chmod(0o755)
    assert said == f"{tmp_path}/out: Permission denied; give this user permission, {AGAIN}"
    assert list(tmp_path.iterdir()) == []


# Too few open files

# The command with so many more files than are open once everything is imported; the lock of the run takes one.
LIMITED = """
import os, resource, sys
from kdcore import cli
cli.command.set_up_libraries()
import kdcore.distil.student
most = max(map(int, os.listdir("/proc/self/fd"))) + int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
cli.main()
"""


def test_too_few_open_files_are_named_with_the_limit(eager: Project, tmp_path: Path):
    words = STAGES["student"].command(tmp_path / "out")[3:]
    found = eager.run("python", "-c", LIMITED, "1", *words, check=False, KDCORE_WORK=str(tmp_path / "work"))
    said = refusal(found)
    assert said.startswith(f"{tmp_path}/work/student-"), said
    assert said.endswith(f"Too many open files; allow more open files (`ulimit -n`), {AGAIN}"), said
    assert not (tmp_path / "out").exists()


# A loss that is not finite


def test_a_loss_that_diverges_ends_in_one_line_with_phase_step_and_term_and_keeps_the_last_checkpoint(
    eager: Project, tmp_path: Path
):
    project = eager.copy(tmp_path)
    project.edit({"train.learning_rate": 10.0, "train.weight_decay": 1e6})  # weights grow ten millionfold in a step
    command = STAGES["student"].command(tmp_path / "out")
    said = refusal(project.run(*command, check=False, warm=True, KDCORE_WORK=str(tmp_path / "work")))
    found = re.fullmatch(
        r"(student-\w+): (\w+) is (nan|inf) in phase '(.+)', step (\d+): training has diverged; "
        r"lower the learning rate \(now 10\.0\)\. The last checkpoint is kept",
        said,
    )
    assert found, said
    run, term, _, phase, step = found.groups()
    assert (term.rpartition("_")[0] in ("attention_kl", "cls_cosine"), phase.startswith("layer")) == (True, True)
    last = sorted((tmp_path / "work" / run / "checkpoints").iterdir())[-1]
    assert int(last.name) == int(step) > 0
    open_sealed(last, "-")
    assert all(value.isfinite().all() for value in load_file(last / "tensors.safetensors").values())
    assert not (tmp_path / "out").exists()


# A mistake, in a launcher and in DVC


def test_a_wrong_option_is_said_once_by_two_processes(eager: Project):
    launcher = ("torchrun", "--standalone", "--nproc_per_node", "2", "-m", "kdcore")
    found = eager.run(*launcher, *STAGES["student"].words, "out", "--layer", "3", check=False)
    assert found.returncode != 0
    assert found.stderr.count("No such option: --layer") == 1, found.stderr
    assert found.stderr.count("Usage: ") == 1
    assert "exitcode  : 2" in found.stderr


def test_a_value_that_cannot_be_ends_dvc_with_the_same_message(finished_copy: Project):
    there = content(finished_copy.root / "metrics")
    changes = ("-S", "student.layers=99", "-S", "train.batch_size=0")
    found = finished_copy.run("dvc", "exp", "run", *changes, check=False, warm=True)
    assert found.returncode != 0
    said = found.stdout + found.stderr
    assert said.count("student.layers: must be at most 4, the teacher's layers (model.name), found 99") == 1, said
    assert said.count("train.batch_size: must be an integer of at least 1, at most 1000000, found 0") == 1, said
    assert "Traceback" not in said
    # DVC takes away what the stage was to write anew; `dvc checkout` brings it back.
    assert content(finished_copy.root / "metrics").items() <= there.items()


# Damage


def test_what_the_messages_about_damaged_results_say_to_run_heals_them(finished_copy: Project):
    """Points, figures, predictions: the command that reads them names the file and what to run."""
    project = finished_copy
    damaged = {
        f"metrics/main/points/{TASK}/soft-s0.json": "plots",
        "metrics/main/figures/main.svg": "report",
        f"runs/predictions/{TASK}/sid-s0.parquet": "errors",
    }
    for name, stage in damaged.items():
        file = project.root / name
        whole = file.read_bytes()
        file.chmod(0o644)
        file.write_bytes(b"x" + whole[1:])
        refused = project.run("dvc", "repro", "-f", "-s", stage, check=False, warm=True)
        assert refused.returncode != 0, name
        said = next(line for line in refused.stderr.splitlines() if Path(name).name in line)
        advised = re.search(r"`(dvc repro[^`]*)`", said)
        assert advised, said
        project.run(*advised[1].split(), warm=True)
        assert file.read_bytes() == whole, name


def test_what_the_message_about_a_damaged_student_says_to_run_makes_it_whole_again(finished_copy: Project):
    """A bit flips on the disk, in a file that DVC's cache has by another name; its time stays, so DVC does not look.

    What is made again is the same file to DVC, which then gives out what it has in its cache: the damaged one.
    """
    file = finished_copy.root / f"runs/student/{TASK}/soft-s0/model.safetensors"
    whole, status = file.read_bytes(), file.stat()
    file.chmod(0o644)
    with file.open("r+b") as opened:
        opened.write(bytes([whole[0] ^ 1]))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    file.chmod(status.st_mode)
    refused = finished_copy.run("dvc", "repro", "-f", "-s", "evaluate", check=False, warm=True)
    advised = re.search(r"model\.safetensors: its content is not what was written .*; run `([^`]+)`", refused.stderr)
    assert refused.returncode != 0
    assert advised, refused.stderr
    finished_copy.run(*advised[1].split(), warm=True)
    assert file.read_bytes() == whole
    finished_copy.run("dvc", "repro", "-f", "-s", "evaluate", warm=True)
