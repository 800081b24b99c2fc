"""The sections of params.yaml as types, with what each knob is where the file leaves it out.

These defaults suit a user's own project. The library takes sections as they are; rules across them are in rules.py.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Required, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict
from typing_extensions import TypedDict

from kdcore.distil.methods import INTERNAL
from kdcore.params.values import (
    LIST,
    OPTIONAL,
    PLAIN,
    Amount,
    Below,
    Between,
    Classification,
    Confidence,
    Cosine,
    Count,
    Dropout,
    Dtype,
    Flag,
    Head,
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
    Tracker,
    Trains,
)
from kdcore.studies import STUDIES, Grid, Study


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Section):
    source: Source = "local"
    path: Text = "data/raw"
    hub: Text = "nyu-mll/glue"
    revision: Text = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
    configuration: TextOrNull = None
    columns: dict[Text, Text] = {}
    splits: dict[Text, Text] = {}
    validation_share: ShareOrNull = None


class Model(Section):
    name: Text = "embedded"
    revision: TextOrNull = None
    max_length: Length = 128


class Steps(Section):
    """How optimizer steps are taken: by the teacher as `teacher` says, by the students as `train` says."""

    batch_size: Count = 32
    accumulate: Count = 1
    learning_rate: LearningRate = 1e-4
    warmup: Share = 0.1
    weight_decay: Amount = 0.01
    clip: Amount = 1.0


class Shared(Section):
    """What teacher and students have in common of `train`: how the machine works, and how much of it is watched."""

    precision: Precision = "no"
    threads: Count = 2
    checkpoint_seconds: Amount = 10
    history_rows: Count = 250


class Train(Steps, Shared):
    schedule: Schedule = "per_phase"
    track: Annotated[tuple[Tracker, ...], OPTIONAL] = ()
    keep: Keep = "last"
    dropout: Dropout = None


class Teacher(Steps):
    finetuned: TextOrNull = None
    revision: TextOrNull = None
    rows: Rows = None
    epochs: Count = 3
    learning_rate: LearningRate = 5e-5
    seeds: Annotated[tuple[Seed, ...], LIST] = (0,)
    floor: Score = None

    def training(self, shared: Shared) -> Train:
        """Its own steps, with what it shares with the students."""
        own = {name: getattr(self, name) for name in Steps.model_fields}
        return Train(**own, **{name: getattr(shared, name) for name in Shared.model_fields})


class Targets(Section):
    store: Store = "auto"
    dtype: Dtype = "float16"
    disk_gb: Amount = 20.0


class Student(Section):
    layers: Count = 3
    rows: Rows = None
    init: Init = "teacher"
    head: Head = "teacher"
    layer_map: LayerMap = "uniform"
    floor: Score = None


class Distill(Section):
    """weights: of the internal losses by name; one that is absent weighs 0."""

    temperature: Temperature = 1.0
    hard_label_weight: Amount = 0.1
    weights: dict[Annotated[str, OneOf(tuple(INTERNAL))], Amount] = {"kl": 1.0, "cos": 1.0}
    epochs_per_layer: Count = 2
    cosine_threshold: Cosine = 0.0
    classification_epochs: Count = 4
    classification: Classification = "last"
    below: Below = "train"
    trains: Trains = "model"


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

    labels are left out for a regression, and label may be where metrics are of the teacher's answers; a built-in task
    has none of text, label, labels and metrics.
    """

    text: Annotated[tuple[Text, ...], LIST] = ()
    label: Text = ""
    labels: tuple[Text, ...] = ()
    metrics: Annotated[tuple[Metric, ...], LIST] = ()
    teacher: SomeTeacher = {}
    methods: dict[Method, MethodSettings] = {}


class Evaluate(Section):
    batch_size: Count = 64
    confidence: Confidence = 0.95


class Attention(Section):
    standard: Method = "soft"
    internal: Method = "sid"
    examples: Count = 6


class Report(Section):
    texts: Flag = False


# The sections whose knobs a study may vary: those of a student, so that all of its students have one teacher.
VARIED: dict[str, type[Section]] = {"student": Student, "distill": Distill, "train": Train}


def _values_of(key: str) -> Any:
    """The type of a study's list of values for the knob `key`: each is checked like the knob itself."""
    section, _, name = key.partition(".")
    knob = VARIED[section].model_fields[name]
    return Annotated[tuple[Annotated[knob.annotation, *knob.metadata, PLAIN], ...], LIST]  # type: ignore[name-defined]


def _mapping(name: str, fields: dict[str, Any], usual: Mapping[str, Any]) -> Any:
    """The type of a mapping with these keys and no others; one that is left out is as usual."""
    fill = BeforeValidator(lambda given: {**usual, **given} if isinstance(given, dict) else given)
    return Annotated[_strict(name, fields), fill]


def _grid_of(study: Study) -> Any:
    axes = {axis.values: _values_of(axis.key) for axis in study.axes}
    arms = {arm.methods: Annotated[tuple[Annotated[str, OneOf(arm.allowed)], ...], LIST] for arm in study.arms}
    tuning = {"seeds": Annotated[tuple[Seed, ...], LIST], "share": Between, "knobs": _knobs()} if study.tunes else {}
    return _mapping(study.name, axes | arms | tuning | (_own() if study.own else {}), study.usual)


def _knobs() -> Any:
    """The type of the lists of a study that tunes: of any knob that makes another student of the same depth."""
    fixed = {"layers", "floor", "weights", "track", *Shared.model_fields}
    sections = {
        section: {name: _values_of(f"{section}.{name}") for name in kind.model_fields if name not in fixed}
        for section, kind in VARIED.items()
    }
    some = {name: _strict(name, lists, total=False) for name, lists in sections.items()}
    return _strict("Knobs", some, total=False)


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


GRIDS: dict[str, Any] = {study.name: dict(study.usual) for study in STUDIES.values()}

if TYPE_CHECKING:
    Studies: TypeAlias = dict[str, Grid]
else:
    Studies = _mapping("Studies", {study.name: _grid_of(study) for study in STUDIES.values()}, GRIDS)


class Params(Section):
    """The whole file; only what is to be learned has no default."""

    tasks: Annotated[tuple[Text, ...], LIST]
    methods: Annotated[tuple[Method, ...], LIST] = ("none", "soft", "pid", "sid")
    seeds: Annotated[tuple[Seed, ...], LIST] = (0, 1, 2)
    data: Data = Data()
    task: dict[TaskName, TaskEntry] = {}
    model: Model = Model()
    teacher: Teacher = Teacher()
    targets: Targets = Targets()
    student: Student = Student()
    distill: Distill = Distill()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    attention: Attention = Attention()
    report: Report = Report()
    study: Studies = GRIDS
