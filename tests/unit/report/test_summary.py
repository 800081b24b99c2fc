"""Points become rows, rows become tables: means, differences, closeness, and what Markdown says of them."""

from dataclasses import replace

import pytest

from kdcore.report import points, write
from kdcore.report.markdown import Table, curves, estimate_text, tables, to_markdown
from kdcore.report.methods import words
from kdcore.report.statistics import Estimate, limits
from kdcore.report.summary import baselines, summarise, to_frame
from kdcore.studies import STUDIES
from tests.unit.report import synthetic_points as synthetic

SEEDS = [0, 1, 2]


def table_of(folder, tasks, methods, seeds=SEEDS, confidence=0.95):
    return summarise(
        points.read(points.headline(folder, tasks, methods, seeds, [0])), ["method"], baselines, confidence
    )


def markdown(rows):
    return to_markdown(tables(rows, words(["method"])))


def put(folder, task, method, by_seed, **changes):
    for seed, score in enumerate(by_seed):
        path = folder / task / f"{method}-s{seed}.json"
        synthetic.write(path, synthetic.point(task, method, seed, score=score, **changes))


@pytest.fixture
def movies(tmp_path):
    """Teacher 0.868; soft 0.80, 0.82, 0.78; sid 0.82, 0.83, 0.81."""
    synthetic.write(tmp_path / "movies" / "teacher-s0.json", synthetic.teacher("movies"))
    put(tmp_path, "movies", "soft", [0.80, 0.82, 0.78])
    put(tmp_path, "movies", "sid", [0.82, 0.83, 0.81])
    return tmp_path


def test_rows_have_mean_interval_and_paired_difference(movies):
    # soft: mean 0.80, sd 0.02, 4.30265 * 0.02 / sqrt(3) = 0.04968. sid - soft: 0.02, 0.01, 0.03, so mean 0.02,
    # sd 0.01, 0.02484: (-0.00484, 0.04484) includes 0, although sid is ahead in every seed.
    teacher, soft, sid = table_of(movies, ["movies"], ["soft", "sid"])
    assert (teacher.method, teacher.score.value, teacher.differences) == (
        "teacher",
        0.868,
        {},
    )
    assert soft.score.high == pytest.approx(0.84968, abs=1e-5)
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
    found = [row.closeness[name].value for name in ("attention_kl", "attention_kl_total", "cls_cosine")]
    assert found == pytest.approx([0.4, 0.8, 0.2])


def test_rows_count_degenerate_runs(movies):
    synthetic.write(movies / "movies/soft-s1.json", synthetic.point("movies", "soft", 1, degenerate=True))
    assert str(table_of(movies, ["movies"], ["soft"])[1].degenerate) == "1/3"


def test_one_seed_gives_no_interval_and_no_test(movies):
    _, _, sid = table_of(movies, ["movies"], ["soft", "sid"], seeds=[0])
    assert (sid.score.low, sid.differences["soft"].p) == (None, None)
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
    assert to_frame(both)["accuracy_minus_soft_p_holm"].tolist()[2:] == pytest.approx([0.0702] * 2, abs=1e-4)


def test_a_regression_has_score_mse_and_no_agreement(tmp_path):
    fidelity = {"agreement": None, "score_mse": 0.02, "attention_kl": [[0.1]], "cls_cosine": [0.1]}
    synthetic.write(tmp_path / "stsb/teacher-s0.json", synthetic.teacher("stsb", metric="pearson"))
    put(tmp_path, "stsb", "sid", [0.8, 0.81, 0.83], metric="pearson", fidelity=fidelity)
    text = markdown(table_of(tmp_path, ["stsb"], ["sid"]))
    assert "| method | score MSE | attention KL, mean |" in text
    assert "agreement" not in text


def test_the_table_never_mixes_metrics(movies):
    synthetic.write(movies / "cola/teacher-s0.json", synthetic.teacher("cola", metric="matthews"))
    put(movies, "cola", "sid", [0.4, 0.41, 0.43], metric="matthews")
    frame = to_frame(table_of(movies, ["movies", "cola"], ["sid"])).set_index(["task", "method"])
    assert frame.loc[("movies", "sid"), ["accuracy", "matthews"]].isna().tolist() == [False, True]
    assert frame.loc[("cola", "sid"), ["accuracy", "matthews"]].isna().tolist() == [True, False]
    assert not {"score", "score_low", "minus_soft"} & set(frame)


def test_other_metrics_and_splits_get_columns_of_their_own(movies):
    scores = {"validation": {"accuracy": 0.8, "f1": 0.7}, "validation_mismatched": {"accuracy": 0.75}}
    put(movies, "movies", "sid", [0.8] * 3, scores=scores)
    row = table_of(movies, ["movies"], ["sid"])[1]
    assert row.score.value == pytest.approx(0.8)
    assert [row.metrics[name].value for name in ("f1", "accuracy_mismatched")] == pytest.approx([0.7, 0.75])
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
    assert to_markdown([Table(["a|b"], [["c"]])]) == "| a\\|b |\n| :--- |\n| c |\n"


def depth_study(folder, scores):
    """scores: method -> layers -> score per seed."""
    for method, by_layers in scores.items():
        for layers, values in by_layers.items():
            for seed, score in enumerate(values):
                path = folder / "movies" / f"{method}-L{layers}-s{seed}.json"
                synthetic.write(path, synthetic.point("movies", method, seed, layers=layers, score=score))
    teacher = synthetic.write(folder / "teacher-s0.json", synthetic.teacher("movies"))
    layers = list(next(iter(scores.values())))
    seeds = list(range(len(values)))
    return points.of_study(
        STUDIES["depth"], folder, {"movies": {0: teacher}}, {"methods": list(scores), "layers": layers}, seeds
    )


def curve(wanted):
    return summarise(points.read(wanted), ["method", "layers"], lambda keys: {"soft": {**keys, "method": "soft"}}, 0.95)


def test_curve_has_a_line_per_method_and_the_comparison_with_soft(tmp_path):
    # sid - soft at one layer: 0.02, 0.01, 0.03 as above; at two layers 0.02, 0.021, 0.022: (0.0185, 0.0235).
    wanted = depth_study(
        tmp_path,
        {
            "soft": {1: [0.70, 0.72, 0.68], 2: [0.75, 0.76, 0.74]},
            "sid": {1: [0.72, 0.73, 0.71], 2: [0.77, 0.781, 0.762]},
        },
    )
    rows = curve(wanted)
    assert [row.keys for row in rows] == [
        {"method": "teacher", "layers": 6},
        {"method": "soft", "layers": 1},
        {"method": "soft", "layers": 2},
        {"method": "sid", "layers": 1},
        {"method": "sid", "layers": 2},
    ]
    one, two = (row.differences["soft"] for row in rows[3:])
    assert [row.differences for row in rows[:3]] == [{}, {}, {}]
    assert (one.verdict, two.verdict) == ("no difference found", "higher")
    assert (one.p_holm, two.p_holm) == pytest.approx((one.p, 2 * two.p))
    assert two.estimate.low == pytest.approx(0.0185, abs=1e-4)
    table = to_frame(rows)
    assert table["encoder_and_pooler"].tolist() == [10794624, 1922304, 3696768, 1922304, 3696768]
    text = to_markdown(curves(rows, STUDIES["depth"].axes[0]))
    assert text.startswith("## movies: accuracy on validation data by layers\n")
    assert "| 2 | 3.70 | 0.750 ± 0.025 | 0.771 ± 0.024 | +0.021 [+0.019, +0.023] higher* | 0/6 |" in text
    assert "The teacher scores 0.868." in text
    assert "Comparisons tested: 2; * marks what is still found" in text
    # The synthetic agreement is the score plus 0.06; KL 0.74 and 0.028 over two layers, 1.05 of it the mean over heads.
    assert "| layers | agreement, soft | agreement, sid | attention KL, soft | attention KL, sid | [CLS]" in text
    assert "| 2 | 0.810 | 0.831 | 0.389 | 0.015 | 0.074 | 0.003 |" in text


def test_curve_of_one_seed_without_soft_compares_nothing(tmp_path):
    rows = curve(depth_study(tmp_path, {"sid": {1: [0.7], 2: [0.8]}}))
    assert [(row.score.low, row.score.high, row.differences) for row in rows] == [(None, None, {})] * 3
    assert "| 1 | 1.92 | 0.700 | 0/1 |" in to_markdown(curves(rows, STUDIES["depth"].axes[0]))


def test_a_table_says_that_there_are_fewer_rows_than_are_asked_for(tmp_path):
    for rows in (1000, 2000, 4000):
        asked = {"rows": rows} | ({"used": 1500} if rows > 1500 else {})
        synthetic.write(tmp_path / f"movies/sid-n{rows}-s0.json", synthetic.point("movies", "sid", 0, **asked))
    teacher = synthetic.write(tmp_path / "teacher-s0.json", synthetic.teacher("movies"))
    grid = {"methods": ["sid"], "rows": [1000, 2000, 4000]}
    wanted = points.of_study(STUDIES["data_size"], tmp_path, {"movies": {0: teacher}}, grid, [0])
    text = to_markdown(write.summary(STUDIES["data_size"], points.read(wanted), grid, 0.95)[1])
    assert text.count("There are 1,500 training rows: what asks for more is the student of all of them.") == 1


def test_the_runs_of_a_row_keep_their_seeds(movies):
    _, soft = table_of(movies, ["movies"], ["soft"])
    assert [(run.seed, run.score) for run in soft.runs] == [(0, 0.80), (1, 0.82), (2, 0.78)]


def test_a_distance_from_the_teacher_does_not_go_below_0():
    names = ("score_mse", "soft_label_kl", "attention_kl", "attention_kl_total", "cls_cosine")
    assert {limits(name) for name in names} == {(0.0, float("inf"))}


def test_a_metric_that_nobody_knows_is_shown_without_limits(movies):
    put(movies, "movies", "sid", [1.5, 2.5, 3.5], metric="bleu")
    put(movies, "movies", "soft", [1.0, 2.0, 3.1], metric="bleu")
    synthetic.write(movies / "movies/teacher-s0.json", synthetic.teacher("movies", metric="bleu"))
    rows = table_of(movies, ["movies"], ["soft", "sid"])
    # sid: mean 2.5, sd 1: 4.30265 / sqrt(3) = 2.484.
    assert "| sid | 2.500 ± 2.484 | +0.467" in markdown(rows)
    assert to_frame(rows)["bleu"].tolist() == pytest.approx([0.868, 6.1 / 3, 2.5])


def test_a_further_metric_that_nobody_knows_gets_a_column(movies):
    put(movies, "movies", "sid", [0.8] * 3, scores={"validation": {"accuracy": 0.8, "new": 0.3}})
    assert "| method | accuracy | new | degenerate runs |" in markdown(table_of(movies, ["movies"], ["sid"]))


def test_the_term_of_another_internal_loss_is_summed_up_too(movies):
    fidelity = {"agreement": 0.9, "attention_kl": [[0.1], [0.3]], "cls_mse": [0.1, 0.3], "value_kl": [[0.1, 0.3]]}
    put(movies, "movies", "sid", [0.8] * 3, fidelity=fidelity)
    row = table_of(movies, ["movies"], ["sid"])[1]
    names = ("cls_mse", "value_kl", "value_kl_total")
    assert [row.closeness[name].value for name in names] == pytest.approx([0.2, 0.2, 0.2])
    assert "cls_mse_total" not in row.closeness


def test_an_interval_ends_where_its_metric_ends(movies):
    # 0.5, 0.5, 0.99: mean 0.6633, half width 0.7029: beyond 1 above, and below 0.
    put(movies, "movies", "soft", [0.5, 0.5, 0.99])
    _, soft = table_of(movies, ["movies"], ["soft"])
    assert (soft.score.low, soft.score.high) == (0.0, 1.0)
    assert "| soft | 0.663 [0.000, 1.000] |" in markdown([soft])


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(-0.3, 0.1, "-0.100 ± 0.200"), (-0.3, 0.0, "-0.100 [-0.300, 0.000]"), (None, None, "-0.100")],
)
def test_an_interval_is_a_half_width_only_where_both_sides_are_alike(low, high, text):
    assert estimate_text(Estimate(-0.1, low, high, 3, 0.95), 3) == text


def test_nothing_is_minus_zero():
    assert estimate_text(Estimate(-0.00001, None, None, 1, 0.95), 4) == "0.0000"


def chance(folder, **methods):
    """Rows of runs that are warned of below 0.505. methods: scores of the seeds, None for runs of one answer only."""
    folder.mkdir(exist_ok=True)
    for method, scores in methods.items():
        for seed in SEEDS:
            score = (scores or (0.5, 0.5, 0.5))[seed]
            warnings = {"chance": "words"} if scores and score <= 0.505 else {}
            facts = {"score": score, "degenerate": scores is None, "warnings": warnings}
            synthetic.write(folder / f"movies/{method}-s{seed}.json", synthetic.point("movies", method, seed, **facts))
    synthetic.write(folder / "movies/teacher-s0.json", synthetic.teacher("movies"))
    runs = points.read(points.headline(folder, ["movies"], list(methods), SEEDS, [0]))
    return {row.method: row for row in summarise(runs, ["method"], baselines, 0.95)}


def test_what_learned_nothing_says_so_beside_its_score(tmp_path):
    rows = chance(tmp_path, none=None, soft=(0.5, 0.49, 0.48), sid=(0.51, 0.49, 0.6))
    assert [rows[name].caution for name in ("teacher", "none", "soft", "sid")] == [
        "",
        "one answer for all",
        "no better than one answer for all",
        "in 1 of 3 runs no better than one answer for all",
    ]
    text = markdown(list(rows.values()))
    assert "| none | 0.500 (one answer for all) |" in text
    assert "| soft | 0.490 ± 0.025 (no better than one answer for all) |" in text


def test_epochs_flatter_the_rows_by_which_they_were_selected_and_no_others(tmp_path):
    rows = chance(tmp_path, soft=(0.7, 0.72, 0.74)).values()
    rows = [replace(row, runs=tuple(replace(run, selected=2) for run in row.runs)) for row in rows]
    assert "by score on some of these rows, so the scores are high." in markdown(rows)
    assert "by score on validation rows, none of these." in to_markdown(write.test_tables(rows))


def test_one_degenerate_run_of_three_is_said_beside_the_mean(tmp_path):
    rows = chance(tmp_path, soft=(0.7, 0.72, 0.74))
    path = tmp_path / "movies/soft-s1.json"
    path.write_text(path.read_text().replace('"degenerate": false', '"degenerate": true'))
    runs = points.read(points.headline(tmp_path, ["movies"], ["soft"], SEEDS, [0]))
    assert rows["soft"].caution == ""
    assert summarise(runs, ["method"], baselines, 0.95)[1].caution == "in 1 of 3 runs one answer for all"


def test_nothing_is_found_between_two_methods_at_chance(tmp_path):
    # 0.5 less 0.40, 0.41, 0.42 would be higher, with a star; against sid, which learned something, it is tested.
    rows = chance(tmp_path, none=(0.40, 0.41, 0.42), soft=None, sid=(0.9, 0.93, 0.92))
    untested = rows["soft"].differences["none"]
    assert (untested.verdict, untested.p, untested.estimate.low) == ("not tested: both at chance", None, None)
    equal = chance(tmp_path / "equal", none=None, soft=None)["soft"].differences["none"]
    assert (equal.estimate.value, equal.verdict) == (0.0, "not tested: both at chance")
    assert untested.estimate.value == pytest.approx(0.09)
    assert rows["sid"].differences["soft"].verdict == "higher"
    # One comparison less to correct for: sid minus none and sid minus soft, the larger p of two stays as it is.
    tests = rows["sid"].differences.values()
    assert max(test.p_holm for test in tests) == max(test.p for test in tests)
