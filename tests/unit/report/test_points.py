"""Which points are asked for, what is said of missing and broken ones; how methods are ordered and drawn."""

import json

import pytest

from kdcore.artefacts import proved, publish_all
from kdcore.errors import UserError
from kdcore.report import points
from kdcore.report.methods import look, meaning, ordered
from tests.unit.report import synthetic_points as synthetic
from tests.unit.report.test_summary import depth_study, put

SEEDS = [0, 1, 2]


@pytest.fixture
def movies(tmp_path):
    """A teacher, and soft and sid of three seeds."""
    synthetic.write(tmp_path / "movies" / "teacher-s0.json", synthetic.teacher("movies"))
    put(tmp_path, "movies", "soft", [0.80, 0.82, 0.78])
    put(tmp_path, "movies", "sid", [0.82, 0.83, 0.81])
    return tmp_path


def read(folder, tasks, methods):
    return points.read(points.headline(folder, tasks, methods, SEEDS, [0]))


def test_methods_are_ordered_and_each_has_a_look_of_its_own():
    methods = ["sid-cos", "sid", "teacher", "pid-kl", "none", "sid-kl", "soft", "all", "pid"]
    order = ["teacher", "none", "soft", "all", "pid", "pid-kl", "sid", "sid-kl", "sid-cos"]
    assert ordered(methods) == order
    assert len({look(method) for method in order}) == len(order)
    assert len({meaning(method) for method in order}) == len(order)


def test_a_point_of_before_that_notes_its_seconds_is_read_as_if_it_did_not(movies):
    now = read(movies, ["movies"], ["soft", "sid"])
    for seed in SEEDS:
        path = movies / f"movies/sid-s{seed}.json"
        synthetic.write(path, json.loads(path.read_text()) | {"seconds": 29.0 + seed})
    before = read(movies, ["movies"], ["soft", "sid"])
    assert [(run["score"], run["cost"]) for run in before] == [(run["score"], run["cost"]) for run in now]


def test_a_teacher_that_was_fine_tuned_elsewhere_has_no_cost_of_training(movies):
    path = movies / "movies/teacher-s0.json"
    synthetic.write(path, json.loads(path.read_text()) | {"epochs": 0, "gflop": 0.0})
    teacher, student, *_ = read(movies, ["movies"], ["soft", "sid"])
    assert (teacher["cost"].get("gflop"), student["cost"]["gflop"]) == (None, 4200.0)


@pytest.mark.parametrize(
    ("lost", "key"),
    [
        (["movies/teacher-s0.json"], "teacher.seeds: 0"),
        (["movies/sid-s0.json", "movies/sid-s1.json", "movies/sid-s2.json"], "methods: sid"),
        (["movies/soft-s2.json", "movies/sid-s2.json"], "seeds: 2"),
        (["movies/sid-s1.json"], "seeds: 1"),
    ],
)
def test_a_missing_point_names_the_params_key_that_asks_for_it(movies, lost, key):
    for name in lost:
        (movies / name).unlink()
    with pytest.raises(UserError) as caught:
        read(movies, ["movies"], ["soft", "sid"])
    assert str(caught.value).startswith(f"params.yaml: {key} is asked for, but {movies / lost[0]}")


def test_missing_points_are_all_named_at_once(movies):
    with pytest.raises(UserError) as caught:
        read(movies, ["movies", "rte"], ["soft", "pid"])
    assert [problem.split(" is asked")[0] for problem in caught.value.problems] == [
        "methods: pid",
        "tasks: rte",
    ]
    assert "and 6 more are missing" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not valid JSON"),
        ("[]", "point: "),
        (json.dumps(synthetic.point("movies", "pid", 0)), "method: expected sid, found pid"),
        (json.dumps(synthetic.point("movies", "sid", 4)), "seed: expected 0, found 4"),
        (json.dumps(synthetic.point("movies", "sid", 0) | {"score": float("nan")}), "score: "),
        (
            json.dumps(synthetic.point("movies", "sid", 0) | {"score": 0.5}),
            "point: score is 0.5, but scores.validation.accuracy is 0.816",
        ),
    ],
)
def test_a_broken_point_is_named_with_its_field(movies, text, problem):
    path = movies / "movies/sid-s0.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read(movies, ["movies"], ["soft", "sid"])
    assert str(caught.value).startswith(f"{path}: {problem}")


@pytest.mark.parametrize(("key", "value"), [("score", 0.5), ("rows", 1), ("bytes", 7), ("sha256", "0" * 64)])
def test_a_point_that_was_changed_is_named_and_one_of_an_older_version_is_read(movies, key, value):
    path = movies / "movies/sid-s0.json"
    point = json.loads(path.read_text())
    path.write_text(json.dumps(proved(point), indent=1))
    before = read(movies, ["movies"], ["soft", "sid"])
    path.write_text(json.dumps(proved(point) | {key: value}))
    with pytest.raises(UserError) as caught:
        read(movies, ["movies"], ["soft", "sid"])
    assert str(caught.value) == f"{path}: was changed since it was written; `dvc repro` makes it again"
    path.write_text(json.dumps(point))
    assert read(movies, ["movies"], ["soft", "sid"]) == before


def test_a_history_that_was_changed_is_named_with_what_makes_it_again(movies, store):
    point = movies / "movies/sid-s1.json"
    history, whole = point.with_suffix(".csv"), point.read_bytes()
    point.unlink()
    publish_all({point: whole, history: b"epoch,score\n1,0.5\n"})
    read(movies, ["movies"], ["soft", "sid"])  # of the others, which have no history here, nothing is known
    history.write_bytes(b"epoch,score\n1,0.9\n")
    with pytest.raises(UserError) as caught:
        read(movies, ["movies"], ["soft", "sid"])
    assert str(caught.value) == f"{history}: was changed since it was written; `dvc repro` makes it again"
    point.write_bytes(whole + b"\n")  # as another machine wrote it: who knows its history is DVC
    read(movies, ["movies"], ["soft", "sid"])


@pytest.mark.parametrize(
    ("lost", "key"),
    [
        (["sid-L1-s0.json", "soft-L1-s0.json"], "study.depth.layers: 1"),
        (["sid-L1-s0.json", "sid-L2-s0.json"], "study.depth.methods: sid"),
    ],
)
def test_a_missing_study_point_names_its_params_key(tmp_path, lost, key):
    wanted = depth_study(tmp_path, {"soft": {1: [0.7], 2: [0.8]}, "sid": {1: [0.7], 2: [0.8]}})
    for name in lost:
        (tmp_path / "movies" / name).unlink()
    with pytest.raises(UserError, match=f"params.yaml: {key} is asked for"):
        points.read(wanted)


@pytest.mark.parametrize("kl", [[], [[]], "much", [[0.1], 0.2], [None]])
def test_a_fidelity_without_numbers_per_layer_is_named(movies, kl):
    path = movies / "movies/sid-s0.json"
    point = synthetic.point("movies", "sid", 0)
    synthetic.write(path, point | {"fidelity": point["fidelity"] | {"attention_kl": kl}})
    with pytest.raises(UserError, match=r"sid-s0.json: fidelity.attention_kl: must have a number per layer"):
        read(movies, ["movies"], ["sid"])


def test_a_field_that_a_study_varies_need_not_be_known(movies):
    path = synthetic.write(movies / "x.json", synthetic.point("movies", "sid", 0) | {"temperature": 2.0})
    wanted = points.Wanted(path, {"study.heat.temperatures": 3.0}, {"method": "sid", "temperature": 3.0})
    with pytest.raises(UserError, match=r"temperature: expected 3\.0, found 2\.0"):
        points.parse(wanted)


def test_points_of_one_task_have_one_headline_metric(movies):
    synthetic.write(movies / "movies/sid-s1.json", synthetic.point("movies", "sid", 1, metric="f1"))
    with pytest.raises(UserError, match="metric: expected accuracy as in the other points of movies, found f1"):
        read(movies, ["movies"], ["sid"])
