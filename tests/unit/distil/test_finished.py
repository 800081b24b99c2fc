"""A finished run is told apart by what it computes, and one that was changed is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdcore.artefacts import seal
from kdcore.distil.finished import Finished
from kdcore.errors import UserError
from tests.unit.distil.test_folder import write


def test_equal_models_have_one_fingerprint_whatever_was_noted_about_them(
    tmp_path: Path, tiny_classifier: Callable[..., Path]
):
    prints = []
    for name, facts in {"one": {"method": "sid"}, "other": {"method": "pid"}}.items():
        write(tmp_path / name, tiny_classifier(), **facts)
        run = Finished.open(tmp_path / name, "-")
        assert run.facts["method"] == facts["method"]
        prints.append(run.fingerprint)
    assert prints[0] == prints[1]


@pytest.mark.parametrize("change", ["weights", "tokenizer", "length"])
def test_other_models_have_other_fingerprints(tmp_path: Path, tiny_classifier: Callable[..., Path], change: str):
    write(tmp_path / "one", tiny_classifier(), max_length=16)
    write(tmp_path / "other", tiny_classifier(seed=int(change == "weights")), max_length=16 + (change == "length"))
    if change == "tokenizer":
        words = (tmp_path / "other/tokenizer.json").read_text()
        (tmp_path / "other/tokenizer.json").write_text(words.replace('"lowercase": true', '"lowercase": false'))
        (tmp_path / "other/manifest.json").unlink()
        seal(tmp_path / "other")
    assert Finished.open(tmp_path / "one", "-").fingerprint != Finished.open(tmp_path / "other", "-").fingerprint


def test_a_run_that_was_changed_is_refused_by_file_and_says_what_to_run(
    tmp_path: Path, tiny_classifier: Callable[..., Path]
):
    write(tmp_path / "run", tiny_classifier())
    (tmp_path / "run/run.json").unlink()
    with pytest.raises(UserError, match=r"run\.json: is missing; run `dvc repro -f student`"):
        Finished.open(tmp_path / "run", "dvc repro -f student")


@pytest.mark.parametrize("sealed", [False, True], ids=["a user's own", "the example's"])
def test_a_classifier_that_no_run_made_is_refused_in_these_words(tiny_classifier: Callable[..., Path], sealed: bool):
    folder = tiny_classifier()
    if sealed:
        seal(folder)
    with pytest.raises(UserError, match=r"is no model that kdcore made; name one below runs/, e\.g\. runs/teacher/"):
        Finished.open(folder, "dvc repro")
