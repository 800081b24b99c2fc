"""Points become a frame, the frame becomes the main table; missing and broken points are named."""

import json

import pandas as pd
import pytest

from kdcore.errors import UserError
from kdcore.report import points, tables
from kdcore.report.curve_table import curve_markdown
from kdcore.report.files import csv
from kdcore.report.markdown import grid, markdown
from kdcore.report.methods import look, ordered
from kdcore.report.series import convergence, curve, per_run
from tests.unit.report import synthetic_points as synthetic

SEEDS = [0, 1, 2]


def table_of(folder, tasks, methods, seeds=SEEDS, confidence=0.95):
    return tables.rows(points.read(points.headline(folder, tasks, methods, seeds)), confidence)


def put(folder, task, method, by_seed, **changes):
    for seed, score in enumerate(by_seed):
        path = folder / task / f"{method}-s{seed}.json"
        synthetic.write(path, synthetic.point(task, method, seed, score=score, **changes))


@pytest.fixture
def movies(tmp_path):
    """Teacher 0.868; soft 0.80, 0.82, 0.78; sid 0.82, 0.83, 0.81."""
    synthetic.write(tmp_path / "movies" / "teacher.json", synthetic.teacher("movies"))
    put(tmp_path, "movies", "soft", [0.80, 0.82, 0.78])
    put(tmp_path, "movies", "sid", [0.82, 0.83, 0.81])
    return tmp_path


def test_rows_have_mean_interval_and_paired_difference(movies):
    # soft: mean 0.80, sd 0.02, 4.30265 * 0.02 / sqrt(3) = 0.04968. sid - soft: 0.02, 0.01, 0.03, so mean 0.02,
    # sd 0.01, 0.02484: (-0.00484, 0.04484) includes 0, although sid is ahead in every seed.
    teacher, soft, sid = table_of(movies, ["movies"], ["soft", "sid"])
    assert (teacher.method, teacher.estimates["accuracy"].value, teacher.differences) == (
        "teacher",
        0.868,
        {},
    )
    assert soft.estimates["accuracy"].high == pytest.approx(0.84968, abs=1e-5)
    difference = sid.differences["soft"]
    assert (difference.estimate.low, difference.estimate.high) == pytest.approx((-0.00484, 0.04484), abs=1e-5)
    assert difference.verdict == "no difference found"


def test_rows_compare_no_pair_twice(tmp_path):
    synthetic.headline(tmp_path, ["movies"], ["none", "soft", "pid"], SEEDS)
    table = table_of(tmp_path, ["movies"], ["pid", "soft", "none"])
    compared = {row.method: list(row.differences) for row in table}
    assert compared == {"teacher": [], "none": [], "soft": ["none"], "pid": ["none", "soft"]}


def test_rows_take_the_mean_over_heads_and_layers_and_the_total_over_layers(movies):
    # Means over heads: 0.2 and 0.6. Mean over layers 0.4, the paper's total 0.8. Cosine: (0.1 + 0.3) / 2.
    fidelity = {"agreement": 0.9, "soft_label_kl": 0.03, "cls_cosine": [0.1, 0.3]}
    put(movies, "movies", "sid", [0.8] * 3, fidelity=fidelity | {"attention_kl": [[0.1, 0.3], [0.5, 0.7]]})
    row = table_of(movies, ["movies"], ["sid"])[1]
    found = [row.estimates[name].value for name in ("attention_kl", "attention_kl_total", "cls_cosine")]
    assert found == pytest.approx([0.4, 0.8, 0.2])


def test_rows_count_degenerate_runs(movies):
    synthetic.write(movies / "movies/soft-s1.json", synthetic.point("movies", "soft", 1, degenerate=True))
    assert str(table_of(movies, ["movies"], ["soft"])[1].degenerate) == "1/3"


def test_one_seed_gives_no_interval_and_no_test(movies):
    _, _, sid = table_of(movies, ["movies"], ["soft", "sid"], seeds=[0])
    assert (sid.estimates["accuracy"].low, sid.differences["soft"].p) == (None, None)
    text = markdown([sid])
    assert "| sid | 0.820 | +0.020 not tested: one seed | 0/1 |" in text
    assert "one seed, no interval" in text
    assert "Comparisons tested" not in text


def test_a_star_marks_what_is_still_found_after_holms_correction(movies):
    # sid - soft: 0.02, 0.01, 0.015: t = 0.015 / (0.005 / sqrt(3)) = 5.196, p = 0.035. Alone it stands; of two such
    # comparisons the smaller p counts twice, 0.070, and neither does.
    put(movies, "movies", "sid", [0.82, 0.83, 0.795])
    alone = markdown(table_of(movies, ["movies"], ["soft", "sid"]))
    assert "+0.015 [+0.003, +0.027] higher* |" in alone
    assert "Comparisons tested: 1; * marks what is still found" in alone
    put(movies, "movies", "pid", [0.82, 0.83, 0.795])
    both = table_of(movies, ["movies"], ["soft", "pid", "sid"])
    assert markdown(both).count("+0.015 [+0.003, +0.027] higher |") == 2
    assert "Comparisons tested: 2; none is still found" in markdown(both)
    assert tables.frame_of(both)["accuracy_minus_soft_p_holm"].tolist()[2:] == pytest.approx([0.0702] * 2, abs=1e-4)


def test_a_regression_has_score_mse_and_no_agreement(tmp_path):
    fidelity = {"agreement": None, "score_mse": 0.02, "attention_kl": [[0.1]], "cls_cosine": [0.1]}
    synthetic.write(tmp_path / "stsb/teacher.json", synthetic.teacher("stsb", metric="pearson"))
    put(tmp_path, "stsb", "sid", [0.8, 0.81, 0.83], metric="pearson", fidelity=fidelity)
    text = markdown(table_of(tmp_path, ["stsb"], ["sid"]))
    assert "| method | score MSE | attention KL, mean |" in text
    assert "agreement" not in text


def test_the_table_never_mixes_metrics(movies):
    synthetic.write(movies / "cola/teacher.json", synthetic.teacher("cola", metric="matthews"))
    put(movies, "cola", "sid", [0.4, 0.41, 0.43], metric="matthews")
    frame = tables.frame_of(table_of(movies, ["movies", "cola"], ["sid"])).set_index(["task", "method"])
    assert frame.loc[("movies", "sid"), ["accuracy", "matthews"]].isna().tolist() == [False, True]
    assert frame.loc[("cola", "sid"), ["accuracy", "matthews"]].isna().tolist() == [True, False]
    assert not {"score", "score_low", "minus_soft"} & set(frame)


def test_other_metrics_and_splits_get_columns_of_their_own(movies):
    scores = {"validation": {"accuracy": 0.8, "f1": 0.7}, "validation_mismatched": {"accuracy": 0.75}}
    put(movies, "movies", "sid", [0.8] * 3, scores=scores)
    row = table_of(movies, ["movies"], ["sid"])[1]
    found = [row.estimates[name].value for name in ("accuracy", "f1", "accuracy_mismatched")]
    assert found == pytest.approx([0.8, 0.7, 0.75])
    assert "| method | accuracy | f1 | accuracy_mismatched | degenerate runs |" in markdown([row])


def test_markdown_reads_as_a_table(movies):
    text = markdown(table_of(movies, ["movies"], ["soft", "sid"]))
    assert text.startswith("## movies: accuracy on validation data\n")
    assert "| teacher | 0.868 |  | 0/1 |" in text
    assert "| soft | 0.800 ± 0.050 |  | 0/3 |" in text
    assert "| sid | 0.820 ± 0.025 | +0.020 [-0.005, +0.045] no difference found | 0/3 |" in text
    assert "Comparisons tested: 1; none is still found after Holm's correction for that number." in text
    assert "95% t interval over 3 seeds" in text


def test_markdown_says_the_confidence_that_was_used(movies):
    assert "97.5% t interval" in markdown(table_of(movies, ["movies"], ["soft"], confidence=0.975))


def test_markdown_escapes_the_bar():
    assert grid(["a|b"], [["c"]]) == "| a\\|b |\n| :--- |\n| c |"


def test_scores_are_flat_means_per_task(movies):
    assert tables.scores(table_of(movies, ["movies"], ["soft", "sid"])) == {
        "movies": {"teacher": 0.868, "soft": 0.8, "sid": 0.82}
    }


def test_methods_are_ordered_and_each_has_a_look_of_its_own():
    methods = ["sid-cos", "sid", "teacher", "pid-kl", "none", "sid-kl", "soft", "all", "pid"]
    order = ["teacher", "none", "soft", "all", "pid", "pid-kl", "sid", "sid-kl", "sid-cos"]
    assert ordered(methods) == order
    assert len({look(method) for method in order}) == len(order)


@pytest.mark.parametrize(
    ("lost", "key"),
    [
        (["movies/teacher.json"], "tasks: movies"),
        (["movies/sid-s0.json", "movies/sid-s1.json", "movies/sid-s2.json"], "methods: sid"),
        (["movies/soft-s2.json", "movies/sid-s2.json"], "seeds: 2"),
        (["movies/sid-s1.json"], "seeds: 1"),
    ],
)
def test_a_missing_point_names_the_params_key_that_asks_for_it(movies, lost, key):
    for name in lost:
        (movies / name).unlink()
    with pytest.raises(UserError) as caught:
        table_of(movies, ["movies"], ["soft", "sid"])
    assert str(caught.value).startswith(f"params.yaml: {key} is asked for, but {movies / lost[0]}")


def test_missing_points_are_all_named_at_once(movies):
    with pytest.raises(UserError) as caught:
        table_of(movies, ["movies", "rte"], ["soft", "pid"])
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
        table_of(movies, ["movies"], ["soft", "sid"])
    assert str(caught.value).startswith(f"{path}: {problem}")


def depth_study(folder, scores):
    """scores: method -> layers -> score per seed."""
    for method, by_layers in scores.items():
        for layers, values in by_layers.items():
            for seed, score in enumerate(values):
                path = folder / "movies" / f"{method}-L{layers}-s{seed}.json"
                synthetic.write(path, synthetic.point("movies", method, seed, layers=layers, score=score))
    teacher = synthetic.write(folder / "teacher.json", synthetic.teacher("movies"))
    layers = list(next(iter(scores.values())))
    seeds = list(range(len(values)))
    return points.study("depth", folder, {"movies": teacher}, {"methods": list(scores), "layers": layers}, seeds)


def test_curve_has_a_line_per_method_and_the_comparison_with_soft(tmp_path):
    # sid - soft at one layer: 0.02, 0.01, 0.03 as above; at two layers 0.02, 0.021, 0.022: (0.0185, 0.0235).
    wanted = depth_study(
        tmp_path,
        {
            "soft": {1: [0.70, 0.72, 0.68], 2: [0.75, 0.76, 0.74]},
            "sid": {1: [0.72, 0.73, 0.71], 2: [0.77, 0.781, 0.762]},
        },
    )
    table = curve(points.read(wanted), "layers", 0.95)
    assert table["method"].tolist() == ["teacher", "soft", "soft", "sid", "sid"]
    assert table["params_m"].tolist() == pytest.approx([10.794624, 1.922304, 3.696768, 1.922304, 3.696768])
    assert table["verdict"].tolist()[3:] == ["no difference found", "higher"]
    assert table["p_holm"].tolist()[3:] == pytest.approx([table["p"][3], 2 * table["p"][4]])
    assert table["minus_soft_low"].iloc[4] == pytest.approx(0.0185, abs=1e-4)
    text = curve_markdown(table, "layers", 0.95)
    assert text.startswith("## movies: accuracy on validation data by layers\n")
    assert "| 2 | 3.70 | 0.750 ± 0.025 | 0.771 ± 0.024 | +0.021 [+0.019, +0.023] higher* | 0/6 |" in text
    assert "The teacher scores 0.868." in text
    assert "Comparisons tested: 2; * marks what is still found" in text
    # The synthetic agreement is the score plus 0.06; KL 0.74 and 0.028 over two layers, 1.05 of it the mean over heads.
    assert "| layers | agreement, soft | agreement, sid | attention KL, soft | attention KL, sid |" in text
    assert "| 2 | 0.810 | 0.831 | 0.389 | 0.015 |" in text


def test_curve_of_one_seed_without_soft_compares_nothing(tmp_path):
    table = curve(points.read(depth_study(tmp_path, {"sid": {1: [0.7], 2: [0.8]}})), "layers", 0.95)
    assert table[["low", "high", "minus_soft", "verdict"]].isna().all(axis=None)
    assert "| 1 | 1.92 | 0.700 | 0/1 |" in curve_markdown(table, "layers", 0.95)


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


def test_per_run_repeats_the_mean_beside_each_seed(movies):
    frame = per_run(points.read(points.headline(movies, ["movies"], ["soft"], SEEDS)), 0.95)
    assert frame["method"].tolist() == ["teacher", "soft", "soft", "soft"]
    assert frame["score"].tolist() == [0.868, 0.80, 0.82, 0.78]
    assert frame["mean"].tolist() == pytest.approx([0.868, 0.8, 0.8, 0.8])
    assert csv(frame).splitlines()[1] == "movies,accuracy,teacher,,0.868,0.868,,,0"


def history_in(runs):
    return lambda run: runs / run.task / f"{run.method}-s{run.seed}" / "history.csv"


def test_convergence_joins_histories_and_keeps_whole_numbers(movies, tmp_path):
    for seed in SEEDS:
        synthetic.history(tmp_path / f"runs/movies/sid-s{seed}/history.csv", "sid", seed)
    frame = points.read(points.headline(movies, ["movies"], ["sid"], SEEDS))
    table = convergence(frame, history_in(tmp_path / "runs"))
    assert len(table) == 3 * 10
    assert csv(table).splitlines()[:3] == [
        "task,method,seed,trains,epoch,phase,layer_done,score,metric",
        "movies,sid,0,model,1,layer 1,,0.588,accuracy",
        "movies,sid,0,model,2,layer 1,1,0.6,accuracy",
    ]


def test_convergence_names_a_missing_or_broken_history(movies, tmp_path):
    frame = points.read(points.headline(movies, ["movies"], ["sid"], [0]))
    with pytest.raises(UserError, match=r"sid-s0/history.csv: missing"):
        convergence(frame, history_in(tmp_path / "runs"))
    path = synthetic.history(tmp_path / "runs/movies/sid-s0/history.csv", "sid", 0)
    pd.read_csv(path).drop(columns=["completed"]).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"history.csv: completed: column is missing"):
        convergence(frame, history_in(tmp_path / "runs"))
