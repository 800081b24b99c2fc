"""A finished student and the headline run's points in; the scores that its model card shows out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdcore.artefacts import read_proved
from kdcore.distil.card import Scores
from kdcore.evaluation.score import KEPT
from kdcore.report.markdown import estimate_text
from kdcore.report.statistics import limits, mean, over, percent

CONFIDENCE = 0.95
# The rest is the recipe, which its seeds share.
OF_ONE_RUN = ("seed", "teacher_seed", "epochs", "last_losses", "selected", "gflop")


def known_scores(facts: Mapping[str, Any], points: Path) -> Scores | None:
    """What the points say of a student; None where none is its own, by everything that they hold of its run.json.

    facts: run.json; points: the folder of the task's points, which may be absent. Raises UserError for a damaged one.
    """
    found = [read_proved(path, "dvc repro") for path in sorted(points.glob("*.json"))]
    own = next((point for point in found if _same(point, facts)), None)
    if own is None:
        return None
    metric, validation = own["metric"], own["scores"]["validation"]
    recipe = [point for point in found if point["method"] == own["method"] and _same(point, own, OF_ONE_RUN)]
    scores, teachers = ([point[key] for point in recipe] for key in ("score", "teacher_seed"))
    over_seeds = mean(scores, CONFIDENCE, teachers).within(*limits(metric))
    words = (
        f"{estimate_text(over_seeds, 3)} ({percent(CONFIDENCE)} t interval over {over(len(recipe), len({*teachers}))})"
    )
    taught_by = [
        point["score"] for point in found if point["method"] == "teacher" and point["seed"] == own["teacher_seed"]
    ]
    return Scores(
        metrics={metric: own["score"]} | validation,
        teacher=taught_by[0] if taught_by else None,
        agreement=own["fidelity"].get("agreement"),
        seeds=words if over_seeds.low is not None else "",
        test=own.get("test", {"scores": {"test": {}}})["scores"]["test"],
    )


def _same(point: Mapping[str, Any], other: Mapping[str, Any], but: tuple[str, ...] = ()) -> bool:
    """Whether the point is of that run, or recipe. Equal students share a run, which may have another method's name."""
    kept = (key for key in KEPT if key not in ("method", *but))
    return "fidelity" in point and all(point.get(key) == other.get(key) for key in kept)
