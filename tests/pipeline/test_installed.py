"""The wheel, installed outside the clone: from nothing to a student of one's own, exported and asked."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.pipeline.conftest import ROOT, Project

README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = (
    "kdcore",
    "stages",
    ".dvc/config",
    "dvc.yaml",
    "params.yaml",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "NOTICE",
)
QUICK = {
    "methods": ["soft", "sid"],
    "seeds": [0],
    "distill.epochs_per_layer": 1,
    "distill.classification_epochs": 2,
    "train.threads": 1,
    "train.learning_rate": 1e-3,
}
# As README shows it: init, the way there, repro.
SHOWN = [line.split() for line in re.findall(r"kdcore init demo .*? && .*? && dvc repro", README)[0].split(" && ")]


def run(*command: str, cwd: Path, path: Path | None = None) -> str:
    """Its output, on both streams; fails the test with it where the command fails."""
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(cwd.parent / "dvc-state")}
    environment.pop("PYTHONPATH", None)
    if path:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """installed(command, cwd): run in a new environment that has kdcore's wheel, made of its sdist, and from this one
    the rest."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "source/.dvc").mkdir(parents=True)
    for name in SOURCES:  # a build writes beside what it builds
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / "source" / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", "..", cwd=folder / "source")
    (source,) = folder.glob("*.tar.gz")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", "wheel", str(source), cwd=folder)
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others))
    (wheel,) = (folder / "wheel").glob("*.whl")
    run(*pip, "--python", "venv", "install", "--no-deps", "--no-index", str(wheel), cwd=folder)
    binaries = folder / "venv/bin"
    assert f"{packages}/kdcore" in run(
        str(binaries / "python"), "-c", "import kdcore; print(kdcore.__file__)", cwd=folder
    )
    files = [path.relative_to(ROOT / "kdcore") for path in (ROOT / "kdcore").rglob("files/*")]
    assert len(files) > 10
    assert all((packages / "kdcore" / file).is_file() for file in files)
    return lambda *command, cwd: run(*command, cwd=cwd, path=binaries)


def quicken(params: Path) -> None:
    """Change a project's params.yaml so that its students take seconds."""
    document = YAML().load(params)
    for key, value in QUICK.items():
        section, _, name = key.rpartition(".")
        (document[section] if section else document)[name] = value
    YAML().dump(document, params)


@pytest.fixture(scope="module")
def own(installed: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The example after `kdcore init` and `dvc repro`, with quick students."""
    place = tmp_path_factory.mktemp("place")
    said = installed(*SHOWN[0], "--layers", "1", cwd=place)
    assert "written in demo: params.yaml, dvc.yaml, stages/dvc.yaml" in said
    quicken(place / "demo/params.yaml")
    installed("python", "-m", *SHOWN[2], cwd=place / "demo")
    return Project(place / "demo")


def test_it_says_its_version_and_its_knobs_anywhere(installed: Callable[..., str], tmp_path: Path):
    from kdcore import __version__

    assert installed("kdcore", "--version", cwd=tmp_path) == f"kdcore {__version__}\n"
    assert [command[:2] for command in SHOWN] == [["kdcore", "init"], ["cd", "demo"], ["dvc", "repro"]]
    assert installed("kdcore", "params", cwd=tmp_path) == (ROOT / "params.yaml").read_text(encoding="utf-8")


def test_two_commands_make_a_student_that_learned(own: Project):
    table = (own.root / "metrics/main/table.csv").read_text(encoding="utf-8").splitlines()
    scores = dict(zip(*(line.split(",") for line in table[:2]), strict=True))
    assert scores["method"] == "teacher"
    assert (own.root / "metrics/main/report.html").stat().st_size > 10_000
    assert (own.root / "runs/student/reviews/sid-s0/model.safetensors").is_file()


def test_nothing_new_runs_nothing_but_the_inputs(own: Project, installed: Callable[..., str]):
    said = installed("python", "-m", "dvc", "repro", cwd=own.root)
    assert [line for line in said.splitlines() if line.startswith("Running stage")] == ["Running stage 'inputs':"]


def test_a_student_is_exported_and_asked(own: Project, installed: Callable[..., str]):
    student = "runs/student/reviews/sid-s0"
    installed("kdcore", "export", student, "exported", cwd=own.root)
    assert list((own.root / "exported").rglob("*.onnx"))
    installed("kdcore", "predict", student, "data/raw/reviews/validation.csv", "said.csv", cwd=own.root)
    said = (own.root / "said.csv").read_text(encoding="utf-8").splitlines()
    wanted = (own.root / "data/raw/reviews/validation.csv").read_text(encoding="utf-8").splitlines()
    right = [one.split(",")[1] == other.split(",")[1] for one, other in zip(said[1:], wanted[1:], strict=True)]
    assert sum(right) / len(right) > 0.6


def test_an_experiment_in_a_workspace_of_its_own_finds_classifier_and_rows(own: Project, installed: Callable[..., str]):
    for command in (("add", "--all"), ("commit", "--quiet", "--message", "Mine")):
        installed("git", "-c", "user.name=Test", "-c", "user.email=test@localhost", *command, cwd=own.root)
    for key, value in {"user.name": "Test", "user.email": "test@localhost"}.items():
        installed("git", "config", key, value, cwd=own.root)
    assert not installed("git", "status", "--porcelain", cwd=own.root)
    installed("python", "-m", "dvc", "exp", "run", "--temp", "teacher", cwd=own.root)
