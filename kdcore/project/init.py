"""Write a project into a folder, new or in use: DVC and git set up, and nothing that is there overwritten."""

import filecmp
import os
import re
import shlex
import shutil
import subprocess
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from kdcore import __version__
from kdcore.artefacts import write_bytes, write_copy
from kdcore.console import say
from kdcore.data.formats import ENDINGS, parted
from kdcore.data.sources import ALSO
from kdcore.data.tasks import BUILT_IN, RESERVED
from kdcore.errors import UserError, one_line, shown
from kdcore.model.places import local
from kdcore.params.values import NAME
from kdcore.project import pipeline
from kdcore.project.look import SHARE, Classifier, choose, look_at_rows
from kdcore.project.params import params_text

RAW = "data/raw"  # where rows of one's own lie, unless they lie in a task's folder already
DVC_IGNORES = ("/work", "/.venv", "__pycache__")


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; paths are as they were given there; quoted: whether results quote the rows."""

    teacher: str
    train: Path
    validation: Path | None
    text: Sequence[str]
    label: str | None  # None: no row has one
    task: str | None
    layers: int | None
    quoted: bool = False


def init(folder: Path, wish: Wish) -> None:
    """Write params.yaml, dvc.yaml, stages/dvc.yaml and the rows into `folder`, and set up git and DVC where needed.

    params.yaml comes last: without it the same call finds what a start that was killed has written, and ends as that
    would have. Raises UserError, with the folder as it was, where something is wrong with the wish or in the way.
    """
    task = wish.task or _name(wish.train)
    if not re.match(NAME, task) or task in (*BUILT_IN, RESERVED):
        taken = ", ".join((*BUILT_IN, RESERVED))
        raise UserError("--task", f"must be a plain name of a-z 0-9 _ -, and none of {taken}, found {shown(task)}")
    files = {split: path for split, path in (("train", wish.train), ("validation", wish.validation)) if path}
    rows = look_at_rows(wish.train, wish.validation, wish.text, wish.label)
    place = _data_path(folder, task, files)
    raw = {} if place else {f"{RAW}/{task}/{split}.{parted(path.name)[1]}": path for split, path in files.items()}
    check_free(folder, raw)
    teacher = Classifier.at(wish.teacher)
    chosen = choose(task, teacher, rows, wish.layers) | {"data.source": "local", "data.path": place or RAW}
    if wish.quoted:
        chosen["report.texts"] = True
    if wish.validation is None:
        chosen["data.validation_share"] = SHARE
        say(f"validation: {SHARE:.0%} of the train rows, as no file is named")
    seen = _seen_from(folder, wish.teacher)
    chosen |= {key: seen for key in ("model.name", "teacher.finetuned") if chosen[key]}
    _set_up(folder)
    _write(folder, task, params_text(chosen), raw)


def _name(train: Path) -> str:
    """A task's name: that of the folder, where files are named after splits, or that of the file, in plain letters."""
    stem, _ = parted(train.name)
    name = train.resolve().parent.name if stem == "train" else stem
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-")


def _data_path(folder: Path, task: str, files: Mapping[str, Path]) -> str | None:
    """The value of data.path with which the files are found where they are: <data.path>/<task>/<split>.<format>."""
    parents = {path.resolve().parent for path in files.values()}
    names = all(parted(path.name)[0] in (split, *ALSO.get(split, ())) for split, path in files.items())
    (parent, *others) = parents
    inside = parent.parent.is_relative_to(folder.resolve()) and parent.parent != folder.resolve()
    if others or not names or parent.name != task or not inside:
        return None
    return parent.parent.relative_to(folder.resolve()).as_posix()


def _seen_from(folder: Path, model: str) -> str:
    """A model's name in params.yaml: its path from the project, where one repository holds both; a path elsewhere is
    absolute; a hub name stays."""
    path, home = local(model), folder.resolve()
    if not path.is_dir():
        return model
    repository = next((place for place in (home, *home.parents) if (place / ".git").exists()), home)
    if path.resolve().is_relative_to(repository):
        return Path(os.path.relpath(path.resolve(), home)).as_posix()
    say(f"{model} lies outside the project, where no clone and no other machine finds it: to take it in, copy it "
        "to models/, name it in params.yaml, and `dvc add` it")  # fmt: skip
    return str(path.resolve())


# Nothing in the way


def check_free(folder: Path, rows: Mapping[str, bytes | Path] = MappingProxyType({})) -> None:
    """Raises UserError that names every file that is in the way of the project's, or of its rows; or without git.

    rows: name -> what will be in it, or the file that it will be a copy of. A file that has the very content that it
    will be given is what a start that was killed has written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(str(folder), "must be a folder, or nothing, found a file")
    stems = {parted(name)[0] for name in rows}
    names = ["params.yaml", *pipeline.STAGES, *(f"{stem}.{kind}" for stem in sorted(stems) for kind in ENDINGS)]
    ours = {**{name: pipeline.own(name).encode() for name in pipeline.STAGES}, **rows}
    if there := [name for name in names if os.path.lexists(folder / name) and not _is(folder / name, ours.get(name))]:
        problem = "is there already, and nothing is overwritten: move it away, or name another folder"
        raise UserError(str(folder), [f"{name} {problem}" for name in there])
    if shutil.which("git") is None:
        raise UserError("git", "is not on the PATH, and DVC, which runs the pipeline, needs it: install git first")


def _is(path: Path, content: bytes | Path | None) -> bool:
    if content is None or not path.is_file() or path.is_symlink():
        return False
    return path.read_bytes() == content if isinstance(content, bytes) else filecmp.cmp(path, content, shallow=False)


# Writing


def _set_up(folder: Path) -> None:
    """A git repository around the folder, and DVC at home in it; each is left as it is where it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = _git(folder, "rev-parse", "--show-toplevel")
    if "safe.directory" in asked.stderr:  # another user's: a new repository inside would hide it
        raise UserError(str(folder), one_line(asked.stderr, 400))
    if asked.returncode:
        made = _git(folder, "init", "--quiet")
        if made.returncode:
            raise UserError("git init", one_line(made.stderr, 400))
        say(f"git: a new repository in {folder}")
    if not (folder / pipeline.DVC).exists():  # all that DVC needs, and `dvc init` can't be cut short where it isn't run
        write_bytes(folder / pipeline.DVC, pipeline.text(pipeline.DVC).encode())
        say(f"DVC: set up in {folder}")


def _git(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603, S607


def _write(folder: Path, task: str, params: str, rows: Mapping[str, Path]) -> None:
    for name, path in rows.items():
        write_copy(folder / name, path)
    for name in pipeline.STAGES:
        write_bytes(folder / name, pipeline.own(name).encode())
    _append(folder / ".gitignore", (f"/data/{task}/", "/runs/", "/work/", "/dvc_plots/"))
    _append(folder / ".dvcignore", DVC_IGNORES)
    requirements = (folder / "requirements.txt").resolve()
    if not requirements.exists():
        write_bytes(requirements, f"kdcore=={__version__}\n".encode())
    elif "kdcore" not in requirements.read_text(encoding="utf-8", errors="replace"):
        say(f"requirements.txt is there and does not name kdcore: add kdcore=={__version__}")
    write_bytes(folder / "params.yaml", params.encode())
    written = ("params.yaml", *pipeline.STAGES, *rows)
    say(f"written in {folder}: {', '.join(written)}")
    there = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    say(f"next: {there}dvc repro")


def _append(path: Path, lines: Sequence[str]) -> None:
    """Add the lines that a file does not have yet; what it has stays, byte for byte, in whatever encoding.

    Where it is a link, they are added to what that leads to.
    """
    path = path.resolve()
    old = path.read_bytes() if path.exists() else b""
    new = [line for line in map(str.encode, lines) if line not in old.splitlines()]
    if new:
        between = b"\n" if old and not old.endswith(b"\n") else b""
        write_bytes(path, old + between + b"".join(line + b"\n" for line in new))
