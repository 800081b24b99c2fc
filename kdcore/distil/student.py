"""A student: what determines it, and itself, found in the store or distilled now. No torch until it is trained."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from kdcore.artefacts import read_manifest
from kdcore.code import code_digest
from kdcore.data.prepared import Data
from kdcore.distil.finished import Finished
from kdcore.distil.methods import Method
from kdcore.distil.schedule import Phase, identity, phases
from kdcore.distil.written import Targets
from kdcore.model import places
from kdcore.model.layers import layer_map
from kdcore.params.sections import Distill, Model, Student, Train
from kdcore.runs import open_run

RERUN = "dvc repro -f student"


@dataclass(frozen=True)
class Recipe:
    """What a student is made of, and how. model: the encoder that it starts from where `student.init` says so."""

    method: str
    seed: int
    student: Student
    distill: Distill
    train: Train
    model: Model
    data: Data
    teacher: Finished
    targets: Targets

    @property
    def labels_only(self) -> bool:
        """Whether it learns nothing from the teacher."""
        return not self._parsed.taught

    @property
    def weights(self) -> dict[str, float]:
        """The internal losses that its method minimises, with their weights."""
        return self._parsed.minimised(self.distill.weights)

    @property
    def phases(self) -> tuple[Phase, ...]:
        return phases(self._parsed.schedule, self.student.layers, self.distill)

    @property
    def mapped(self) -> tuple[int, ...]:
        """The teacher's layer of each of its layers, from 1."""
        return layer_map(self.student.layer_map, self.student.layers, self.teacher.layers)

    @property
    def starts_pretrained(self) -> bool:
        return self.student.init.startswith("pretrained")

    @cached_property
    def _parsed(self) -> Method:
        return Method.parse(self.method)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What determines the student, and nothing else: a knob that its method does not use is left out."""
        model, distill = self.model, self.distill
        return {
            "data": self.data.fingerprint,
            "teacher": self.teacher.fingerprint,
            "pretrained": places.identity(model.name, model.revision) if self.starts_pretrained else None,
            "layers": self.student.layers,
            "rows": self.data.used(self.student.rows),
            "init": self.student.init,
            "head": self.student.head,
            "layer_map": self.mapped,
            "phases": [asdict(phase) for phase in self.phases],
            "soft": None if self.labels_only else [distill.temperature, distill.hard_label_weight],
            "internal": self.weights,
            "signals": self.targets.precision("train") if self._parsed.losses else None,
            "train": identity(self.train, self.seed, self.phases),
            "code": code_digest(__name__),
        }


def distil(recipe: Recipe) -> Finished:
    """The student of the recipe, found in the store, or trained now.

    Raises UserError where its rows, its teacher's signals or what it starts from do not suffice.
    """
    with open_run("student", recipe.identity) as run:
        if not run.finished:
            from kdcore.distil.student_training import train

            train(recipe, run)
        return Finished.of(run.result, read_manifest(run.result, RERUN))
