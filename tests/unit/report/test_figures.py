"""What the pictures draw, read back from the figures; and that the same data gives the same bytes."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from kdcore.report import attention, figures, points
from kdcore.report.canvas import SIZE, encode, panels, style
from kdcore.report.methods import ORDER, look
from kdcore.report.statistics import Estimate
from kdcore.report.summary import baselines, summarise
from kdcore.report.write import histories as joined
from kdcore.studies import STUDIES
from tests.unit.report import synthetic_points as synthetic

SEEDS = [0, 1, 2]
ARMS = [{"trains": "model"}, {"trains": "head"}]


def texts(figure):
    """Every text of a figure that says something."""
    found = [text.get_text() for axis in figure.axes for text in [*axis.texts, axis.title, axis.get_xaxis().label]]
    return [text for text in [*found, *(text.get_text() for text in figure.texts)] if text]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("own", [{"text.usetex": True}, {"axes.facecolor": "red"}, {"savefig.bbox": "tight"}])
def test_a_users_own_matplotlibrc_changes_no_picture(own):
    def drawn():
        with style():
            figure, (axis,) = panels(["movies"], *SIZE)
            axis.set_title("Score")
            return encode(figure)

    usual = drawn()
    with mpl.rc_context(own):
        assert drawn() == usual


def headline(folder, tasks, methods, seeds=SEEDS, **changes):
    """The rows of a headline run."""
    synthetic.headline(folder, tasks, methods, seeds)
    for (task, method, seed), change in changes.pop("points", {}).items():
        synthetic.write(folder / task / f"{method}-s{seed}.json", synthetic.point(task, method, seed, **change))
    runs = points.read(points.headline(folder, tasks, methods, seeds, [0]))
    return summarise(runs, ["method"], baselines, 0.95)


def dots(rows):
    return figures.dots(rows, "Validation score by method", {"method": "method"})


def study(folder, name, methods, values, seeds=SEEDS, **degenerate):
    """The rows of a study over one axis."""
    axis = STUDIES[name].axes[0]
    for method in methods:
        for value in values:
            for seed in seeds:
                flags = {
                    axis.field: value,
                    "degenerate": degenerate == {"method": method, "value": value, "seed": seed},
                }
                path = folder / "movies" / f"{method}-{axis.mark}{value}-s{seed}.json"
                synthetic.write(path, synthetic.point("movies", method, seed, **flags))
    teacher = synthetic.write(folder / "teacher.json", synthetic.teacher("movies"))
    grid = {"methods": methods, axis.values: values}
    runs = points.read(points.of_study(STUDIES[name], folder, {"movies": {0: teacher}}, grid, seeds))
    return summarise(runs, ["method", axis.field], lambda keys: {"soft": {**keys, "method": "soft"}}, 0.95)


def depth(folder, **options):
    rows = study(folder, "depth", ["soft", "sid"], [1, 2, 4], **options)
    return figures.curve(rows, STUDIES["depth"].axes[0], "Score against depth")


def histories(folder, methods):
    for method in methods:
        for seed in SEEDS:
            synthetic.history(folder / f"runs/{method}-s{seed}.csv", method, seed)
    synthetic.headline(folder, ["movies"], methods, SEEDS)
    runs = points.read(points.headline(folder, ["movies"], methods, SEEDS, [0]))
    return joined(runs, [folder / f"runs/{run['method']}-s{run['seed']}.csv" for run in runs], ["trains"])


def maps():
    """Two heads over three tokens: uniform for the teacher, the identity for the student."""
    weights = {"teacher": np.full((2, 3, 3), 1 / 3), "sid": np.stack([np.eye(3)] * 2)}
    return ["[CLS]", "fine", "[SEP]"], weights, {"sid": np.array([0.25, 0.5])}


def test_the_same_data_gives_the_same_bytes_without_a_date(tmp_path):
    first, second = (encode(depth(tmp_path)) for _ in range(2))
    assert first == second
    assert first["png"].startswith(b"\x89PNG")
    assert b"matplotlib" not in first["png"].lower()
    assert b"<dc:date>" not in first["svg"]


def test_methods_differ_in_grey_too():
    looks = [look(name) for family in ORDER[3:] for name in (family, f"{family}-kl", f"{family}-cos")]
    looks += [look(name) for name in ORDER[:3]]
    assert len({(drawn.marker, drawn.face == drawn.colour, drawn.dash) for drawn in looks}) == len(looks)
    assert len({drawn.marker for drawn in map(look, ORDER)}) == len(ORDER)


def test_headline_puts_each_mean_on_its_row(tmp_path):
    rows = headline(tmp_path, ["movies"], ["soft", "sid"])
    axis = dots(rows).axes[0]
    drawn = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axis.lines if line.get_markersize() == 8}
    means = {row.method: row.score.value for row in rows}
    assert drawn == {(means["teacher"], 2), (means["soft"], 1), (means["sid"], 0)}
    assert "mean and 95% t interval over 3 seeds" in texts(axis.figure)[-1]


def test_headline_crosses_out_degenerate_runs(tmp_path):
    figure = dots(headline(tmp_path, ["movies"], ["none"], points={("movies", "none", 1): {"degenerate": True}}))
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x" and len(line.get_xdata())]
    # 0.760 of the method, 0.011 of the seed, 0.004 of the run (synthetic_points)
    assert [list(line.get_xdata()) for line in crosses] == [[pytest.approx(0.775)]]
    assert texts(figure)[-1].endswith("×: one answer for all")


def test_headline_of_one_seed_claims_no_interval(tmp_path):
    assert texts(dots(headline(tmp_path, ["movies"], ["soft"], [0])))[-1] == "movies · one seed, no interval"


def test_a_panel_per_task_with_its_own_metric(tmp_path):
    rows = headline(tmp_path, ["movies", "rte"], ["soft"])
    figure = dots([replace(row, metric="matthews") if row.task == "rte" else row for row in rows])
    assert [axis.get_xlabel() for axis in figure.axes] == ["accuracy", "matthews"]
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["movies", "rte"]


def test_depth_draws_a_line_per_method_and_the_teacher(tmp_path):
    rows = study(tmp_path, "depth", ["soft", "sid"], [1, 2, 4])
    figure = figures.curve(rows, STUDIES["depth"].axes[0], "Score against depth")
    axis = figure.axes[0]
    assert legend(figure) == ["soft: standard KD", "sid: internal KD, stacked"]
    assert "teacher 0.868" in texts(figure)
    # 147,840 + 1,774,464 a layer (synthetic_points): the ticks are the sizes, the teacher's six layers included.
    labels = [tick.get_text() for tick in axis.get_xticklabels()]
    assert labels == ["1.9\n(1)", "3.7\n(2)", "7.2\n(4)", "10.8\n(6)"]
    small = [replace(row, cost={**row.cost, "encoder_and_pooler": 9_000 * row.keys["layers"]}) for row in rows]
    axis = figures.curve(small, STUDIES["depth"].axes[0], "Score against depth").axes[0]
    assert [tick.get_text() for tick in axis.get_xticklabels()][:2] == ["0.0090\n(1)", "0.018\n(2)"]


def test_depth_has_a_panel_of_what_a_row_takes_where_that_was_measured(tmp_path):
    measured = {row.keys["layers"]: 2.5 * row.keys["layers"] for row in study(tmp_path, "depth", ["sid"], [1, 2])}
    rows = [
        replace(row, cost={**row.cost, "latency_ms": measured[row.keys["layers"]]})
        for row in study(tmp_path, "depth", ["sid"], [1, 2, 4])
        if row.keys["layers"] in measured
    ]
    parameters, milliseconds = figures.curve(rows, STUDIES["depth"].axes[0], "Score against depth").axes
    assert "milliseconds for one row" in milliseconds.get_xlabel()
    drawn = [line.get_xdata() for line in milliseconds.lines if line.get_marker() in ("*", "o")]
    assert [pytest.approx(x.tolist()) for x in map(np.asarray, drawn)] == [[15.0], [2.5, 5.0]]  # six layers, then sid
    assert parameters.get_ylim() == milliseconds.get_ylim()


def test_depth_rings_degenerate_values(tmp_path):
    assert legend(depth(tmp_path, method="soft", value=1, seed=0))[-1] == "some run gives one answer for all"


def test_depth_of_one_seed_has_no_bars(tmp_path):
    figure = depth(tmp_path, seeds=[0])
    bars = [path for bar in figure.axes[0].collections for path in bar.get_paths()]
    assert not np.isfinite([path.vertices[:, 1] for path in bars if len(path.vertices)]).any()


def test_data_size_is_logarithmic_with_a_tick_per_size(tmp_path):
    rows = study(tmp_path, "data_size", ["sid"], [250, 500, 4000])
    axis = figures.curve(rows, STUDIES["data_size"].axes[0], "Score against training size").axes[0]
    assert axis.get_xscale() == "log"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["250", "500", "4,000"]


def test_convergence_numbers_completed_layers_on_the_mean(tmp_path):
    figure = figures.convergence(histories(tmp_path, ["soft", "sid"]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "3"]
    assert [text.xy[0] for text in figure.axes[0].texts] == [2, 4, 6]
    # sid at epoch 2: 0.816 - (0.24 - 0.024) = 0.600, plus the mean of the seeds' offsets, 0.005 / 3.
    assert figure.axes[0].texts[0].xy[1] == pytest.approx(0.6 + 0.005 / 3, abs=1e-4)


def test_convergence_enlarges_the_last_epochs_where_there_is_room(tmp_path):
    table = histories(tmp_path, ["soft", "sid"])
    table.loc[table["phase"].str.startswith("layer"), "score"] = 0.1
    (inset,) = figures.convergence(table).axes[0].child_axes
    assert {tuple(line.get_xdata()) for line in inset.lines} == {(7, 8, 9, 10)}
    table.loc[table["epoch"] == 10, "score"] = 0.2
    assert figures.convergence(table).axes[0].child_axes == []


def test_convergence_numbers_each_seed_where_the_epochs_differ(tmp_path):
    table = histories(tmp_path, ["sid"])
    first = (table["seed"] == 1) & (table["epoch"] == 2)
    table.loc[first, "layer_done"] = None
    table.loc[(table["seed"] == 1) & (table["epoch"] == 1), "layer_done"] = 1
    numbers = [text.get_text() for text in figures.convergence(table).axes[0].texts]
    assert sorted(numbers) == ["1", "1", "1", "2", "2", "2", "3", "3", "3"]


def test_convergence_draws_the_head_alone_from_the_last_layer_on(tmp_path):
    table = histories(tmp_path, ["soft", "sid"])
    figure = figures.convergence(pd.concat([table, table[table["method"] == "sid"].assign(trains="head")]), ARMS)
    assert legend(figure) == ["soft: standard KD", "sid: internal KD, stacked", "sid, last phase trains head"]
    lines = {line.get_label(): line.get_xdata().tolist() for line in figure.axes[0].lines}
    assert lines["sid: internal KD, stacked"] == list(range(1, 11))
    assert lines["sid, last phase trains head"] == [6, 7, 8, 9, 10]  # the third layer is completed with epoch 6
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "3"]


def test_attention_shows_each_map_with_its_kl():
    tokens, weights, kl = maps()
    figure = attention.maps(tokens, weights, kl, [1], "an example")
    teacher, student = figure.axes[:2]
    assert (teacher.get_title(loc="left"), student.get_title(loc="left")) == ("head 2", "KL 0.500")
    assert np.array_equal(student.images[0].get_array(), np.eye(3))
    assert [tick.get_text() for tick in student.get_xticklabels()] == tokens


def test_attention_leaves_out_labels_that_nobody_could_read():
    n = attention.LABELLED + 1
    weights = {"teacher": np.full((1, n, n), 1 / n)}
    axis = attention.maps(["word"] * n, weights, {}, [0], "").axes[0]
    assert axis.get_xticklabels() == []


def test_attention_names_the_model_whose_shape_is_wrong():
    tokens, weights, kl = maps()
    with pytest.raises(ValueError, match=r"sid: maps \(1, 3, 3\) for 2 heads and 3 tokens"):
        attention.maps(tokens, weights | {"sid": weights["sid"][:1]}, kl, [0], "")
    with pytest.raises(ValueError, match=r"sid: KL \(3,\) for 2 heads"):
        attention.maps(tokens, weights, {"sid": np.zeros(3)}, [0], "")


def test_attention_overview_adds_layers_and_averages_heads():
    # Heads' means 0.2 and 0.4: the total over layers is 0.6.
    figure = attention.overview({"sid": np.array([[0.1, 0.3], [0.2, 0.6]])}, [2, 4], "movies")
    axis = figure.axes[0]
    assert axis.get_title(loc="left") == "sid: total over layers 0.600"
    assert [text.get_text() for text in axis.texts] == ["0.100", "0.300", "0.200", "0.600"]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["1 – 2", "2 – 4"]


@pytest.mark.parametrize(("metric", "ends"), [("accuracy", (0, 1)), ("matthews", (-1, 1))])
def test_an_axis_of_scores_ends_where_the_metric_ends(tmp_path, metric, ends):
    wide = Estimate(0.5, -2.9, 2.9, 3, 0.95).within(*ends)
    rows = [replace(row, metric=metric, score=wide) for row in headline(tmp_path, ["movies"], ["soft"])]
    for low, high in (dots(rows).axes[0].get_xlim(), _curve_limits(rows)):
        assert ends[0] - 0.2 < low <= wide.low
        assert wide.high <= high < ends[1] + 0.2


def _curve_limits(rows):
    at = [replace(row, keys={"method": row.method, "layers": 3}) for row in rows]
    return figures.curve(at, STUDIES["depth"].axes[0], "").axes[0].get_ylim()


def test_recipes_are_named_by_their_choices_and_the_first_is_bold(tmp_path):
    _, *students = headline(tmp_path, ["movies"], ["soft", "sid"])
    keys = [{"method": "soft", "init": "random"}, {"method": "sid", "init": "teacher"}]
    rows = [replace(row, keys=own) for row, own in zip(students, keys, strict=True)]
    by = {"method": "method", "init": "initialisation of the student"}
    axis = figures.dots(rows, "Validation score by recipe", by, ["sid", "teacher"]).axes[0]
    (label,) = (text for text in axis.texts if text.get_text().startswith("baseline"))
    headings = [text for text in axis.texts if text.xycoords == "axes fraction"]
    choices = [text for text in axis.texts if text is not label and text not in headings]
    assert [text.get_text() for text in headings] == ["initialisation\nof the student", "method"]
    assert [text.xyann[0] for text in headings] == [text.xyann[0] for text in choices[:2]]
    assert label.get_text() == f"baseline {rows[1].score.value:.3f}"
    assert label.xy[0] == rows[1].score.value
    by_height = sorted(choices, key=lambda text: -text.xy[1])
    assert [text.get_text() for text in by_height] == ["random", "soft", "teacher", "sid"]
    assert [text.get_fontweight() for text in by_height] == ["normal"] * 2 + ["bold"] * 2
    lines = [line.get_xdata()[0] for line in axis.lines if line.get_zorder() == 1]
    assert lines == [pytest.approx(rows[1].score.value)]


def test_another_arm_of_another_knob_is_drawn_whole(tmp_path):
    table = histories(tmp_path, ["sid"]).rename(columns={"trains": "classification"}).assign(classification="last")
    arms = [{"classification": "last"}, {"classification": "always"}]
    figure = figures.convergence(pd.concat([table, table.assign(classification="always")]), arms)
    assert legend(figure) == ["sid: internal KD, stacked", "sid, classification always"]
    lines = {line.get_label(): line.get_xdata().tolist() for line in figure.axes[0].lines}
    assert lines["sid, classification always"] == list(range(1, 11))
