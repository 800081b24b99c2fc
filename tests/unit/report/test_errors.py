"""The error analysis by hand on ten examples; the examples that are shown; and that their text stays text."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.errors import UserError
from kdcore.report import errors
from kdcore.report.errors import Outputs, examples, plain, section, telling, to_json, write_errors
from kdcore.report.markdown import to_markdown
from tests import on_disk


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(errors, "bootstrap", partial(errors.bootstrap, resamples=50))


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


def analyse(models, confidence):
    """What errors.json says of a task."""
    return to_json(errors.analyse(models, confidence))


def text_of(models, task="toy"):
    return to_markdown(section(task, errors.analyse(models, 0.95), pd.DataFrame({"task": []})))


def test_counts_agreement_and_repeated_errors_by_hand():
    found = analyse(outputs({"soft": [SOFT], "sid": [SID]}), 0.95)
    assert (found["examples"], found["teacher"]["right"], found["teacher"]["wrong"]) == (10, 7, 3)
    run = found["methods"]["sid"]["runs"][0]
    assert [run[name] for name in ("both_right", "only_teacher_right", "only_student_right", "both_wrong")] == [
        6,
        1,
        0,
        3,
    ]
    # Agreement on all but examples 2 and 6: on 6 both are wrong, each in its own way, so it is no repeated error.
    assert run["agreement"] == pytest.approx(0.8)
    assert run["repeated_errors"] == pytest.approx(2 / 3)


def test_shares_are_compared_with_soft_by_seed():
    found = analyse(outputs({"soft": [SOFT, SOFT, TEACHER], "sid": [SID, TEACHER, TEACHER]}), 0.95)["methods"]
    # Soft agrees on 7, 7 and 10 of 10, sid on 8, 10, 10: the differences are 0.1, 0.3, 0.
    assert found["soft"]["minus_soft"] == {}
    assert found["sid"]["minus_soft"]["agreement"]["value"] == pytest.approx(0.4 / 3)
    assert found["sid"]["minus_soft"]["agreement"]["verdict"] == "no difference found"


def test_each_seed_is_tested_against_the_teacher_and_soft():
    found = analyse(outputs({"soft": [SOFT, SID], "sid": [SID, SOFT]}), 0.95)["methods"]
    first, second = found["sid"]["runs"]
    # Only sid right: none; only soft right: 2, 3, 6, 9. Exact two-sided p of 0 : 4 is 2 / 2^4, the smallest of six.
    assert first["against_soft"] == {
        "only_student": 0, "only_other": 4, "p": 0.125, "verdict": "no difference found", "p_holm": 0.75,
    }  # fmt: skip
    assert (first["against_teacher"]["only_student"], first["against_teacher"]["only_other"]) == (0, 1)
    assert first["score"]["value"] == pytest.approx(0.6)
    assert first["score"]["low"] < 0.6 < first["score"]["high"]
    assert (second["seed"], second["score"]["value"]) == (1, 1.0)
    assert (second["against_soft"]["only_student"], second["against_soft"]["only_other"]) == (4, 0)
    assert not [run for run in found["soft"]["runs"] if "against_soft" in run]


def test_the_text_has_a_line_per_seed_and_counts_its_comparisons():
    text = text_of(outputs({"soft": [SOFT, SID], "sid": [SID, SOFT]}))
    assert "| 0 : 4, p = 0.125, no difference found |" in text
    assert "| 4 : 0, p = 0.125, no difference found |" in text
    assert "McNemar's exact test. Comparisons tested: 6; none is still found after Holm's correction" in text


def test_a_star_marks_shares_that_differ_after_holms_correction():
    # Agreement 1, 1, 0.9 less 0.7: t = 0.2667 / (0.0577 / sqrt(3)) = 8, p = 0.015; repeated 1, 1, 2/3: the same t.
    almost = [*TEACHER[:9], 1]
    models = outputs({"soft": [SOFT, SOFT, SOFT], "sid": [TEACHER, TEACHER, almost]})
    found, text = analyse(models, 0.95), text_of(models)
    assert "+0.267 [+0.123, +0.410] higher* |" in text
    assert found["methods"]["sid"]["minus_soft"]["agreement"]["p_holm"] == pytest.approx(2 * 0.0153, abs=1e-4)
    assert "Differences are paired by seed. Comparisons tested: 2; * marks what is still found" in text


def test_a_teacher_without_errors_has_none_to_repeat():
    perfect = Outputs(TASK, np.array(LABELS, dtype=float), {0: logits(SOFT)}, {"soft": {0: logits(SID)}})
    found = analyse(perfect, 0.95)
    assert found["methods"]["soft"]["mean"]["repeated_errors"] is None
    assert "| none to repeat |" in text_of(perfect)


def test_a_regression_is_left_out_and_says_why():
    task = Task("scores", ("text",), "label", (), ("pearson",))
    text = text_of(Outputs(task, np.array([0.5]), {0: np.array([[0.4]])}, {}), "scores")
    assert text.endswith("Not analysed: a regression predicts numbers, which are neither right nor wrong.\n")


def test_telling_examples_are_those_on_which_methods_differ_most_first():
    # Right seeds of two: soft 2 everywhere; sid 2 but on 2 (one), 3 (one), 6 (none), 9 (one).
    second = [0, 0, 0, 0, 1, 1, 0, 2, 2, 2]
    models = outputs({"soft": [SOFT, SOFT], "sid": [SID, second]})
    assert telling(models, 30) == [6, 2, 3, 9]
    assert telling(models, 2) == [6, 2]
    rows = pd.DataFrame({"row": range(100, 110), "text_a": [f"text {i}" for i in range(10)], "text_b": None})
    table = examples(models, rows, most=1)
    assert table.to_dict("records") == [
        {"task": "toy", "row": 106, "text_a": "text 6", "text_b": None, "label": "yes", "teacher": "no"}
        | {"soft": "yes", "soft_right": "2/2", "sid": "no", "sid_right": "0/2"}
    ]


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
    assert plain(text) == line


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


def analysed(folder, methods=("soft", "sid"), seeds=(0,)):
    write_errors(folder / "predictions", folder / "data", folder / "out", ["tiny"], methods, seeds, [0], 0.95)
    return folder / "out"


def test_the_files_agree_with_each_other(headline):
    out = analysed(headline)
    found = json.loads((out / "errors.json").read_text())["tiny"]
    table = pd.read_csv(out / "errors.csv")
    rows = Data.open(headline / "data/tiny").frame("validation").set_index("row")
    assert found["methods"]["sid"]["runs"][0]["only_teacher_right"] == len(table) == int((rows["label"] == 1).sum())
    assert table["text_a"].tolist() == rows.loc[table["row"], "text_a"].tolist()
    assert set(table["sid"]) == {"bad"}
    assert set(table["soft"]) == {"good"}
    text = (out / "errors.md").read_text()
    assert text.count("| good | good | good (1/1) | bad (0/1) |") == len(table)


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
