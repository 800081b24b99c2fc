"""Several tasks and several teachers: the averages, the ranks, one correction, and intervals over teachers."""

import pytest

from kdcore.report import points
from kdcore.report.latex import to_latex
from kdcore.report.markdown import Table, over_tasks, overview, to_markdown
from kdcore.report.statistics import mean, paired
from kdcore.report.summary import baselines, overall, overall_frame, summarise
from tests.unit.report import synthetic_points as synthetic

SCORES = {  # task -> method -> score by seed
    "cola": {"none": [0.30, 0.31, 0.29], "soft": [0.40, 0.42, 0.38], "sid": [0.42, 0.43, 0.41]},
    "rte": {"none": [0.60, 0.60, 0.60], "soft": [0.66, 0.64, 0.62], "sid": [0.66, 0.65, 0.63]},
}


def lines_of(folder, scores=SCORES, teachers=(0,), **changes):
    for task, by_method in scores.items():
        for seed in teachers:
            synthetic.write(folder / task / f"teacher-s{seed}.json", synthetic.teacher(task, metric="matthews"))
        for method, by_seed in by_method.items():
            for seed, score in enumerate(by_seed):
                own = {"metric": "matthews", "score": score, "teacher_seed": teachers[seed % len(teachers)]} | changes
                path = folder / task / f"{method}-s{seed}.json"
                synthetic.write(path, synthetic.point(task, method, seed, **own))
    return overall_of(folder, scores, teachers)


def overall_of(folder, scores, teachers=(0,)):
    by_method = next(iter(scores.values()))
    seeds = range(len(next(iter(by_method.values()))))
    runs = points.read(points.headline(folder, list(scores), list(by_method), list(seeds), teachers))
    return overall(runs, summarise(runs, ["method"], baselines, 0.95), 0.95)


def test_the_average_is_over_tasks_within_a_seed(tmp_path):
    # sid - soft: cola 0.02, 0.01, 0.03, rte 0, 0.01, 0.01; averages 0.01, 0.01, 0.02: mean 0.01333, sd 0.0057735,
    # t = 0.013333 / (0.0057735 / sqrt(3)) = 4, p = 0.0572 at 2 degrees of freedom.
    *_, soft, sid = lines_of(tmp_path)
    assert (soft.average.score.value, sid.average.score.value) == pytest.approx((0.52, 0.53333), abs=1e-5)
    made = sid.average.differences["soft"]
    half = 4.302653 * 0.0057735 / 3**0.5
    assert (made.estimate.low, made.estimate.high) == pytest.approx((0.013333 - half, 0.013333 + half), abs=1e-5)
    assert made.p == pytest.approx(0.0572, abs=1e-4)


def test_what_the_table_tests_is_corrected_once_for_all_of_it(tmp_path):
    """Three comparisons, soft and sid with none and sid with soft: the largest p is left as it is."""
    lines = lines_of(tmp_path)
    made = {(line.method, name): one for line in lines for name, one in line.average.differences.items()}
    assert set(made) == {("soft", "none"), ("sid", "none"), ("sid", "soft")}
    smallest, *_, largest = sorted(made.values(), key=lambda one: one.p)
    assert smallest.p_holm == pytest.approx(3 * smallest.p)
    assert largest.p_holm == pytest.approx(max(largest.p, 2 * sorted(one.p for one in made.values())[1]))


def test_ranks_are_those_of_the_students_on_each_task_and_ties_share_theirs(tmp_path):
    tied = SCORES | {"rte": SCORES["rte"] | {"sid": SCORES["rte"]["soft"]}}
    assert [line.rank for line in lines_of(tmp_path, tied)] == [None, 3.0, (2 + 1.5) / 2, (1 + 1.5) / 2]


def test_the_table_of_all_tasks(tmp_path):
    # sid: averages 0.54, 0.54, 0.52; sd 0.011547, half width 4.302653 * 0.011547 / sqrt(3) = 0.0287.
    text = to_markdown(over_tasks(lines_of(tmp_path)))
    header = (
        "| method | cola, matthews | rte, matthews | average | mean rank | average minus none | average minus soft |"
    )
    assert header in text
    assert "| sid | 0.420 ± 0.025 | 0.647 ± 0.038 | 0.533 ± 0.029 | 1.00 |" in text
    assert "Comparisons tested: 3;" in text


def test_what_is_at_chance_on_every_task_is_not_tested(tmp_path):
    """Seeds that differ, so that soft would be higher."""
    scores = {"cola": {"none": [0.01, 0.02, 0.03], "soft": [0.11, 0.13, 0.12]}}
    lines = lines_of(tmp_path, scores, warnings={"chance": "is no better than one answer for all"})
    assert lines[-1].average.differences["none"].verdict == "not tested: both at chance"


def test_what_is_constant_on_one_task_only_is_tested(tmp_path):
    for task, constant in (("cola", False), ("rte", True)):
        lines_of(tmp_path, {task: SCORES[task]}, degenerate=constant)
    lines = overall_of(tmp_path, SCORES)
    assert [line.average.degenerate.runs for line in lines] == [0, 0, 0, 0]
    assert lines[2].average.differences["none"].verdict == "higher"


def test_one_task_has_no_average(tmp_path):
    lines = lines_of(tmp_path, {"cola": SCORES["cola"]})
    assert over_tasks(lines) == []
    assert overview(lines).header == ["method", "cola, matthews", "minus none", "minus soft"]


def test_the_frame_has_a_column_per_number(tmp_path):
    frame = overall_frame(lines_of(tmp_path)).set_index("method")
    assert frame.loc["sid", ["cola_matthews", "rte_matthews", "average", "rank"]].tolist() == pytest.approx(
        [0.42, 0.646667, 0.533333, 1.0], abs=1e-5
    )
    assert frame.loc["sid", "average_minus_soft_verdict"] == "no difference found"


def test_latex_is_as_booktabs_draws_it_and_escapes_what_latex_would_obey():
    table = Table(["method", "f1_macro"], [["a & b", "0.812 ± 0.010"], ["100 %", ""]])
    assert to_latex(table) == (
        "\\begin{tabular}{lr}\n\\toprule\nmethod & f1\\_macro \\\\\n\\midrule\n"
        "a \\& b & 0.812 $\\pm$ 0.010 \\\\\n100 \\% &  \\\\\n\\bottomrule\n\\end{tabular}\n"
    )


# Several teachers


def test_an_interval_over_teachers_by_hand():
    # Teacher a: 0.02, 0.00, mean 0.01; teacher b: 0.04, 0.02, mean 0.03. Mean 0.02, sd 0.0141421, so the standard error
    # is 0.01; t at one degree of freedom is 12.7062, and p of t = 2 is 1 - (2 / pi) atan 2 = 0.295167.
    first, second = {0: 0.82, 1: 0.84, 2: 0.80, 3: 0.82}, dict.fromkeys(range(4), 0.80)
    made = paired(first, second, 0.95, {0: "a", 1: "b", 2: "a", 3: "b"})
    estimate = made.estimate
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == pytest.approx(
        (0.02, 0.02 - 0.127062, 0.02 + 0.127062, 2), abs=1e-6
    )
    assert made.p == pytest.approx(0.295167, abs=1e-6)
    assert made.verdict == "no difference found"


def test_a_teacher_for_each_seed_is_the_paired_test():
    first, second = {0: 0.82, 1: 0.83, 2: 0.81}, {0: 0.80, 1: 0.82, 2: 0.78}
    alone = paired(first, second, 0.95)
    assert paired(first, second, 0.95, {0: 5, 1: 6, 2: 7}) == alone
    assert paired(first, second, 0.95, dict.fromkeys(range(3), 5)) == alone


def test_every_teacher_counts_alike():
    assert mean([0.9, 0.7, 0.8], 0.95, ["a", "b", "a"]).value == pytest.approx((0.85 + 0.7) / 2)


def test_teachers_whose_students_do_not_differ_say_so():
    assert mean([0.8, 0.7, 0.7, 0.8], 0.95, ["a", "a", "b", "b"]).note == "the teachers do not differ"


def test_the_table_says_that_it_speaks_of_teachers(tmp_path):
    scores = {"cola": {name: [*values, 0.35] for name, values in SCORES["cola"].items()}}
    *_, sid = lines_of(tmp_path, scores, teachers=(0, 7))
    row = sid.by_task["cola"]
    assert (row.score.n, row.teachers, len(row.runs)) == (2, 2, 4)
    # Seeds 0 and 2 have teacher 0: 0.42, 0.41; seeds 1 and 3 teacher 7: 0.43, 0.35.
    assert row.score.value == pytest.approx((0.415 + 0.39) / 2)
