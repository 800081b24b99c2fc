"""The signals that a teacher left, as their manifests say. No torch here: it is imported when a split is read."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcore.artefacts import read_manifest
from kdcore.data.prepared import Data
from kdcore.distil.finished import Finished
from kdcore.errors import UserError

if TYPE_CHECKING:
    from kdcore.distil.signals import Stored

SPLITS = ("train", "validation")  # those that signals are written for
RERUN = "dvc repro -f targets"


@dataclass(frozen=True)
class Targets:
    """What `kdcore targets` wrote for a teacher and its task: signals of the rows of each split.

    manifests: by split. A split's files are verified when its signals are first asked for.
    """

    folder: Path
    teacher: Finished
    manifests: Mapping[str, Mapping[str, Any]]

    @classmethod
    def open(cls, folder: Path, data: Data, teacher: Finished) -> "Targets":
        """Raises UserError where the signals are of another teacher, or of other data, than those given."""
        manifests = {split: read_manifest(folder / split, RERUN) for split in SPLITS}
        for split, manifest in manifests.items():
            if not isinstance(manifest.get("layers"), list):
                raise UserError(str(folder / split), f"were written by an older kdcore; run `{RERUN}`")
            for name, given in (("teacher", teacher), ("data", data)):
                if manifest.get(name) != given.fingerprint:
                    raise UserError(
                        str(folder / split), f"these signals are not those of the {name} {given.folder}; run `{RERUN}`"
                    )
        return cls(folder, teacher, manifests)

    def precision(self, split: str) -> str:
        """How exact the signals are: their type, and whether attention comes from the teacher instead."""
        manifest = self.manifests[split]
        return manifest["dtype"] if manifest["shards"] else f"{manifest['dtype']}, live attention"

    def check(self, split: str, mapped: Collection[int]) -> None:
        """Raises UserError where a student maps teacher layers whose signals of this split were not stored."""
        there = self.manifests[split]["layers"]
        if lacking := [layer for layer in mapped if layer not in there]:
            raise UserError(
                str(self.folder / split),
                f"holds signals of teacher layers {_listed(there)}, and the student maps {_listed(lacking)} too: name "
                "its depth and map in student.layers and student.layer_map, or let targets.disk_gb have room for all "
                f"layers, and run `{RERUN}`",
            )

    @cached_property
    def train(self) -> "Stored":
        return self._stored("train")

    @cached_property
    def validation(self) -> "Stored":
        return self._stored("validation")

    def _stored(self, split: str) -> "Stored":
        from kdcore.distil.signals import Stored

        return Stored(self.folder / split, self.teacher.folder)


def _listed(layers: Collection[int]) -> str:
    return ", ".join(map(str, layers))
