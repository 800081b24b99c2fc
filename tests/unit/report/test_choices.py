"""The choice of each method: the best mean, the first of equals, beside the untuned one; and how it is applied."""

import itertools
from pathlib import Path

from kdcore.report import points
from kdcore.report.choices import choices, chosen_blocks, options
from kdcore.report.markdown import Table
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


def made(folder: Path, untuned: float = 0.7, rate: float = 3e-4, task: str = "movies") -> list[points.Run]:
    """untuned: the scores of both methods with that rate."""
    synthetic.write(folder / "teacher.json", synthetic.teacher(task))
    for method, seed in itertools.product(GRID["methods"], GRID["seeds"]):
        asked = {"settings": "untuned", "learning_rate": rate, "classification_epochs": 4}
        path = folder / f"{task}/{method}/untuned-s{seed}.json"
        synthetic.write(path, synthetic.point(task, method, seed, score=untuned, **asked))
    for (method, listed), scores in SCORES.items():
        for seed, score in zip(GRID["seeds"], scores, strict=True):
            asked = {"learning_rate": listed, "classification_epochs": 4}
            path = folder / f"{task}/{method}/learning_rate={listed}-classification_epochs=4-s{seed}.json"
            synthetic.write(path, synthetic.point(task, method, seed, score=score, **asked))
    return points.read(points.of_study(STUDY, folder, {task: {0: folder / "teacher.json"}}, GRID, [0, 1, 2]))


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


def test_what_was_chosen_stands_beside_the_untuned_settings_and_their_score(tmp_path: Path):
    _, blocks = summary(STUDY, made(tmp_path), GRID, 0.95)
    table = next(block for block in blocks if isinstance(block, Table))
    assert table.header[:5] == ["task", "method", "settings", "learning rate", "classification epochs"]
    assert [[*line[1:5], line[5][:5]] for line in table.body] == [
        ["soft", "untuned", "0.0003", "4", "0.700"],
        ["soft", "chosen", "0.0001", "4", "0.800"],
        ["sid", "untuned", "0.0003", "4", "0.700"],
        ["sid", "chosen", "5e-05", "4", "0.810"],
    ]
    assert "highest of 3 on these very rows" in " ".join(block for block in blocks if isinstance(block, str))
    assert any("training rows held out" in getattr(block, "text", "") for block in blocks)


def test_where_nothing_tried_is_better_the_untuned_settings_are_kept(tmp_path: Path):
    rows, _ = summary(STUDY, made(tmp_path, untuned=0.8), GRID, 0.95)
    assert {row.method: row.keys["learning_rate"] for row in choices(rows)} == {"soft": 3e-4, "sid": 5e-5}
    settings = {line[1]: line[2] for line in chosen_blocks(rows, {"method": "", "settings": ""})[1].body[:2]}
    assert settings == {"soft": "untuned and chosen", "sid": "untuned"}


def test_a_student_that_is_there_twice_counts_once_and_each_task_by_itself(tmp_path: Path):
    """The untuned rate is one of the two listed on both tasks, and then on one of them."""
    for other, said in ((5e-5, "the highest of 2 on"), (3e-4, "the highest of 2 or 3 on")):
        runs = made(tmp_path, rate=1e-4) + made(tmp_path, rate=other, task="other")
        _, blocks = summary(STUDY, runs, GRID, 0.95)
        assert said in " ".join(block for block in blocks if isinstance(block, str))
