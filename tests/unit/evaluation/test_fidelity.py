"""Fidelity of a student to its teacher: against slow loops, by hand, and the laws that it keeps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcore.data.batches import collate
from kdcore.data.examples import Examples
from kdcore.distil.signals import Live
from kdcore.evaluation.fidelity import fidelity, output_fidelity
from kdcore.model.encoder import Encoder
from tests import tiny
from tests.distilling import encoder, examples, stored
from tests.parity import slow

MAP = (2, 4)


def measured(student: Encoder, teacher: Encoder, found: Examples, batch_size: int = 5) -> dict[str, Any]:
    return fidelity(student, found, Live(teacher), MAP, batch_size)


def by_hand(student: Encoder, teacher: Encoder, found: Examples) -> dict[str, Any]:
    """Means over the examples of what the slow loops give for each one alone."""
    kl, cosine, soft = [], [], []
    for row in range(len(found)):
        batch = collate(found, np.asarray([row]))
        own, theirs = student(batch.inputs, attention=(1, 2)), teacher(batch.inputs, attention=MAP)
        n = batch.mask.shape[1]
        pairs = list(enumerate(MAP, start=1))
        kl.append(
            [
                slow.attention_kl(own.attention[i][0].exp().tolist(), theirs.attention[g][0].exp().tolist(), n)
                for i, g in pairs
            ]
        )
        cosine.append([slow.cls_cosine(own.cls[i][0].tolist(), theirs.cls[g][0].tolist()) for i, g in pairs])
        p = slow.softmax(theirs.logits[0].tolist())
        entropy = slow.soft_labels(theirs.logits[0].tolist(), theirs.logits[0].tolist())
        soft.append((slow.soft_labels(own.logits[0].tolist(), theirs.logits[0].tolist()) - entropy, np.argmax(p)))
    return {
        "attention_kl": np.mean(kl, axis=0),
        "cls_cosine": np.mean(cosine, axis=0),
        "soft_label_kl": np.mean([loss for loss, _ in soft]),
    }


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_fidelity_is_what_slow_loops_give(family: str):
    # ModernBERT's layers 2 and 4 see a window, so a student of layers 1 and 2 would hide what a teacher sees.
    student, teacher = student_of(family), encoder(family)
    found = examples(family)
    facts, expected = measured(student, teacher, found), by_hand(student, teacher, found)
    assert np.shape(facts["attention_kl"]) == (2, 4)
    np.testing.assert_allclose(facts["attention_kl"], expected["attention_kl"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(facts["cls_cosine"], expected["cls_cosine"], rtol=1e-3, atol=1e-5)
    assert facts["soft_label_kl"] == pytest.approx(expected["soft_label_kl"], rel=1e-3)


def student_of(family: str) -> Encoder:
    if family != "modernbert":
        return encoder(family, layers=2, seed=1)
    from transformers import AutoModelForSequenceClassification

    config = tiny.config(family, layers=2)
    config.layer_types = ["sliding_attention"] * 2
    return Encoder(AutoModelForSequenceClassification.from_config(config)).eval()


def test_a_teacher_is_faithful_to_itself():
    facts = fidelity(encoder(), examples(), Live(encoder()), (1, 2, 3, 4), 5)
    assert facts["agreement"] == 1
    assert facts["soft_label_kl"] == pytest.approx(0, abs=1e-7)
    np.testing.assert_allclose(facts["attention_kl"], np.zeros((4, 4)), atol=1e-6)
    np.testing.assert_allclose(facts["cls_cosine"], np.zeros(4), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 12, 100])
def test_fidelity_does_not_depend_on_the_batch_size(batch_size: int):
    student, teacher = encoder(layers=2, seed=1), encoder()
    facts, other = (measured(student, teacher, examples(), size) for size in (5, batch_size))
    for name, values in facts.items():
        np.testing.assert_allclose(np.asarray(other[name]), np.asarray(values), rtol=1e-4, atol=1e-5, err_msg=name)


def test_fidelity_is_the_mean_of_its_examples():
    student, teacher, found = encoder(layers=2, seed=1), encoder(), examples()
    parts = [measured(student, teacher, found.take(rows)) for rows in (np.arange(3), np.arange(3, 12))]
    for name, whole in measured(student, teacher, found).items():
        mean = (3 * np.asarray(parts[0][name]) + 9 * np.asarray(parts[1][name])) / 12
        np.testing.assert_allclose(np.asarray(whole), mean, rtol=1e-4, atol=1e-5, err_msg=name)


def test_stored_signals_give_the_fidelity_of_the_live_teacher(tmp_path: Path):
    student, teacher, found = encoder(layers=2, seed=1), encoder(), examples()
    read = stored(teacher, found, tmp_path, dtype="float16")
    facts, expected = fidelity(student, found, read, MAP, 5), measured(student, teacher, found)
    for name, values in facts.items():
        np.testing.assert_allclose(np.asarray(values), np.asarray(expected[name]), rtol=1e-3, atol=2e-4, err_msg=name)


def test_a_student_in_train_mode_is_measured_without_dropout():
    student, teacher = encoder(layers=2, seed=1), encoder()
    expected = measured(student, teacher, examples())
    assert measured(student.train(), teacher, examples()) == expected


def test_a_regression_has_the_squared_error_of_its_scores():
    facts = measured(encoder(layers=2, labels=1, seed=1), encoder(labels=1), examples(labels=1))
    assert facts["agreement"] is None
    assert "soft_label_kl" not in facts
    assert facts["score_mse"] > 0


def test_the_outputs_of_a_classification_by_hand():
    # p_T = [1/2, 1/2] against p_S = [1/4, 3/4]: 1/2 log 2 + 1/2 log 2/3 = 0.143841; equal logits: 0.
    # Predictions of rows 2 and 3 agree; row 1 is a tie, which counts as class 0, against class 1.
    student = np.log([[0.25, 0.75], [0.9, 0.1], [0.2, 0.8]])
    teacher = np.log([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    facts = output_fidelity(student, teacher)
    assert facts["soft_label_kl"] == pytest.approx((np.log(2) / 2 + np.log(2 / 3) / 2) / 3)
    assert facts["agreement"] == pytest.approx(2 / 3)


def test_the_outputs_of_a_regression_by_hand():
    # ((1 - 3)² + (2 - 2)²) / 2 = 2
    facts = output_fidelity(np.asarray([[1.0], [2.0]]), np.asarray([[3.0], [2.0]]))
    assert facts == {"agreement": None, "score_mse": 2.0}


def test_a_shift_of_all_logits_is_no_infidelity():
    logits = np.random.default_rng(0).normal(size=(6, 3))
    assert output_fidelity(logits + 50, logits)["soft_label_kl"] == pytest.approx(0, abs=1e-9)
