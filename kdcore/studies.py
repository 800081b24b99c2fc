"""The studies as data: what each one asks, which params it varies, and how its results are summed up and drawn.

A new study is an entry of STUDIES, a section under `study:` in params.yaml, and its stages in stages/dvc.yaml.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from kdcore.distil.methods import METHODS, PROGRESSIVE, variants

OWN = ("data", "model", "teacher", "student", "distill", "train")  # sections of which a study may have knobs of its own
UNTUNED = "untuned"


def field_of(key: str) -> str:
    """The field of a point that holds a knob's value: the last part of its params key."""
    return key.rpartition(".")[2]


@dataclass(frozen=True)
class Axis:
    """A knob that a study varies.

    values: its list in params.yaml, study.<study>.<values>; key: of the knob itself, e.g. student.layers; title: in
    tables; mark: before a value in the name of a point.
    """

    values: str
    key: str
    title: str
    mark: str = ""

    @property
    def field(self) -> str:
        """The field of a point that holds its value."""
        return field_of(self.key)


@dataclass(frozen=True)
class Arm:
    """Students of a study that share a list of methods (study.<study>.<methods>) and have some knobs set.

    sets: params key -> value; allowed: the methods that the list may name.
    """

    methods: str = "methods"
    sets: Mapping[str, Any] = field(default_factory=dict)
    allowed: tuple[str, ...] = METHODS

    @property
    def fields(self) -> dict[str, Any]:
        """What it sets, by field of a point."""
        return {field_of(key): value for key, value in self.sets.items()}


@dataclass(frozen=True)
class Study:
    """One study. paper: the figure or table of the paper that it repeats, if any.

    summary: `methods` sums up and draws a row per method, `curve` a line per method over its one axis, `schedules`
    scores by epoch, `recipes` a row per method and choice, beside the first of each list, `choices` the best of each
    method; tunes: params.yaml lists the knobs too, study.<study>.knobs, and the seeds, study.<study>.seeds; each method
    has untuned students beside those; its points lie in a folder per method; own: whether it has tasks, seeds, data and
    teachers of its own, and perhaps other knobs: study.<study>.tasks, .seeds, .<section>.<knob>; usual: what its
    section of params.yaml has where the file leaves it out, list name -> values.
    """

    name: str
    title: str
    question: str
    summary: Literal["methods", "curve", "schedules", "recipes", "choices"]
    paper: str = ""
    axes: tuple[Axis, ...] = ()
    arms: tuple[Arm, ...] = (Arm(),)
    tunes: bool = False
    own: bool = False
    usual: Mapping[str, Any] = field(kw_only=True)

    @property
    def data(self) -> Path:
        """The folder of its prepared tasks."""
        return Path("runs") / self.name / "data" if self.own else Path("data")

    @property
    def asks(self) -> dict[str, str]:
        """Knob that it varies -> list that asks for its values, e.g. student.layers -> study.depth.layers."""
        return {axis.key: f"study.{self.name}.{axis.values}" for axis in self.axes}

    def asked(self, grid: "Grid") -> "Study":
        """The study with an axis for each knob that its section of params.yaml lists."""
        knobs = [(section, name) for section, named in grid.get("knobs", {}).items() for name in named]
        listed = tuple(
            Axis(f"knobs.{section}.{name}", f"{section}.{name}", name.replace("_", " "), f"{name}=")
            for section, name in knobs
        )
        return replace(self, axes=(*self.axes, *listed))

    def tuned(self, grid: "Grid") -> tuple[str, ...]:
        """The knobs that it chooses for each method: a method's own, perhaps chosen before, don't hold there."""
        return tuple(self.asked(grid).asks) if self.tunes else ()

    @property
    def command(self) -> str:
        return f"dvc repro stages/dvc.yaml:{self.name}"


Grid: TypeAlias = Mapping[str, Any]  # a study's section of params.yaml: list name -> values


@dataclass(frozen=True)
class Cell:
    """One student of a study, whatever its seed.

    name: of its files, before the seed; sets: params key -> value; asked: the params keys that ask for it -> value;
    untuned: whether it is what a study that tunes compares its method with, the knobs being those of all methods.
    """

    name: str
    method: str
    sets: Mapping[str, Any]
    asked: Mapping[str, Any]
    untuned: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """What its points say of it: the field of each params key -> value."""
        settings = {"settings": UNTUNED} if self.untuned else {}
        return {"method": self.method} | settings | {field_of(key): value for key, value in self.sets.items()}


STUDIES = {
    study.name: study
    for study in (
        Study(
            "methods",
            "Every schedule, every loss",
            "Which schedule helps, and which of its two internal losses?",
            "methods",
            usual={"methods": METHODS},
        ),
        Study(
            "glue",
            "GLUE",
            "Does internal distillation help over tasks, at half of the teacher's layers?",
            "methods",
            paper="Table 1",
            own=True,
            usual={
                "tasks": ("cola", "mrpc", "rte", "qqp"),
                "methods": ("soft", "pid", "sid"),
                "seeds": (0, 1, 2, 3, 4),
                "data": {"source": "local", "path": "data/raw"},
                "model": {"name": "embedded-12"},
                "teacher": {"finetuned": None, "learning_rate": 1e-4, "seeds": (0, 1, 2, 3, 4), "rows": 10000},
                "student": {"layers": 6, "rows": 1000, "init": "pretrained", "head": "new"},
                "distill": {},
                "train": {"precision": "bf16", "threads": 1},
            },
        ),
        Study(
            "depth",
            "Depth",
            "How many layers does a student need, with and without internal distillation?",
            "curve",
            paper="Figure 2",
            axes=(Axis("layers", "student.layers", "layers", "L"),),
            usual={"layers": (1, 2, 3, 4, 5), "methods": ("none", "soft", "sid")},
        ),
        Study(
            "data_size",
            "Training size",
            "Does internal distillation help more when there is less to learn from?",
            "curve",
            paper="Figure 3",
            axes=(Axis("rows", "student.rows", "training rows", "n"),),
            usual={"rows": (250, 500, 1000, 2000, 4000), "methods": ("soft", "sid")},
        ),
        Study(
            "convergence",
            "Convergence",
            "How does each schedule get to its score, and what if its last phase trains the head alone?",
            "schedules",
            paper="Figure 4",
            arms=(
                Arm(sets={"distill.trains": "model"}),
                Arm("head", {"distill.trains": "head"}, allowed=variants(PROGRESSIVE)),
            ),
            usual={"methods": ("none", "soft", "all", "pid", "sid"), "head": ("pid", "sid")},
        ),
        Study(
            "ablation",
            "Ablation",
            "How much depends on the layer map, on where the student starts, and on each loss?",
            "recipes",
            axes=(
                Axis("layer_maps", "student.layer_map", "layer map"),
                Axis("inits", "student.init", "initialisation"),
            ),
            usual={
                "methods": ("sid", "sid-kl", "sid-cos"),
                "layer_maps": ("uniform", "last"),
                "inits": ("teacher", "pretrained", "random"),
            },
        ),
        Study(
            "tune",
            "Tuning",
            "Which rate and how many epochs does each method need, when all may try equally much?",
            "choices",
            tunes=True,
            usual={
                "methods": ("none", "soft", "pid", "sid"),
                "seeds": (1000, 1001),
                "share": 0.2,
                "knobs": {
                    "train": {"learning_rate": (5e-5, 1e-4, 2e-4)},
                    "distill": {"classification_epochs": (4, 8)},
                },
            },
        ),
    )
}


def cells(study: Study, grid: Grid) -> Iterator[Cell]:
    """Every cell of a study. grid: its section of params.yaml."""
    study = study.asked(grid)
    if study.tunes:
        for method in grid["methods"]:
            yield Cell(f"{method}/{UNTUNED}", method, {}, {f"study.{study.name}.methods": method}, untuned=True)
    for arm in study.arms:
        for method, *values in itertools.product(grid[arm.methods], *(listed(grid, axis) for axis in study.axes)):
            varied = list(zip(study.axes, values, strict=True))
            named = "-".join(map(str, [*arm.sets.values(), *(f"{axis.mark}{value}" for axis, value in varied)]))
            yield Cell(
                name=f"{method}/{named}" if study.tunes else "-".join(filter(None, [method, named])),
                method=method,
                sets={**arm.sets, **{axis.key: value for axis, value in varied}},
                asked={f"study.{study.name}.{arm.methods}": method}
                | {study.asks[axis.key]: value for axis, value in varied},
            )


def teacher_of(seed: int, teachers: Sequence[int]) -> int:
    """The seed of the teacher of a student with this seed: the teachers take turns."""
    return teachers[seed % len(teachers)]


def idle_teachers(seeds: Sequence[int], teachers: Sequence[int]) -> list[int]:
    """The seeds of those teachers that teach no student with one of these seeds."""
    taught = {teacher_of(seed, teachers) for seed in seeds}
    return [teacher for teacher in teachers if teacher not in taught]


def listed(grid: Grid, axis: Axis) -> Sequence[Any]:
    """The values that params.yaml lists for an axis."""
    section: Any = grid
    for name in axis.values.split("."):
        section = section[name]
    return section
