"""The error analysis by hand on ten examples; the examples that are shown; and that their text stays text."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.errors import UserError
from kdcore.report import errors, statistics
from kdcore.report.analysis import ERRORS, Example, Skipped, Vote, section
from kdcore.report.errors import Outputs, examples, telling, write_errors
from kdcore.report.markdown import Quoted, Table, to_markdown
from kdcore.report.statistics import McNemar
from tests import on_disk


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 50)


TASK = Task("toy", ("text",), "label", ("no", "yes", "maybe"), ("accuracy",))
LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
TEACHER = [0, 0, 0, 1, 1, 1, 0, 2, 2, 0]  # wrong on examples 3, 6 and 9
SOFT = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]  # always right
SID = [0, 0, 1, 1, 1, 1, 2, 2, 2, 0]  # wrong on 2, 3, 6, 9; repeats the teacher's errors on 3 and 9


def logits(classes):
    return np.eye(3)[classes]


def outputs(students, task=TASK):
    made = {method: {seed: logits(one) for seed, one in enumerate(runs)} for method, runs in students.items()}
    return Outputs(task, np.array(LABELS, dtype=float), {0: logits(TEACHER)}, made)


ROWS = pd.DataFrame({"row": range(100, 110), "text_a": [f"text {i}" for i in range(10)], "text_b": None})


def analyse(models, confidence=0.95):
    return errors.analyse(models, ROWS, confidence)


def text_of(models, task="toy"):
    return to_markdown(section(task, analyse(models)))


def test_counts_agreement_and_repeated_errors_by_hand():
    found = analyse(outputs({"soft": [SOFT], "sid": [SID]}))
    assert (found.examples, found.right) == (10, 7)
    run = found.methods["sid"].runs[0]
    assert run.counts == {"both_right": 6, "only_teacher_right": 1, "only_student_right": 0, "both_wrong": 3}
    # Agreement on all but examples 2 and 6: on 6 both are wrong, each in its own way, so it is no repeated error.
    assert run.shares == {"agreement": pytest.approx(0.8), "repeated_errors": pytest.approx(2 / 3)}


def test_shares_are_compared_with_soft_by_seed():
    found = analyse(outputs({"soft": [SOFT, SOFT, TEACHER], "sid": [SID, TEACHER, TEACHER]})).methods
    # Soft agrees on 7, 7 and 10 of 10, sid on 8, 10, 10: the differences are 0.1, 0.3, 0.
    assert found["soft"].minus_soft == {}
    assert found["sid"].minus_soft["agreement"].estimate.value == pytest.approx(0.4 / 3)
    assert found["sid"].minus_soft["agreement"].verdict == "no difference found"


def test_each_seed_is_tested_against_the_teacher_and_soft():
    found = analyse(outputs({"soft": [SOFT, SID], "sid": [SID, SOFT]})).methods
    first, second = found["sid"].runs
    # Only sid right: none; only soft right: 2, 3, 6, 9. Exact two-sided p of 0 : 4 is 2 / 2^4, the smallest of six.
    assert first.tests["soft"] == McNemar(0, 4, 0.125, "no difference found", 0.95, p_holm=0.75)
    assert (first.tests["teacher"].only_first, first.tests["teacher"].only_second) == (0, 1)
    assert first.score.value == pytest.approx(0.6)
    assert first.score.low < 0.6 < first.score.high
    assert (second.seed, second.score.value) == (1, 1.0)
    assert (second.tests["soft"].only_first, second.tests["soft"].only_second) == (4, 0)
    assert not [run for run in found["soft"].runs if "soft" in run.tests]


def test_two_constants_are_not_tested_against_each_other():
    no, yes = [0] * 10, [1] * 10
    found = analyse(outputs({"soft": [yes, no], "sid": [no, SID]})).methods["sid"].runs
    assert [list(run.tests) for run in found] == [["teacher"], ["teacher", "soft"]]


def test_the_text_has_a_line_per_seed_and_counts_its_comparisons():
    text = text_of(outputs({"soft": [SOFT, SID], "sid": [SID, SOFT]}))
    assert "| 0 : 4, p = 0.125, no difference found |" in text
    assert "| 4 : 0, p = 0.125, no difference found |" in text
    assert "McNemar's exact test. Comparisons tested: 6; none is still found after Holm's correction" in text


def test_counts_are_whole_unless_they_are_means():
    assert "| soft | 7 | 0 | 3 | 0 |" in text_of(outputs({"soft": [SOFT]}))
    assert "| soft | 6.5 | 0.5 | 1.5 | 1.5 |" in text_of(outputs({"soft": [SOFT, SID]}))


def test_a_star_marks_shares_that_differ_after_holms_correction():
    # Agreement 1, 1, 0.9 less 0.7: t = 0.2667 / (0.0577 / sqrt(3)) = 8, p = 0.015; repeated 1, 1, 2/3: the same t.
    almost = [*TEACHER[:9], 1]
    models = outputs({"soft": [SOFT, SOFT, SOFT], "sid": [TEACHER, TEACHER, almost]})
    found, text = analyse(models), text_of(models)
    assert "+0.267 [+0.123, +0.410] higher* |" in text
    assert found.methods["sid"].minus_soft["agreement"].p_holm == pytest.approx(2 * 0.0153, abs=1e-4)
    assert "Differences are paired by seed. Comparisons tested: 2; * marks what is still found" in text


def test_a_teacher_without_errors_has_none_to_repeat():
    perfect = Outputs(TASK, np.array(LABELS, dtype=float), {0: logits(SOFT)}, {"soft": {0: logits(SID)}})
    assert analyse(perfect).methods["soft"].mean["repeated_errors"] is None
    assert "| none to repeat |" in text_of(perfect)


def test_a_regression_is_left_out_and_says_why():
    task = Task("scores", ("text",), "label", (), ("pearson",))
    only = {0: np.array([[0.4]])}
    assert analyse(Outputs(task, np.array([0.5]), only, {})) == Skipped(errors.SKIPPED)
    text = text_of(Outputs(task, np.array([0.5]), only, {}), "scores")
    assert text.endswith("Not analysed: a regression predicts numbers, which are neither right nor wrong.\n")


def test_telling_examples_are_those_on_which_methods_differ_most_first():
    # Right seeds of two: soft 2 everywhere; sid 2 but on 2 (one), 3 (one), 6 (none), 9 (one).
    second = [0, 0, 0, 0, 1, 1, 0, 2, 2, 2]
    models = outputs({"soft": [SOFT, SOFT], "sid": [SID, second]})
    assert telling(models, 30) == [6, 2, 3, 9]
    assert telling(models, 2) == [6, 2]
    example, *_ = examples(models, ROWS)
    votes = {"soft": Vote("yes", 2, 2), "sid": Vote("no", 0, 2)}
    assert example == Example(106, ["text 6"], "yes", "no", votes)


def test_classes_are_means_over_seeds():
    # SID takes example 2 for yes, and 6, of yes, for maybe; SOFT is always right.
    models = outputs({"soft": [SOFT, SOFT], "sid": [SID, SOFT]})
    found = analyse(models).classes
    assert list(found) == ["teacher", "soft", "sid"]
    assert found["sid"].confusion == [[3, 1, 0], [0.0, 2.5, 0.5], [0.5, 0.0, 2.5]]
    assert found["sid"].support == [4, 3, 3]
    assert found["soft"].f1 == [1, 1, 1]
    assert found["sid"].recall == pytest.approx([3 / 4, 2.5 / 3, 2.5 / 3])
    text = text_of(models)
    assert "| model | class | examples | precision | recall | F1 | as no | as yes | as maybe |" in text
    assert "| sid | yes | 3 |" in text
    assert "| 0 | 2.5 | 0.5 |" in text


def test_teachers_are_each_their_own_whatever_their_seeds():
    # Macro F1 1, 0, 1: their mean is 2/3. Students take teachers by turn, and 3 modulo 3 is the first of them.
    never = [(one + 1) % 3 for one in LABELS]
    models = replace(outputs({"soft": [SOFT]}), teachers={0: logits(LABELS), 1: logits(never), 3: logits(LABELS)})
    found = analyse(models).classes["teacher"].f1_macro
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)


@pytest.mark.parametrize(
    ("seeds", "means", "differences"),
    [
        ((0, 1), "over 2 teachers, a student beside its own, with", "paired by seed and averaged by teacher."),
        ((0, 3), "over 2 seeds, with", "paired by seed."),  # both of the first teacher
    ],
)
def test_the_text_says_what_its_intervals_are_over(seeds, means, differences):
    students = {"soft": dict.fromkeys(seeds, logits(SOFT)), "sid": dict.fromkeys(seeds, logits(SID))}
    models = replace(outputs({}), teachers=dict.fromkeys((4, 5, 6), logits(TEACHER)), students=students)
    text = text_of(models)
    assert f"Means {means}" in text
    assert f"Differences are {differences}" in text
    assert "The first teacher is right on 7 of 10" in text


def test_many_classes_are_listed_without_a_column_each():
    task = Task("toy", ("text",), "label", tuple(f"class {i}" for i in range(12)), ("accuracy",))
    made = Outputs(task, np.arange(12.0), {0: np.eye(12)}, {"soft": {0: np.eye(12)}})
    text = to_markdown(section("toy", errors.analyse(made, pd.DataFrame(), 0.95)))
    assert "| model | class | examples | precision | recall | F1 |\n" in text
    assert "The confusion matrices, of 12 classes, are in errors.json." in text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nlines\tand  gaps", "two lines and gaps"),
        ("<script>alert(1)</script>", r"\<script\>alert(1)\</script\>"),
        ("[link](x) `code` *bold* a|b", r"\[link\](x) \`code\` \*bold\* a&#124;b"),
        ("&lt; \\| ", r"&amp;lt; \\&#124;"),
        ("x" * 300, "x" * 200 + "…"),
    ],
)
def test_text_is_shown_as_it_is(text, line):
    table = to_markdown([Table([Quoted(text)], [[Quoted(text)]])])
    assert table.splitlines() == [f"| {line} |", "| :--- |", f"| {line} |"]


@pytest.fixture
def headline(tmp_path):
    """Prepared data and predictions of a teacher and two students, the second degenerate."""
    data = on_disk.prepared(tmp_path, on_disk.rows())
    rows = Data.open(data).frame("validation")
    truth = rows["label"].to_numpy(dtype=int)
    for name, classes in {"teacher-s0": truth, "soft-s0": truth, "sid-s0": truth * 0}.items():
        frame = rows[["row", "label"]].assign(split="validation", logit_0=1.0 - classes, logit_1=1.0 * classes)
        path = tmp_path / f"predictions/tiny/{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(path, index=False)
    return tmp_path


def analysed(folder, methods=("soft", "sid"), seeds=(0,), texts=True):
    write_errors(folder / "predictions", folder / "data", folder / "out", ["tiny"], methods, seeds, [0], 0.95, texts)
    return folder / "out"


def test_the_files_agree_with_each_other(headline):
    out = analysed(headline)
    found = ERRORS.validate_json((out / "errors.json").read_bytes())["tiny"]
    table = pd.read_csv(out / "errors.csv")
    rows = Data.open(headline / "data/tiny").frame("validation").set_index("row")
    assert found.methods["sid"].runs[0].counts["only_teacher_right"] == len(table) == int((rows["label"] == 1).sum())
    assert table["text_a"].tolist() == rows.loc[table["row"], "text_a"].tolist()
    assert set(table["sid"]) == {"bad"}
    assert set(table["soft"]) == {"good"}
    text = (out / "errors.md").read_text()
    assert text.count("| good | good | good (1/1) | bad (0/1) |") == len(table)
    assert text == to_markdown(section("tiny", found))  # what is read back gives the same tables


def test_texts_are_quoted_only_where_they_are_asked_for(headline):
    sentences = Data.open(headline / "data/tiny").frame("validation")["text_a"]
    out = analysed(headline, texts=False)
    for path in out.iterdir():
        assert not [sentence for sentence in sentences if sentence in path.read_text()]
    table = pd.read_csv(out / "errors.csv")
    assert table["text_a"].isna().all()
    text = (out / "errors.md").read_text()
    assert f"| {table['row'][0]} | good | good | good (1/1) | bad (0/1) |" in text
    assert "Texts are not shown (report.texts in params.yaml)" in text


def test_missing_predictions_name_the_params_key(headline):
    with pytest.raises(UserError, match=r"params.yaml: methods: pid is asked for, but .*pid-s0.parquet is missing"):
        analysed(headline, methods=("soft", "pid"))
    assert not (headline / "out").exists()


def test_predictions_of_other_examples_are_refused(headline):
    path = headline / "predictions/tiny/sid-s0.parquet"
    pd.read_parquet(path).iloc[::-1].to_parquet(path, index=False)
    with pytest.raises(UserError, match=r"sid-s0.parquet: is not of the examples of the prepared data"):
        analysed(headline)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"sid-s0.parquet: predictions can't be read"):
        analysed(headline)
    assert not (headline / "out").exists()
