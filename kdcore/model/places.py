"""Names of models in params.yaml → where their files are, and the hash of what they hold. No torch here."""

import os
from collections.abc import Callable
from pathlib import Path

from kdcore import hub
from kdcore.artefacts import digest, sha256
from kdcore.data import embedded
from kdcore.errors import UserError

KINDS = (".json", ".safetensors", ".txt", ".model", ".codes")  # of the files that make a model and its tokenizer


def local(name: str | Path) -> Path:
    """The path, `~` being the user's folder; as `~name` of nobody it stays as it is."""
    return Path(os.path.expanduser(name))  # Path.expanduser raises RuntimeError there


def resolve(name: str) -> str | Path:
    """Where transformers finds the model: the embedded one's folder, a local folder, or a hub name."""
    if embedded.place(name):
        return embedded.find(embedded.MODEL if name == "embedded" else name)
    return local(name) if is_path(name) else name


def is_path(name: str) -> bool:
    """Whether a name is of something on this machine, there or not, and of nothing on a hub."""
    return name.startswith((".", "/", "~")) or local(name).exists()


def on_disk(name: str, revision: str | None, file: str) -> Path | None:
    """A file of a model, where it is on this machine: in the model's folder, or in the hub's cache."""
    try:
        place = resolve(name)
    except UserError:  # an embedded model that was not fetched
        return None
    found = place / file if isinstance(place, Path) else hub.cached(place, revision, file)
    return found if found and found.is_file() else None


def fingerprint(folder: Path, hashed: Callable[[Path], str] = sha256) -> str:
    """The hash of the files that determine a local model; hashed: of one of them."""
    return digest(
        {path.name: hashed(path) for path in sorted(folder.iterdir()) if path.suffix in KINDS and path.is_file()}
    )


def identity(name: str, revision: str | None) -> str:
    """What determines a model's weights: the files of a local folder, the commit of a hub model.

    Raises UserError where there is no model.
    """
    place = resolve(name)
    if isinstance(place, Path) and (place / "config.json").is_file():
        return fingerprint(place)
    commit = hub.resolved(place, revision) if isinstance(place, str) else None
    if commit is None:  # transformers may find it all the same, or says why not
        from kdcore.model.config import load_config

        commit = load_config(place, revision, labels={})._commit_hash
    return digest([name, commit or revision])
