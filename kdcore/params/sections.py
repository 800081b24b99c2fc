"""The sections of params.yaml as types. The library takes them as they are; rules across them are in rules.py."""

from typing import TYPE_CHECKING, Annotated, Any, Required, TypeAlias

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
from kdcore.studies import STUDIES, Study


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


class Model(Section):
    name: Text
    revision: TextOrNull
    max_length: Length


class Teacher(Section):
    finetuned: TextOrNull
    revision: TextOrNull
    rows: Rows
    epochs: Count
    learning_rate: LearningRate
    seeds: Annotated[tuple[Seed, ...], LIST]
    floor: Score


class Targets(Section):
    store: Store
    dtype: Dtype
    disk_gb: Amount


class Student(Section):
    layers: Count
    rows: Rows
    init: Init
    layer_map: LayerMap


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


class Train(Section):
    batch_size: Count
    accumulate: Count
    learning_rate: LearningRate
    schedule: Schedule
    warmup: Share
    weight_decay: Amount
    clip: Amount
    precision: Precision
    threads: Count
    checkpoint_seconds: Amount
    history_rows: Count


def _strict(name: str, fields: dict[str, Any], total: bool = True) -> Any:
    """The type of a mapping with these keys and no others; total: each is needed."""
    make: Any = TypedDict  # whose names a type checker wants to read here
    mapping = make(name, fields, total=total)
    mapping.__pydantic_config__ = Section.model_config
    return mapping


def _some(section: type[Section], without: str = "", needs: str = "") -> Any:
    """The type of a mapping with some of the section's knobs, each checked as in the section itself."""
    knobs: dict[str, Any] = {
        name: Annotated[knob.annotation, *knob.metadata] if knob.metadata else knob.annotation
        for name, knob in section.model_fields.items()
        if name != without
    }
    if needs:
        knobs[needs] = Required[knobs[needs]]
    return _strict(section.__name__, knobs, total=False)


if TYPE_CHECKING:
    SomeTeacher: TypeAlias = dict[str, Any]
    SomeStudent: TypeAlias = dict[str, Any]
    SomeDistill: TypeAlias = dict[str, Any]
    SomeTrain: TypeAlias = dict[str, Any]
else:
    SomeTeacher, SomeStudent = _some(Teacher, without="seeds"), _some(Student)  # every task has as many teachers
    SomeDistill, SomeTrain = _some(Distill), _some(Train)


class MethodSettings(Section):
    """The knobs that are other ones for a method of a task."""

    student: SomeStudent = {}
    distill: SomeDistill = {}
    train: SomeTrain = {}


class TaskEntry(MethodSettings):
    """What `task:` says of one task: its knobs that are other ones, and what a task of the user's own is.

    labels are left out for a regression; a built-in task has none of text, label, labels and metrics.
    """

    text: Annotated[tuple[Text, ...], LIST] = ()
    label: Text = ""
    labels: tuple[Text, ...] = ()
    metrics: Annotated[tuple[Metric, ...], LIST] = ()
    teacher: SomeTeacher = {}
    methods: dict[Method, MethodSettings] = {}


class Evaluate(Section):
    batch_size: Count
    confidence: Between


class Attention(Section):
    standard: Method
    internal: Method
    examples: Count


Grid: TypeAlias = dict[str, tuple[Any, ...]]  # the section of one study: list name -> values

# The sections whose knobs a study may vary: those of a student, so that all of its students have one teacher.
VARIED: dict[str, type[Section]] = {"student": Student, "distill": Distill, "train": Train}


def _values_of(key: str) -> Any:
    """The type of a study's list of values for the knob `key`: each is checked like the knob itself."""
    section, _, name = key.partition(".")
    knob = VARIED[section].model_fields[name]
    return Annotated[tuple[Annotated[knob.annotation, *knob.metadata, PLAIN], ...], LIST]  # type: ignore[name-defined]


def _grid_of(study: Study) -> Any:
    axes = {axis.values: _values_of(axis.key) for axis in study.axes}
    arms = {arm.methods: Annotated[tuple[Annotated[str, OneOf(arm.allowed)], ...], LIST] for arm in study.arms}
    return _strict(study.name, axes | arms | (_own() if study.own else {}))


def _own() -> dict[str, Any]:
    """What a study has that has tasks and knobs of its own; DVC looks for data.path and teacher.seeds."""
    lists = {"tasks": Annotated[tuple[Text, ...], LIST], "seeds": Annotated[tuple[Seed, ...], LIST]}
    sections = {
        "data": _some(Data, needs="path"),
        "model": _some(Model),
        "teacher": _some(Teacher, needs="seeds"),
        **{name: _some(section) for name, section in VARIED.items()},
    }
    return lists | sections


if TYPE_CHECKING:
    Studies: TypeAlias = dict[str, Grid]
else:
    Studies = _strict("Studies", {study.name: _grid_of(study) for study in STUDIES.values()})


class Params(Section):
    tasks: Annotated[tuple[Text, ...], LIST]
    methods: Annotated[tuple[Method, ...], LIST]
    seeds: Annotated[tuple[Seed, ...], LIST]
    data: Data
    task: dict[TaskName, TaskEntry]
    model: Model
    teacher: Teacher
    targets: Targets
    student: Student
    distill: Distill
    train: Train
    evaluate: Evaluate
    attention: Attention
    study: Studies
