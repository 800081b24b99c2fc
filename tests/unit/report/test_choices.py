"""The choice of each method: the best mean, the first of equals, and the options that apply it."""

from pathlib import Path

from kdcore.report import points
from kdcore.report.choices import choices, options
from kdcore.report.write import summary
from kdcore.studies import STUDIES
from tests.unit.report import synthetic_points as synthetic

STUDY = STUDIES["tune"]
GRID = {
    "methods": ["soft", "sid"],
    "seeds": [7, 8],
    "share": 0.2,
    "knobs": {"train": {"learning_rate": [1e-4, 5e-5]}, "distill": {"classification_epochs": [4]}},
}
# Means: soft 0.80 and 0.80, sid 0.79 and 0.81.
SCORES = {
    ("soft", 1e-4): (0.79, 0.81),
    ("soft", 5e-5): (0.80, 0.80),
    ("sid", 1e-4): (0.83, 0.75),
    ("sid", 5e-5): (0.82, 0.80),
}


def made(folder: Path) -> list[points.Run]:
    synthetic.write(folder / "teacher.json", synthetic.teacher("movies"))
    for (method, rate), scores in SCORES.items():
        for seed, score in zip(GRID["seeds"], scores, strict=True):
            asked = {"learning_rate": rate, "classification_epochs": 4}
            path = folder / f"movies/{method}/learning_rate={rate}-classification_epochs=4-s{seed}.json"
            synthetic.write(path, synthetic.point("movies", method, seed, score=score, **asked))
    return points.read(points.of_study(STUDY, folder, {"movies": {0: folder / "teacher.json"}}, GRID, [0, 1, 2]))


def test_the_best_mean_is_chosen_and_of_equals_the_first_that_is_listed(tmp_path: Path):
    rows, _ = summary(STUDY, made(tmp_path), GRID, 0.95)
    assert {row.method: row.keys["learning_rate"] for row in choices(rows)} == {"soft": 1e-4, "sid": 5e-5}


def test_the_options_set_the_knobs_of_the_task_and_method(tmp_path: Path):
    rows, _ = summary(STUDY, made(tmp_path), GRID, 0.95)
    assert options(choices(rows), STUDY.asked(GRID).axes).splitlines() == [
        "-S ++task.movies.methods.soft.train.learning_rate=0.0001",
        "-S ++task.movies.methods.soft.distill.classification_epochs=4",
        "-S ++task.movies.methods.sid.train.learning_rate=5e-05",
        "-S ++task.movies.methods.sid.distill.classification_epochs=4",
    ]
