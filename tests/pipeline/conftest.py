"""A whole project in miniature: the repository's own pipeline on a tiny model and a few dozen sentences."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from tests import tiny
from tests.pipeline import warm as warmed

ROOT = Path(__file__).parents[2]
# What a clone brings; data, runs, work and metrics are made by the pipeline.
SOURCES = (
    "dvc.yaml",
    "params.yaml",
    "stages",
    "kdcore",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
)

TASK = "tiny"
SMALL: dict[str, Any] = {
    "tasks": [TASK],
    "methods": ["none", "soft", "pid", "sid"],
    "seeds": [0],
    "data.source": "local",
    "task": {TASK: {"text": ["sentence"], "label": "label", "labels": ["bad", "good"], "metrics": ["accuracy"]}},
    "model.max_length": 24,
    "teacher.rows": 80,
    "teacher.epochs": 3,
    "teacher.learning_rate": 2e-3,
    "student.layers": 2,
    "student.rows": 32,
    "distill.epochs_per_layer": 1,
    "distill.classification_epochs": 1,
    "teacher.batch_size": 8,
    "train.batch_size": 8,
    "train.learning_rate": 2e-3,
    "train.threads": 1,
    "train.history_rows": 16,
    "evaluate.batch_size": 16,
    "study.depth.layers": [1, 2],
    "study.depth.methods": ["soft", "sid"],
    "study.data_size.rows": [16, 32],
    "study.data_size.methods": ["soft", "sid"],
    # Few points: DVC looks at every stage of every study at each of its commands.
    "study.methods.methods": ["soft", "sid"],
    "study.glue.tasks": ["cola"],
    "study.glue.methods": ["sid"],
    "study.glue.seeds": [0],
    "study.glue.teacher.seeds": [0],
    "study.convergence.methods": ["soft", "sid"],
    "study.convergence.head": ["sid"],
    "study.ablation.methods": ["sid"],
    "study.ablation.inits": ["teacher"],
    "study.tune.methods": ["none", "sid"],
}


@dataclass(frozen=True)
class Project:
    """A git repository with the pipeline's sources and one commit."""

    root: Path

    def run(
        self, *args: str, check: bool = True, warm: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `dvc …`, `python -m kdcore …` or `git …` in the project, as a terminal with .venv active would.

        Fails the test, with all output, where the command fails and check is set. warm: it, and the stages that it
        runs, begin with torch and DVC loaded: tests/pipeline/warm.py.
        """
        result = subprocess.run(
            args,
            cwd=self.root,
            env=self.environment(warm) | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and result.returncode:
            pytest.fail(f"{' '.join(args)}: exit code {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def environment(self, warm: bool = False) -> dict[str, str]:
        """This process's, with .venv's commands first, and DVC's own state beside the project."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        if warm:
            path = f"{warmed.commands()}{os.pathsep}{path}"
        state = str(self.root.parent / "dvc-state")
        return os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": state}

    def edit(self, values: dict[str, Any]) -> None:
        """Set params by dotted key; unlike `-S` it leaves the rest of params.yaml as it is.

        Raises KeyError for a key that params.yaml does not have.
        """
        edit_params(self.root / "params.yaml", values)

    def params(self) -> Any:
        return YAML(typ="safe").load(self.root / "params.yaml")

    def copy(self, folder: Path) -> "Project":
        """A copy of it, folder/repository; what is up to date here is up to date there."""
        shutil.copytree(self.root, folder / "repository", symlinks=True)
        return Project(folder / "repository")

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers take files in this order. Pipelines, which take longest, come before all else; a file that asks for the
    finished project is the first of them, and the others that do are the last, so that none waits while it is made."""
    own = [item for item in items if Path(__file__).parent in item.path.parents]
    asking = [*dict.fromkeys(item.path for item in own if "finished" in getattr(item, "fixturenames", ()))]
    places = {item.path: 1 for item in own} | dict.fromkeys(asking, 2) | dict.fromkeys(asking[:1], 0)
    items.sort(key=lambda item: places.get(item.path, 3))


def edit_params(path: Path, values: dict[str, Any]) -> None:
    yaml = YAML()
    document = yaml.load(path)
    for key, value in values.items():
        *sections, name = key.split(".")
        section = document
        for part in sections:
            section = section[part]
        if name not in section:
            raise KeyError(key)
        section[name] = value
    yaml.dump(document, path)


def copy_sources(target: Path) -> None:
    """Copy what a clone brings."""
    ignore = shutil.ignore_patterns("__pycache__", "dvc.lock")
    for name in SOURCES:
        source, copy = ROOT / name, target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=ignore)
        else:
            shutil.copy2(source, copy)


def write_rows(folder: Path) -> Path:
    """Write the tiny task as a user would bring it: <folder>/tiny/{train,validation}.csv."""
    (folder / TASK).mkdir(parents=True)
    tiny.texts(96, seed=1).to_csv(folder / TASK / "train.csv", index=False)
    tiny.texts(32, seed=2).to_csv(folder / TASK / "validation.csv", index=False)
    return folder


def make_project(folder: Path, model: Path, params: dict[str, Any] | None = None) -> Project:
    """A fresh Project in <folder>/repository; params are edits by dotted key, on top of SMALL.

    Its rows and its model lie outside the repository, so that queued experiments find them too.
    """
    project = Project(folder / "repository")
    copy_sources(project.root)
    project.edit(SMALL | {"data.path": str(write_rows(folder / "rows")), "model.name": str(model)} | (params or {}))
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    project.run("git", "config", "user.name", "Test")
    project.run("git", "config", "user.email", "test@localhost")
    project.commit("A tiny project")
    return project


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Path:
    """The folder of that name, which the first of pytest's workers to ask for it makes; the others wait for it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    made = folder.with_suffix(".made")
    with FileLock(folder.with_suffix(".lock")):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Project]:
    """new_project(params=None): a fresh Project, made by make_project; in all workers it has the same encoder."""
    encoder = once(tmp_path_factory, "encoder", tiny.save_pretrained)

    def made(params: dict[str, Any] | None = None) -> Project:
        return make_project(tmp_path_factory.mktemp("project"), encoder, params)

    return made


@pytest.fixture
def project(new_project: Callable[..., Project]) -> Project:
    """A fresh tiny project, in which nothing has run."""
    return new_project()


@pytest.fixture(scope="session")
def finished(new_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tiny project after `dvc repro`, committed; shared, so for reading only.

    One worker makes it, and each has a copy: commands that run in it leave locks and compiled code there.
    """

    def make(folder: Path) -> None:
        project = new_project()
        project.run("dvc", "repro", warm=True)
        project.commit("Results")
        project.copy(folder)

    return Project(once(tmp_path_factory, "finished", make) / "repository").copy(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def finished_copy(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project that a test may change; nothing in it is out of date."""
    return finished.copy(tmp_path)
