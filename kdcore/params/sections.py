"""The sections of params.yaml as types. The library takes them as they are; rules across them are in rules.py."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

from kdcore.distil.methods import INTERNAL
from kdcore.params.values import (
    LIST,
    PLAIN,
    Amount,
    Between,
    Classification,
    Cosine,
    Count,
    Dtype,
    Init,
    Keep,
    LayerMap,
    LearningRate,
    Length,
    Method,
    Metric,
    OneOf,
    Precision,
    Rows,
    Schedule,
    Score,
    Seed,
    Share,
    ShareOrNull,
    Source,
    Store,
    TaskName,
    Temperature,
    Text,
    TextOrNull,
    Trains,
)
from kdcore.studies import STUDIES, Grid, Study


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Section):
    source: Source
    path: Text
    hub: Text
    revision: Text
    configuration: TextOrNull = None
    columns: dict[Text, Text]
    splits: dict[Text, Text] = {}
    validation_share: ShareOrNull = None


class UserTask(Section):
    """A task of the user's own; labels are left out for a regression."""

    text: Annotated[tuple[Text, ...], LIST]
    label: Text
    labels: tuple[Text, ...] = ()
    metrics: Annotated[tuple[Metric, ...], LIST]


class Model(Section):
    name: Text
    revision: TextOrNull
    max_length: Length


class Steps(Section):
    """How optimizer steps are taken: by the teacher as `teacher` says, by the students as `train` says."""

    batch_size: Count = 32
    accumulate: Count = 1
    learning_rate: LearningRate
    warmup: Share = 0.1
    weight_decay: Amount = 0.01
    clip: Amount = 1.0


class Shared(Section):
    """What teacher and students have in common of `train`: how the machine works, and how much of it is watched."""

    precision: Precision
    threads: Count
    checkpoint_seconds: Amount
    history_rows: Count


class Train(Steps, Shared):
    schedule: Schedule = "per_phase"
    keep: Keep = "last"


class Teacher(Steps):
    finetuned: TextOrNull
    revision: TextOrNull
    rows: Rows
    epochs: Count
    seed: Seed
    floor: Score

    def training(self, shared: Shared) -> Train:
        """Its own steps, with what it shares with the students."""
        own = {name: getattr(self, name) for name in Steps.model_fields}
        return Train(**own, **{name: getattr(shared, name) for name in Shared.model_fields})


class Targets(Section):
    store: Store
    dtype: Dtype
    disk_gb: Amount


class Student(Section):
    layers: Count
    rows: Rows
    init: Init
    layer_map: LayerMap
    floor: Score = None


class Distill(Section):
    """weights: of the internal losses by name; one that is absent weighs 0."""

    temperature: Temperature
    hard_label_weight: Amount
    weights: dict[Annotated[str, OneOf(tuple(INTERNAL))], Amount]
    epochs_per_layer: Count
    cosine_threshold: Cosine
    classification_epochs: Count
    classification: Classification
    trains: Trains


class Evaluate(Section):
    batch_size: Count
    confidence: Between


class Attention(Section):
    standard: Method
    internal: Method
    examples: Count


# The sections whose knobs a study may vary: those of a student, so that all of its students have one teacher.
VARIED: dict[str, type[Section]] = {"student": Student, "distill": Distill, "train": Train}


def _values_of(key: str) -> Any:
    """The type of a study's list of values for the knob `key`: each is checked like the knob itself."""
    section, _, name = key.partition(".")
    knob = VARIED[section].model_fields[name]
    return Annotated[tuple[Annotated[knob.annotation, *knob.metadata, PLAIN], ...], LIST]  # type: ignore[name-defined]


def _strict(name: str, fields: dict[str, Any], needed: bool = True) -> Any:
    """The type of a mapping with these keys, each needed or each not, and no others."""
    make: Any = TypedDict  # whose names a type checker wants to read here
    mapping = make(name, fields, total=needed)
    mapping.__pydantic_config__ = Section.model_config
    return mapping


def _grid_of(study: Study) -> Any:
    axes = {axis.values: _values_of(axis.key) for axis in study.axes}
    arms = {arm.methods: Annotated[tuple[Annotated[str, OneOf(arm.allowed)], ...], LIST] for arm in study.arms}
    tuning = {"seeds": Annotated[tuple[Seed, ...], LIST], "share": Between, "knobs": _knobs()} if study.tunes else {}
    return _strict(study.name, axes | arms | tuning)


def _knobs() -> Any:
    """The type of the lists of a study that tunes: of any knob that makes another student of the same depth."""
    fixed = {"layers", "floor", "weights", *Shared.model_fields}
    sections = {
        section: {name: _values_of(f"{section}.{name}") for name in kind.model_fields if name not in fixed}
        for section, kind in VARIED.items()
    }
    return _strict("Knobs", {name: _strict(name, lists, needed=False) for name, lists in sections.items()}, False)


if TYPE_CHECKING:
    Studies: TypeAlias = dict[str, Grid]
else:
    Studies = _strict("Studies", {study.name: _grid_of(study) for study in STUDIES.values()})


def with_changes(sections: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The sections with knobs changed by dotted key, as the cells of a study do; one that is absent stays absent."""
    changed = dict(sections)
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if section in changed:
            changed[section] = changed[section].model_copy(update={name: value})
    return changed


class Params(Section):
    tasks: Annotated[tuple[Text, ...], LIST]
    methods: Annotated[tuple[Method, ...], LIST]
    seeds: Annotated[tuple[Seed, ...], LIST]
    data: Data
    task: dict[TaskName, UserTask]
    model: Model
    teacher: Teacher
    targets: Targets
    student: Student
    distill: Distill
    train: Train
    evaluate: Evaluate
    attention: Attention
    study: Studies
