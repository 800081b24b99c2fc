"""The studies beside the headline run: what each one asks, and what its folder in metrics/ holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdcore.report.page.prose import Block, blocks


@dataclass(frozen=True)
class Study:
    """A study as the page introduces it. paper: the figure or table of the paper that it repeats, if any."""

    name: str
    title: str
    asks: str
    paper: str = ""

    @property
    def command(self) -> str:
        return f"dvc repro stages/dvc.yaml:{self.name}"


STUDIES = (
    Study(
        "methods",
        "Every schedule, every loss",
        "Which schedule helps, and which of its two internal losses?",
    ),
    Study(
        "depth",
        "Depth",
        "How many layers does a student need, with and without internal distillation?",
        "Figure 2",
    ),
    Study(
        "data_size",
        "Training size",
        "Does internal distillation help more when there is less to learn from?",
        "Figure 3",
    ),
    Study(
        "convergence",
        "Convergence",
        "How does each schedule get to its score, and what if its last phase trains the head alone?",
        "Figure 4",
    ),
    Study(
        "ablation",
        "Ablation",
        "How much depends on the layer map, on where the student starts, and on each loss?",
    ),
)


@dataclass(frozen=True)
class Found:
    """A study's results: its figures by name, as SVG, and its table. Both are empty where it has not run."""

    study: Study
    figures: tuple[Path, ...]
    table: tuple[Block, ...]


def found(metrics: Path) -> Iterator[Found]:
    """Every study, in the page's order."""
    for study in STUDIES:
        folder = metrics / study.name
        table = folder / "table.md"
        text = table.read_text(encoding="utf-8") if table.is_file() else ""
        yield Found(study, tuple(sorted((folder / "figures").glob("*.svg"))), tuple(blocks(text)))
