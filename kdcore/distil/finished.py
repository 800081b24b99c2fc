"""A finished model, teacher or student, as its folder says. No torch here: one that is there is opened at once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcore.artefacts import MANIFEST, digest, open_sealed
from kdcore.data.tasks import Task, from_fields
from kdcore.errors import UserError

if TYPE_CHECKING:
    from kdcore.model.encoder import Encoder

CARD = "README.md"
NOTES = ("run.json", "history.csv", CARD)  # about the run, not part of the model


@dataclass(frozen=True)
class Finished:
    """A finished model whose files are all as they were written.

    facts: its run.json; fingerprint: equal where weights, tokenizer and length are equal.
    """

    folder: Path
    facts: Mapping[str, Any]
    fingerprint: str

    @classmethod
    def open(cls, folder: Path, rerun: str) -> "Finished":
        """Raises UserError that names each file that is missing or changed, and what to run (`rerun`).

        So it does for a classifier that no run made, as the one that a project's teacher is taken from.
        """
        if (folder / "config.json").is_file() and not any((folder / name).exists() for name in (MANIFEST, "run.json")):
            raise _not_made(folder)
        return cls.of(folder, open_sealed(folder, rerun))

    @classmethod
    def of(cls, folder: Path, manifest: Mapping[str, Any]) -> "Finished":
        """The model of a folder that was verified, or sealed, just now."""
        if "run.json" not in manifest["files"]:
            raise _not_made(folder)
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        files = {name: file["sha256"] for name, file in manifest["files"].items() if name not in NOTES}
        return cls(folder, facts, digest({"files": files, "max_length": facts.get("max_length")}))

    @property
    def task(self) -> Task:
        """What it was trained for: text columns, labels, metrics."""
        return from_fields(self.facts["described"])

    @property
    def layers(self) -> int:
        return self.facts["layers"]

    @property
    def max_length(self) -> int:
        """Tokens at most; a student reads what its teacher reads."""
        return self.facts["max_length"]

    @property
    def threads(self) -> int:
        """CPU threads that it was made with, and its signals and scores are: their number decides the last bits."""
        return self.facts["versions"]["threads"]

    def encoder(self) -> "Encoder":
        """Its weights, to be computed with now; torch takes its threads from here on."""
        import torch

        from kdcore.model.encoder import Encoder

        torch.set_num_threads(self.threads)
        return Encoder.load(self.folder)

    @cached_property
    def tokenizer(self) -> Any:
        from kdcore.model.names import tokenizer_of

        return tokenizer_of(self.folder)


def _not_made(folder: Path) -> UserError:
    return UserError(
        str(folder), "is no model that kdcore made; name one below runs/, e.g. runs/teacher/<task>/s0 for the teacher"
    )
