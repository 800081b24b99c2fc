"""`kdcore predict` where nothing is but a model's folder and rows: no params.yaml, no prepared data, no project."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from transformers import pipeline

from kdcore import cli
from kdcore.artefacts import seal
from kdcore.errors import UserError
from kdcore.predict.model import open_classifier
from tests import on_disk, tiny

TEXTS = tiny.texts(8, seed=5)["sentence"].tolist()


@pytest.fixture(scope="module")
def student(tiny_ingredients: on_disk.Ingredients, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's folder, copied out of its store."""
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCORE_WORK", str(folder / "work"))
        shutil.copytree(on_disk.distilled(tiny_ingredients), folder / "student")
    return folder / "student"


@pytest.fixture
def predict(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """predict(*args): exit code, and all that `kdcore predict` says in a folder that holds mine.csv alone."""
    (tmp_path / "box").mkdir()
    monkeypatch.chdir(tmp_path / "box")
    pd.DataFrame({"review": TEXTS}).to_csv("mine.csv", index=False)

    def called(*args: Path | str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["kdcore", "predict", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        lines = "".join(capsys.readouterr()).splitlines()
        return stopped.value.code, "\n".join(
            line for line in lines if line and "it/s" not in line
        )  # not transformers' own bars

    return called


def answers(folder: Path) -> list[str]:
    """What transformers alone says of the texts."""
    return [answer["label"] for answer in pipeline("text-classification", str(folder), device="cpu")(TEXTS)]


def test_a_students_folder_is_all_that_it_needs(student: Path, predict: Callable[..., tuple[int, str]]):
    pd.DataFrame({"sentence": TEXTS}).to_csv("plain.csv", index=False)
    assert predict(student, "plain.csv", "out.csv", "--batch-size", "3") == (0, "out.csv is written")
    assert pd.read_csv("out.csv")["prediction"].tolist() == answers(student)


def test_a_column_may_have_another_name_than_in_training(student: Path, predict: Callable[..., tuple[int, str]]):
    code, said = predict(student, "mine.csv", "out.csv", "--text", "review")
    assert code == 0, said
    assert pd.read_csv("out.csv")["prediction"].tolist() == answers(student)


def test_a_classifier_from_elsewhere_has_its_own_labels(
    tiny_classifier: Callable[..., Path], predict: Callable[..., tuple[int, str]]
):
    folder = tiny_classifier("roberta", 2, ("no", "maybe", "yes"))
    code, said = predict(folder, "mine.csv", "out.csv", "--text", "review")
    assert code == 0, said
    found = pd.read_csv("out.csv")
    assert list(found) == ["row", "prediction", "p_no", "p_maybe", "p_yes"]
    assert found["prediction"].tolist() == answers(folder)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "has no run.json that says its task: name it with --task, or the text columns with --text"),
        (
            ["--task", "rtr"],
            "--task: must be movies | cola | sst2 | mrpc | qqp | stsb | mnli | qnli | rte | wnli, found",
        ),
        (["--text", "review", "--max-length", "4000"], "--max-length: at most 128 for"),
        (["--text", "a", "--text", "b", "--text", "c"], "--text: name the one or two columns of texts, found ['a', 'b"),
        (["--text", "a", "--text", "a"], "--text: name the one or two columns of texts, found ['a', 'a']"),
        (["--task", "rte", "--text", "review"], "--text: rte has 2 text columns, sentence1, sentence2; found 1"),
    ],
)
def test_what_a_classifier_from_elsewhere_lacks_is_said(
    tiny_classifier: Callable[..., Path],
    predict: Callable[..., tuple[int, str]],
    options: list[str],
    said: str,
):
    code, message = predict(tiny_classifier(), "mine.csv", "out.csv", *options)
    assert (code, said in message, len(message.splitlines())) == (2, True, 1), message
    assert not Path("out.csv").exists()


def test_a_sealed_classifier_needs_no_run_json(
    tiny_classifier: Callable[..., Path], tmp_path: Path, predict: Callable[..., tuple[int, str]]
):
    """As the example's."""
    folder = shutil.copytree(tiny_classifier(), tmp_path / "copy")
    seal(folder, example=True)
    code, said = predict(folder, "mine.csv", "out.csv", "--text", "review")
    assert code == 0, said
    (folder / "config.json").write_text("{}")
    code, said = predict(folder, "mine.csv", "out.csv", "--text", "review")
    assert (code, "config.json: " in said) == (2, True), said


@pytest.mark.parametrize("notes", ["{oops", "[1]", '{"max_length": 3}', '{"max_length": "long", "task": 5}'])
def test_a_run_json_of_another_program_says_nothing(tiny_classifier: Callable[..., Path], tmp_path: Path, notes: str):
    folder = shutil.copytree(tiny_classifier(), tmp_path / "copy")
    (folder / "run.json").write_text(notes)
    assert open_classifier(folder, columns=["review"]).max_length == 128


def test_a_task_that_is_not_described_as_kdcore_does_is_refused(tiny_classifier: Callable[..., Path], tmp_path: Path):
    folder = shutil.copytree(tiny_classifier(), tmp_path / "copy")
    (folder / "run.json").write_text('{"described": {"labels": 3}}')
    with pytest.raises(UserError, match=r"run.json: does not describe a task as kdcore writes it"):
        open_classifier(folder)


def test_a_classifier_reads_as_many_tokens_as_it_was_trained_with(student: Path, tiny_classifier: Callable[..., Path]):
    assert open_classifier(student).max_length == on_disk.MAX_LENGTH
    assert open_classifier(student, max_length=12).max_length == 12
    assert open_classifier(tiny_classifier(), columns=["review"]).max_length == 128  # its positions


def test_another_task_than_the_models_own_is_refused(student: Path):
    with pytest.raises(UserError, match="is a model for the task 'tiny', not 'rte'"):
        open_classifier(student, "rte")
