"""A folder of synthetic results, as the stages before `report` leave it; its texts may be as hostile as they come."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from kdcore.data.tasks import Task
from kdcore.evaluation.attention import Comparison, Example, Seen
from kdcore.params.sections import TaskEntry
from kdcore.report.analysis import Analysis
from kdcore.report.attention import document
from kdcore.report.errors import Outputs, analyse
from kdcore.report.page.write import write_page
from kdcore.report.write import write_main
from tests.unit.report import synthetic_points as synthetic

METHODS, SEEDS, LAYERS = ["none", "soft", "sid"], [0, 1], 3
GRIDS = {
    "methods": {"methods": ["none", "soft", "sid", "sid-kl"]},
    "glue": {
        "tasks": ["movies"],
        "seeds": SEEDS,
        "methods": ["soft", "sid"],
        "teacher": {"seeds": [0]},
    },
    "depth": {"layers": [1, 2], "methods": ["soft", "sid"]},
    "data_size": {"rows": [100, 200], "methods": ["soft", "sid"]},
    "convergence": {"methods": ["soft", "all", "sid"], "head": ["sid"]},
    "ablation": {"methods": ["sid", "sid-cos"], "layer_maps": ["uniform", "last"], "inits": ["teacher", "random"]},
    "tune": {"methods": ["soft", "sid"], "seeds": [7, 8], "knobs": {"train": {"learning_rate": [1e-4, 2e-4]}}},
}
HOSTILE = (
    "<script>window.broken = 1</script>",
    "</script><img src=x onerror=\"window.broken = 1\">",
    "'quotes' \"double\" & an &amp; <b>bold</b>",
    "عمل جميل 🎬 très bon",
    "${1 + 1} {{ 7 * 7 }} $x^2$ \\n \u2028 -->",
)  # fmt: skip
PLAIN = ("A lovely film.", "Dull, and weak.")


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def task(name: str = "movies", labels: Sequence[str] = ("bad", "good")) -> Task:
    return Task(name, ("text",), "label", tuple(labels), ("accuracy",))


def comparison(
    texts: Sequence[str] = PLAIN,
    students: Sequence[str] = ("soft", "sid"),
    heads: int = 4,
    of: Task | None = None,
) -> Comparison:
    """One example per text, its words as tokens; random maps, whose KL is computed here."""
    rng = np.random.default_rng(0)
    of = of or task()
    examples = tuple(_example(rng, place, text, students, heads, of) for place, text in enumerate(texts))
    return Comparison(of, (2, 4, 6), examples)


def _example(rng: np.random.Generator, place: int, text: str, students: Sequence[str], heads: int, of: Task) -> Example:
    tokens = ("[CLS]", *text.split(), "[SEP]")
    seen = {}
    for name in ("teacher", *students):
        maps = rng.dirichlet(np.full(len(tokens), 0.3), (LAYERS, heads, len(tokens)))
        maps = (maps + 1e-3) / (1 + 1e-3 * len(tokens))
        kl = None if name == "teacher" else rel_entr(seen["teacher"].maps, maps).sum(-1).mean(-1)
        seen[name] = Seen(rng.normal(size=len(of.labels) or 1), maps, kl)
    label = 0.5 if of.regression else float(place % len(of.labels))
    return Example(100 + place, (text,), label, "the students disagree", tokens, seen)


def overall(students: Sequence[str], heads: int) -> dict[str, np.ndarray]:
    """KL over all validation rows, another number for each student, layer and head."""
    grid = np.arange(LAYERS * heads).reshape(LAYERS, heads) / 100
    return {name: grid + 0.1 * (place + 1) for place, name in enumerate(students)}


def project(folder: Path, found: Sequence[Comparison], notes: Sequence[str] = ()) -> Path:
    """metrics/main of every task compared, and run.json of the students; no study and no error analysis."""
    tasks = [each.task.name for each in found]
    points, runs = folder / "metrics/main/points", folder / "runs/student"
    synthetic.headline(points, tasks, METHODS, SEEDS)
    for name in tasks:
        for method in METHODS:
            for seed in SEEDS:
                synthetic.history(runs / name / f"{method}-s{seed}" / "history.csv", method, seed)
                write(runs / name / f"{method}-s{seed}" / "run.json", json.dumps(run()))
    write_main(points, runs, folder / "metrics/main", tasks, METHODS, SEEDS, [0], 0.95)
    for each in found:
        first = each.examples[0]
        students = [name for name in first.seen if name != "teacher"]
        made = document(each, 0, overall(students, first.seen["teacher"].maps.shape[1]), notes)
        write(folder / f"metrics/main/attention/{each.task.name}.json", json.dumps(made, ensure_ascii=False))
    return folder


def run() -> dict[str, object]:
    """What the page reads of run.json."""
    weights = {"temperature": 1.0, "hard_label_weight": 0.1, "weights": {"kl": 1.0, "cos": 0.5}}
    epochs = {"epochs_per_layer": 2, "classification_epochs": 4, "trains": "model"}
    chosen = {"init": "teacher", "layer_map": "uniform", "mapped": [2, 4, 6]}
    return chosen | weights | epochs | {"versions": {"python": "3.11", "torch": "2.13", "threads": 2}}


def page(folder: Path, tasks: Sequence[str] = ("movies",), described: Sequence[str] = ("movies",)) -> Path:
    """The page of a project, written; described: the tasks that params.yaml has an entry for."""
    out = folder / "metrics/main/report.html"
    named, entries = dict.fromkeys(tasks, "models/mine"), dict.fromkeys(described, TaskEntry())
    write_page(
        folder / "metrics", folder / "runs/student", out, tasks, METHODS, SEEDS, [0], 0.95, GRIDS, entries, named
    )
    return out


def analysis() -> Analysis:
    """The error analysis of eight hostile examples: the teacher errs on the last, soft on the first and the last."""
    labels = np.arange(8) % 2
    predicted = {name: labels ^ np.isin(np.arange(8), wrong) for name, wrong in (("teacher", [7]), ("soft", [0, 7]))}
    teacher, soft = (np.eye(2)[predicted[name]] for name in ("teacher", "soft"))
    students = {"soft": {0: soft}, "sid": {0: teacher}}
    outputs = Outputs(task(labels=("<i>bad", "good")), labels.astype(float), {0: teacher}, students)
    texts = (HOSTILE * 2)[:8]
    rows = pd.DataFrame({"row": range(8), "text_a": texts, "text_b": None})
    found = analyse(outputs, rows, 0.95)
    assert isinstance(found, Analysis)
    return found


def unpack(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weights that `pack` made text of, as the page's script reads them."""
    levels = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    return np.square(levels.reshape(shape) / 255.0)
