"""The expected numbers are textbook examples or are worked out beside the test."""

import numpy as np
import pytest

from kdcore.report import statistics as st

# Student's sleep data (Biometrika 6, 1908): extra hours of sleep of ten patients under two drugs.
DRUG_1 = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
DRUG_2 = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))


def accuracy(labels, predictions):
    return np.mean(labels == predictions)


def test_mean_has_the_t_interval_of_the_textbook():
    # mean 2, standard error 1/sqrt(3) = 0.57735, t(0.975; 2) = 4.30265 (any table): 2 +- 2.48414.
    estimate = st.mean([1.0, 2.0, 3.0], 0.95)
    assert (estimate.value, estimate.n, estimate.note) == (2.0, 3, "")
    assert (estimate.low, estimate.high) == pytest.approx((-0.48414, 4.48414), abs=1e-4)


def test_mean_uses_the_confidence_that_is_asked_for():
    # t(0.95; 2) = 2.91999: 2 +- 1.68585.
    estimate = st.mean([1.0, 2.0, 3.0], 0.90)
    assert estimate.high == pytest.approx(3.68585, abs=1e-4)


def test_mean_of_one_seed_has_no_interval_and_says_so():
    assert st.mean([0.8], 0.95) == st.Estimate(0.8, None, None, 1, 0.95, "one seed")


def test_mean_of_equal_scores_has_no_interval_and_says_so():
    # 0.1 + 0.2 is 0.30000000000000004: rounding is no spread.
    estimate = st.mean([0.3, 0.1 + 0.2, 0.3], 0.95)
    assert (estimate.low, estimate.high, estimate.note) == (None, None, "the seeds do not differ")


@pytest.mark.parametrize("scores", [[], [0.1, float("nan")], [float("inf")]])
def test_mean_refuses_what_is_no_score(scores):
    with pytest.raises(ValueError, match="finite"):
        st.mean(scores, 0.95)


def test_paired_gives_the_sleep_example():
    # Published: t = -4.0621, df = 9, p = 0.002833, difference -1.58, interval (-2.4598858, -0.7001142).
    difference = st.paired(DRUG_1, DRUG_2, 0.95)
    assert difference.estimate.value == pytest.approx(-1.58)
    interval = (difference.estimate.low, difference.estimate.high)
    assert interval == pytest.approx((-2.4598858, -0.7001142), abs=1e-6)
    assert difference.p == pytest.approx(0.002833, abs=1e-6)
    assert difference.verdict == "lower"


def test_paired_changes_sign_with_the_order():
    assert st.paired(DRUG_2, DRUG_1, 0.95).verdict == "higher"


def test_paired_matches_by_seed_and_not_by_position():
    shuffled = {seed: DRUG_2[seed] for seed in reversed(DRUG_2)}
    assert st.paired(DRUG_1, shuffled, 0.95) == st.paired(DRUG_1, DRUG_2, 0.95)


def test_paired_finds_no_difference_when_the_interval_includes_zero():
    # differences -1, 0, 2: mean 1/3, standard error 0.8819, +- 4.30265 * 0.8819 = 3.795.
    difference = st.paired({0: 1.0, 1: 2.0, 2: 5.0}, {0: 2.0, 1: 2.0, 2: 3.0}, 0.95)
    assert (difference.estimate.low, difference.estimate.high) == pytest.approx((-3.4612, 4.1279), abs=1e-3)
    assert difference.verdict == st.NO_DIFFERENCE


def test_paired_of_one_seed_is_not_tested():
    difference = st.paired({0: 0.9}, {0: 0.8}, 0.95)
    assert difference.estimate.value == pytest.approx(0.1)
    assert (difference.p, difference.verdict) == (None, "not tested: one seed")


def test_paired_of_one_constant_difference_is_not_tested():
    # 0.1 every time up to rounding; a t statistic here would be about 1e16.
    difference = st.paired({0: 0.9, 1: 0.8, 2: 0.4}, {0: 0.8, 1: 0.7, 2: 0.3}, 0.95)
    assert (difference.p, difference.verdict) == (None, "not tested: the seeds do not differ")


def test_paired_of_equal_scores_finds_no_difference():
    assert st.paired({0: 0.9, 1: 0.8}, {0: 0.9, 1: 0.8}, 0.95).verdict == st.NO_DIFFERENCE


def test_paired_refuses_other_seeds():
    with pytest.raises(ValueError, match=r"seeds differ: \[0, 1\] and \[0, 2\]"):
        st.paired({0: 0.9, 1: 0.8}, {0: 0.9, 2: 0.8}, 0.95)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.0, 0.2, st.NO_DIFFERENCE),
        (-0.2, 0.0, st.NO_DIFFERENCE),
        (0.01, 0.2, "higher"),
        (-0.2, -0.01, "lower"),
    ],
)
def test_verdict_counts_the_ends_of_the_interval(low, high, words):
    assert st.verdict(st.Estimate((low + high) / 2, low, high, 3, 0.95)) == words


def test_holm_multiplies_the_smallest_p_most_and_keeps_the_order():
    # 0.005 x 4, 0.01 x 3, 0.03 x 2; 0.04 x 1 would be below the one before it. What was not tested does not count.
    assert st.holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02])
    assert st.holm([0.6, 0.5]) == [1.0, 1.0]
    assert st.holm([0.04]) == [0.04]
    assert st.holm([None]) == [None]


def test_corrected_counts_every_comparison_of_the_table():
    tested, untested = st.paired(DRUG_1, DRUG_2, 0.95), st.paired({0: 0.9}, {0: 0.8}, 0.95)
    found = st.corrected([{}, {"none": tested}, {"none": untested, "soft": tested}])
    assert [list(row) for row in found] == [[], ["none"], ["none", "soft"]]
    assert found[1]["none"].p_holm == found[2]["soft"].p_holm == pytest.approx(2 * tested.p)
    assert found[2]["none"] == untested


def test_bootstrap_of_accuracy_is_the_binomial():
    # 80 of 100 right: a resample's errors are Binomial(100, 0.2). From its table, P(X <= 12) = 0.0253 > 0.025
    # and P(X >= 28) = 0.0342 > 0.025, while P(X <= 11) and P(X >= 29) are below: 12 to 28 errors.
    estimate = st.bootstrap(accuracy, np.ones(100), np.repeat([1, 0], [80, 20]), 0.95)
    assert (estimate.value, estimate.n) == (0.8, 100)
    assert (estimate.low, estimate.high) == pytest.approx((0.72, 0.88), abs=0.0101)


def test_bootstrap_repeats_itself():
    labels, predictions = np.ones(50), np.repeat([1, 0], [31, 19])
    assert st.bootstrap(accuracy, labels, predictions, 0.9) == st.bootstrap(accuracy, labels, predictions, 0.9)


def test_bootstrap_takes_logits():
    logits = np.stack([np.zeros(40), np.repeat([1.0, -1.0], [30, 10])], axis=1)
    estimate = st.bootstrap(lambda y, z: accuracy(y, z.argmax(1)), np.ones(40), logits, 0.95)
    assert estimate.low < estimate.value == 0.75 < estimate.high


@pytest.mark.filterwarnings("error")
def test_bootstrap_of_an_undefined_metric_says_so():
    def undefined_for_one_label(labels, predictions):
        return float("nan") if len(set(labels)) < 2 else 1.0

    estimate = st.bootstrap(undefined_for_one_label, [0, 1], [0, 1], 0.95)
    assert (estimate.value, estimate.low, estimate.note) == (1.0, None, "undefined on some resamples")


def test_bootstrap_of_one_example_has_no_interval():
    assert st.bootstrap(accuracy, [1], [1], 0.95).note == "one example"


def test_bootstrap_names_both_lengths():
    with pytest.raises(ValueError, match="2 labels and 3 predictions"):
        st.bootstrap(accuracy, [1, 0], [1, 0, 1], 0.95)


def test_mcnemar_by_hand():
    # 1 example only the first gets right, 9 only the second: p = 2 (C(10,0) + C(10,1)) / 2^10 = 22/1024.
    labels, first, second = np.ones(30), np.ones(30), np.ones(30)
    first[:9], second[9] = 0, 0
    test = st.mcnemar(labels, first, second, 0.95)
    assert (test.only_first, test.only_second, test.verdict) == (1, 9, "lower")
    assert test.p == pytest.approx(22 / 1024)


def test_mcnemar_ignores_examples_that_both_get_right_or_wrong():
    # 3 against 5 discordant: p = 2 (1 + 8 + 28 + 56) / 2^8 = 186/256, whatever the rest is.
    labels = np.zeros(100)
    first, second = np.r_[np.zeros(3), np.ones(5), np.ones(92)], np.r_[np.ones(3), np.zeros(5), np.ones(92)]
    test = st.mcnemar(labels, first, second, 0.95)
    assert (test.p, test.verdict) == (pytest.approx(186 / 256), st.NO_DIFFERENCE)


def test_mcnemar_of_equal_predictions_finds_no_difference():
    assert st.mcnemar([0, 1], [0, 0], [0, 0], 0.95) == st.McNemar(0, 0, 1.0, st.NO_DIFFERENCE, 0.95)


def test_mcnemar_names_the_shapes():
    with pytest.raises(ValueError, match=r"labels \(2,\), first \(2,\), second \(3,\)"):
        st.mcnemar([0, 1], [0, 1], [0, 1, 1], 0.95)


def test_degenerate_counts():
    assert str(st.degenerate([True, False, False])) == "1/3"
    assert st.degenerate([]) == st.Degenerate(0, 0)
