"""The files of the `attention` stage: what each one holds, and that texts with $ and tags do no harm."""

import json

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.special import softmax

from kdcore.data.tasks import Task
from kdcore.errors import UserError
from kdcore.report import attention
from kdcore.report.attention import document, pack, telling, total, write_attention
from tests.unit.report import synthetic_points as synthetic
from tests.unit.report.page import results
from tests.unit.report.page.results import unpack


@pytest.fixture
def points(tmp_path):
    """The task's points, of two heads."""
    synthetic.headline(tmp_path / "points", ["movies"], ["soft", "sid"], [0])
    return tmp_path / "points/movies"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_these_files_are_written(points, tmp_path):
    write_attention(results.comparison(heads=2), points, tmp_path / "out", 0)
    pictures = [f"figures/movies/{name}.{kind}" for name in ("kl", "maps") for kind in ("png", "svg")]
    assert files(tmp_path / "out") == [*pictures, "movies.json"]


def test_json_has_the_kl_of_the_points_and_the_papers_total(points, tmp_path):
    write_attention(results.comparison(heads=2), points, tmp_path / "out", 0)
    found = json.loads((tmp_path / "out/movies.json").read_text())
    expected = json.loads((points / "sid-s0.json").read_text())["fidelity"]["attention_kl"]
    sid = found["models"][2]
    assert sid["name"] == "sid"
    np.testing.assert_allclose(sid["kl"], expected, atol=5e-5)
    assert sid["total"] == round(sum(map(np.mean, expected)), 4)
    assert "kl" not in found["models"][0]


def test_total_is_the_sum_over_layers_of_the_mean_over_heads():
    # (1 + 3) / 2 + (5 + 7) / 2 = 8
    assert total(np.array([[1.0, 3.0], [5.0, 7.0]])) == 8.0


def test_document_says_what_each_model_makes_of_an_example():
    made = results.comparison(results.HOSTILE)
    shown = document(made, 3, results.overall(["soft", "sid"], 4), ["a note"])
    example, seen = shown["examples"][1], made.examples[1].seen["soft"]
    assert example["texts"] == [results.HOSTILE[1]]
    assert example["label"] == "good"
    assert example["models"]["soft"]["probabilities"] == np.round(softmax(seen.logits), 4).tolist()
    assert example["models"]["soft"]["prediction"] == ("bad", "good")[seen.logits.argmax()]
    n = len(example["tokens"])
    assert unpack(example["models"]["soft"]["maps"][2], (4, n, n)) == pytest.approx(seen.maps[2], abs=0.005)
    assert (shown["seed"], shown["notes"], shown["layer_map"], shown["heads"]) == (3, ["a note"], [2, 4, 6], 4)


def test_a_regression_has_scores_in_place_of_classes():
    scores = Task("stsb", ("a", "b"), "label", (), ("pearson",))
    shown = document(results.comparison(of=scores), 0, results.overall(["soft", "sid"], 4), [])
    model = shown["examples"][0]["models"]["teacher"]
    assert isinstance(model["prediction"], float)
    assert "probabilities" not in model
    assert shown["examples"][0]["label"] == 0.5


def test_the_figure_shows_where_the_first_student_is_worst_and_each_students_worst_head_there():
    kl = {"soft": np.array([[0.1, 0.2], [0.3, 0.9]]), "sid": np.array([[5.0, 0.0], [0.4, 0.2]])}
    assert telling(kl) == (1, [1, 0])


def test_without_students_the_teacher_stands_alone(points, tmp_path):
    write_attention(results.comparison(students=[], heads=2), points, tmp_path / "out", 0, ["a note"])
    assert files(tmp_path / "out") == [
        "figures/movies/maps.png",
        "figures/movies/maps.svg",
        "movies.json",
    ]


@pytest.mark.filterwarnings("ignore:Glyph")  # matplotlib's font has no emoji
def test_dollars_tags_and_other_scripts_are_drawn_as_text(points, tmp_path):
    write_attention(results.comparison(["$5 for <b> $x_{$ عمل 🎬"], heads=2), points, tmp_path / "out", 0)
    assert "<b>" not in (tmp_path / "out/figures/movies/maps.svg").read_text()
    assert json.loads((tmp_path / "out/movies.json").read_text())["examples"][0]["tokens"][1] == "$5"


def test_a_point_without_kl_per_head_is_named(points, tmp_path):
    point = json.loads((points / "sid-s0.json").read_text())
    point["fidelity"]["attention_kl"] = [0.1, 0.2, 0.3]
    (points / "sid-s0.json").write_text(json.dumps(point))
    with pytest.raises(UserError, match=r"sid-s0\.json: fidelity.attention_kl: must have a number per layer and head"):
        write_attention(results.comparison(heads=2), points, tmp_path / "out", 0)


def test_a_missing_point_is_named_and_nothing_is_written(points, tmp_path):
    (points / "sid-s0.json").unlink()
    with pytest.raises(UserError, match=r"sid-s0\.json is missing"):
        write_attention(results.comparison(heads=2), points, tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_the_names_of_the_columns_are_below_the_subtitle(heads):
    first = results.comparison(heads=3).examples[0]
    weights = {name: seen.maps[0] for name, seen in first.seen.items()}
    kl = {name: seen.kl[0] for name, seen in first.seen.items() if seen.kl is not None}
    figure = attention.maps(first.tokens, weights, kl, range(heads), "A subtitle")
    FigureCanvasAgg(figure).draw()
    subtitle = next(text for text in figure.texts if text.get_text() == "A subtitle").get_window_extent()
    names = [axis.texts[0].get_window_extent() for axis in figure.axes[:3]]
    assert all(name.y1 < subtitle.y0 for name in names)


def test_a_byte_is_the_root_of_a_weight():
    # 255 · √0.25 = 127.5, which rounds to the even 128; AIAA… is base64 of 0, 128, 255.
    assert pack(np.array([0.0, 0.25, 1.0])) == "AID/"


def test_what_was_packed_comes_back_to_two_digits():
    weights = np.random.default_rng(0).dirichlet(np.full(9, 0.2), (2, 9))
    back = unpack(pack(weights), weights.shape)
    assert (abs(back - weights) <= 0.004 * np.sqrt(weights) + 4e-6).all()


def test_rounding_beyond_the_range_is_cut():
    assert unpack(pack(np.array([1.0002, -1e-9])), (2,)).tolist() == [1.0, 0.0]


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="reshape"):
        unpack(pack(np.zeros(4)), (3, 3))
