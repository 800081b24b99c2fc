"""The sections of params.yaml as types. The library takes them as they are; rules across them are in rules.py."""

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, WrapValidator

from kdcore.params.values import (
    LIST,
    Between,
    Classification,
    Cosine,
    Count,
    CountOrAll,
    Dtype,
    FloatOrNull,
    Init,
    LayerMap,
    Length,
    Method,
    Metric,
    NamedMap,
    Positive,
    Precision,
    Progressive,
    Schedule,
    Seed,
    Share,
    ShareOrNull,
    Source,
    Store,
    TaskName,
    Text,
    TextOrNull,
    Trains,
    Weight,
    layer_map,
    one_of,
)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Section):
    source: Annotated[Source, one_of(Source)]
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


class Teacher(Section):
    finetuned: TextOrNull
    revision: TextOrNull
    rows: CountOrAll
    epochs: Count
    learning_rate: Positive
    seed: Seed
    floor: FloatOrNull


class Targets(Section):
    store: Annotated[Store, one_of(Store)]
    dtype: Annotated[Dtype, one_of(Dtype)]
    disk_gb: Weight


class Student(Section):
    layers: Count
    rows: CountOrAll
    init: Annotated[Init, one_of(Init)]
    layer_map: Annotated[LayerMap, WrapValidator(layer_map)]


class Distill(Section):
    temperature: Positive
    hard_label_weight: Weight
    kl_weight: Weight
    cos_weight: Weight
    epochs_per_layer: Count
    cosine_threshold: Cosine
    classification_epochs: Count
    classification: Annotated[Classification, one_of(Classification)]
    trains: Annotated[Trains, one_of(Trains)]


class Train(Section):
    batch_size: Count
    accumulate: Count
    learning_rate: Positive
    schedule: Annotated[Schedule, one_of(Schedule)]
    warmup: Share
    weight_decay: Weight
    clip: Weight
    precision: Annotated[Precision, one_of(Precision)]
    threads: Count
    checkpoint_seconds: Weight
    history_rows: Count


class Evaluate(Section):
    batch_size: Count
    confidence: Between


class Attention(Section):
    standard: Annotated[Method, one_of(Method)]
    internal: Annotated[Method, one_of(Method)]
    examples: Count


MethodList: TypeAlias = Annotated[tuple[Annotated[Method, one_of(Method)], ...], LIST]


class Depth(Section):
    layers: Annotated[tuple[Count, ...], LIST]
    methods: MethodList


class DataSize(Section):
    rows: Annotated[tuple[Count, ...], LIST]
    methods: MethodList


class Methods(Section):
    methods: MethodList


class Convergence(Section):
    methods: MethodList
    head: Annotated[tuple[Annotated[Progressive, one_of(Progressive)], ...], LIST]


class Ablation(Section):
    methods: MethodList
    layer_maps: Annotated[tuple[Annotated[NamedMap, one_of(NamedMap)], ...], LIST]
    inits: Annotated[tuple[Annotated[Init, one_of(Init)], ...], LIST]


class Study(Section):
    methods: Methods
    depth: Depth
    data_size: DataSize
    convergence: Convergence
    ablation: Ablation


class Params(Section):
    tasks: Annotated[tuple[Text, ...], LIST]
    methods: Annotated[tuple[Annotated[Method, one_of(Method)], ...], LIST]
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
    study: Study
