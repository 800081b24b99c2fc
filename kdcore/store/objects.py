"""Sealed folders in a bucket: every file is an object named by its sha256, and `seal.json`, written last, lists them.

Without its seal a folder is not there. Two who write the same folder write the same objects, and what was uploaded
before it was interrupted is not uploaded again.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdcore.artefacts import MANIFEST, differs, new_folder, read_manifest, sha256
from kdcore.errors import UserError
from kdcore.store.bucket import Bucket

SEAL = "seal.json"


def contents(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file of a sealed folder, by name, as its manifests have them; and of the manifests."""
    manifest = folder / MANIFEST
    found = dict(read_manifest(folder, "dvc repro")["files"])
    for name in [name for name in found if Path(name).name == MANIFEST]:  # of a sealed folder inside
        inner = Path(name).parent
        found |= {str(inner / file): facts for file, facts in contents(folder / inner).items()}
    return found | {MANIFEST: {"bytes": manifest.stat().st_size, "sha256": sha256(manifest)}}


def upload(
    bucket: Bucket, folder: Path, key: str, patience: float | None = None, others: Sequence[str] = ()
) -> dict[str, Any]:
    """Write every file of a sealed folder that the bucket lacks; returns the seal, which is not written yet.

    others: keys of folders that may have some of the files: the seal then says which one has an object (`elsewhere`).
    """
    files, elsewhere = contents(folder), dict[str, str]()
    there = {place: bucket.patiently(bucket.sizes, place, patience=patience) for place in (key, *others)}
    for name, facts in files.items():
        content = facts["sha256"]
        place = next((place for place, sizes in there.items() if sizes.get(content) == facts["bytes"]), None)
        if place is None:
            bucket.patiently(bucket.upload, folder / name, f"{key}/{content}", patience=patience)
        elif place != key:
            elsewhere[content] = place
    return {"files": files} | ({"elsewhere": elsewhere} if elsewhere else {})


def seal_of(bucket: Bucket, key: str) -> dict[str, Any] | None:
    """The seal of the folder with that key; None where there is none, or where it can't be read."""
    found = bucket.get(f"{key}/{SEAL}")
    try:
        seal = json.loads(found.content) if found else None
        return seal if seal and all(facts["sha256"] for facts in seal["files"].values()) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def download(bucket: Bucket, key: str, seal: dict[str, Any], folder: Path) -> None:
    """Bring a sealed folder here. Raises UserError that names each object that is missing or damaged."""
    with new_folder(folder) as aside:
        problems = {}
        for name, facts in seal["files"].items():
            content = facts["sha256"]
            place = f"{seal.get('elsewhere', {}).get(content, key)}/{content}"
            if problem := _bring(bucket, place, aside, name, facts):
                problems[place] = f"{name} ({content}): {problem}"
        if problems:
            raise DamagedError(f"{bucket.url}/{key}", problems)


class DamagedError(UserError):
    """Objects that are not what was written; `objects` are their keys."""

    def __init__(self, source: str, problems: dict[str, str]) -> None:
        super().__init__(source, [*problems.values()])
        self.objects = [*problems]


def _bring(bucket: Bucket, key: str, folder: Path, name: str, facts: dict[str, Any]) -> str | None:
    """Download one file into a folder; returns what is wrong with it."""
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        return "its name leads out of its folder"
    try:
        bucket.patiently(bucket.download, key, file)
    except FileNotFoundError:
        return "is missing"
    return differs(file, facts)
