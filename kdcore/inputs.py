"""What results depend on and DVC cannot see: kdcore's code, what names on a hub mean now, a result that may be absent.

The stage `inputs` runs at every `dvc repro` and writes small files; the other stages depend on these, each on its own.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from kdcore import artefacts, hub
from kdcore.artefacts import new_folder, place_of_store, seal, write_json
from kdcore.code import command_digests
from kdcore.errors import UserError
from kdcore.model.places import fingerprint, resolve
from kdcore.params.sections import Data, Model, Teacher

Commit: TypeAlias = Callable[[str, str | None, hub.Kind, str | None], str | None]
Asked: TypeAlias = tuple[Data, Model, Mapping[str, Teacher]]  # the last by task


def write_inputs(out: Path, commands: Iterable[str], asked: Mapping[str, Asked], latencies: Path | None) -> None:
    """Write code/<command>.json, data.json, models/<task>.json and latency.json into `out`, in place of what is there.

    asked: by the folder within `out` of data.json and models/, "" for the headline run, <study> for a study that has
    data and teachers of its own; latencies: the folder of what was measured, which is shown where it is there. What
    took long is kept in the store, so that nothing is parsed or hashed twice.
    """
    memory, commit = place_of_store() / "inputs.json", _commits()
    parsed, hashes = _read(memory).get("parsed", {}), _read(memory).get("hashes", {})
    files: dict[Path, Any] = {
        Path("code", f"{name}.json"): {"code": code} for name, code in command_digests(commands, parsed).items()
    }
    for place, (data, model, teachers) in asked.items():
        file = Path(place, "data.json")
        files[file] = _data(data, _read(out / file), commit)
        for task, teacher in teachers.items():
            file = Path(place, "models", f"{task}.json")
            before = _read(out / file)
            files[file] = {
                "model": _model(model.name, model.revision, before.get("model"), hashes, commit),
                "finetuned": teacher.finetuned
                and _model(teacher.finetuned, teacher.revision, before.get("finetuned"), hashes, commit),
            }
    measured = sorted(latencies.glob("*.json")) if latencies else []
    files[Path("latency.json")] = {file.stem: artefacts.sha256(file) for file in measured}
    with new_folder(out) as aside:
        for file, content in files.items():
            write_json(aside / file, content)
        seal(aside)
    if {"parsed": parsed, "hashes": hashes} != _read(memory):
        with suppress(OSError):  # a store that is read-only
            write_json(memory, {"parsed": parsed, "hashes": hashes})


def _model(name: str, revision: str | None, before: Any, hashes: dict[str, Any], commit: Commit) -> dict[str, Any]:
    """What a model's name means: the hash of its files, or the commit on a hub; null where neither is known."""
    try:
        place = resolve(name)
        if isinstance(place, Path):
            return {"name": name, "files": fingerprint(place, _remembered(hashes))}
    except (UserError, OSError):  # nothing is there; the command that needs it says so
        return {"name": name, "files": None}
    return {"name": name, "commit": commit(place, revision, "model", _known(before, name))}


def _data(data: Data, before: Mapping[str, Any], commit: Commit) -> dict[str, Any]:
    """What the name of a data set on a hub means; local files and embedded ones are DVC's, or never change."""
    if data.source != "hub" or Path(data.hub).is_dir():
        return {}
    return {"name": data.hub, "commit": commit(data.hub, data.revision, "dataset", _known(before, data.hub))}


def _commits() -> Commit:
    """`hub.commit`, that asks a hub about a name once, so that all tasks have one commit of it."""
    found: dict[Any, str | None] = {}

    def commit(name: str, revision: str | None, kind: hub.Kind, known: str | None) -> str | None:
        if (asked := (name, revision, kind)) not in found:
            found[asked] = hub.commit(*asked, known)
        return found[asked] or known

    return commit


def _known(before: Any, name: str) -> str | None:
    return before.get("commit") if isinstance(before, Mapping) and before.get("name") == name else None


def _remembered(hashes: dict[str, Any]) -> Callable[[Path], str]:
    """sha256 of a file that is computed once while the file stays as it is."""

    def hashed(path: Path) -> str:
        key, state = str(path.resolve()), artefacts.state(path)
        if key not in hashes or hashes[key][0] != state:
            hashes[key] = [state, artefacts.sha256(path)]
        return str(hashes[key][1])

    return hashed


def _read(path: Path) -> dict[str, Any]:
    """What was written there; nothing where it can't be read, which costs time, or a question to a hub."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
