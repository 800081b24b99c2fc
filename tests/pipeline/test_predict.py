"""`kdcore predict`, as a user types it: the server's files for a GLUE task, a table for a file of one's own."""

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kdcore import cli
from kdcore.data import prepare
from kdcore.data.tasks import GLUE
from kdcore.params.sections import Data
from tests import tiny
from tests.pipeline.conftest import TASK, Project

STUDENT = f"runs/student/{TASK}/sid-s0"


@pytest.fixture
def predict(
    finished: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """predict(*args): exit code, and all that `kdcore predict` says in the finished project.

    It runs in this process: importing torch takes longer than a prediction.
    """

    def called(*args: Path | str) -> tuple[int, str]:
        monkeypatch.chdir(finished.root)
        monkeypatch.setattr(sys, "argv", ["kdcore", "predict", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, "".join(capsys.readouterr())

    return called


@pytest.fixture(scope="module")
def wnli(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[..., Path]) -> tuple[Path, Path]:
    """A prepared WNLI with a test set of the server's size, and a classifier for its labels."""
    folder = tmp_path_factory.mktemp("wnli")
    columns = {"first": "sentence1", "second": "sentence2"}
    (folder / "rows/wnli").mkdir(parents=True)
    for split, rows in {"train": 24, "validation": 12, "test": 146}.items():
        frame = tiny.texts(rows, pairs=True, seed=len(split)).rename(columns=columns)
        frame = frame.drop(columns="label") if split == "test" else frame
        frame.to_csv(folder / f"rows/wnli/{split}.csv", index=False)
    data = Data(source="local", path=str(folder / "rows"), hub="-", revision="-", columns={})
    prepare.prepare(GLUE["wnli"], data, folder / "data/wnli")
    return folder / "data/wnli", tiny.save_finetuned(folder / "model", labels=GLUE["wnli"].labels)


def test_a_glue_test_set_becomes_the_servers_file(predict, wnli: tuple[Path, Path], tmp_path: Path):
    data, model = wnli
    code, said = predict(model, data, tmp_path / "out", "--task", "wnli", "--zip")
    assert code == 0
    lines = (tmp_path / "out/WNLI.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert [line.split("\t")[0] for line in lines[1:]] == [str(index) for index in range(146)]
    assert {line.split("\t")[1] for line in lines[1:]} <= {"0", "1"}
    with zipfile.ZipFile(tmp_path / "out/submission.zip") as archive:
        assert archive.namelist() == ["WNLI.tsv"]
    assert "the server takes no submission without CoLA, SST-2" in said


def test_a_file_of_ones_own_becomes_a_table(predict, tmp_path: Path):
    tiny.texts(12, seed=5).to_csv(tmp_path / "mine.csv", index=False)
    code, said = predict(STUDENT, tmp_path / "mine.csv", tmp_path / "out.csv")
    assert code == 0, said
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found) == ["row", "prediction", "p_bad", "p_good"]
    assert found["row"].tolist() == list(range(12))
    assert (found["p_bad"] + found["p_good"]).tolist() == pytest.approx([1.0] * 12, abs=1e-5)
    assert ((found["p_good"] > 0.5) == (found["prediction"] == "good")).all()


def test_predictions_of_the_validation_file_are_those_of_evaluate(finished: Project, predict, tmp_path: Path):
    validation = Path(finished.params()["data"]["path"]) / TASK / "validation.csv"
    code, said = predict(STUDENT, validation, tmp_path / "out.parquet")
    assert code == 0, said
    found = pd.read_parquet(tmp_path / "out.parquet")
    known = pd.read_parquet(finished.root / f"runs/predictions/{TASK}/sid-s0.parquet").sort_values("row")
    assert (found["prediction"] == "good").tolist() == (known["logit_1"] > known["logit_0"]).tolist()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([STUDENT, f"data/{TASK}", "out"], f"data/{TASK}: has no test split to predict, has train, validation"),
        ([STUDENT, "params.yaml", "out.csv"], "params.yaml: must end in .parquet | .csv | .tsv | .jsonl"),
        ([STUDENT, "none.csv", "out.csv"], "none.csv: cannot be read: No such file or directory"),
        (["runs/student/none", "none.csv", "out.csv"], "runs/student/none: no such folder"),
        ([STUDENT, f"data/{TASK}", "out", "--server", "AX"], "--server: is for a file of rows"),
        ([STUDENT, "none.csv", "out", "--server", "AX"], "--server: AX is predicted by a model for 'mnli'"),
        ([STUDENT, "none.csv", "out.csv", "--zip"], "--zip: is for the GLUE server's files"),
        ([STUDENT, "none.csv", "out.csv", "--task", "rte"], f"{STUDENT}: is a model for the task 'tiny', not 'rte'"),
    ],
)
def test_what_cannot_be_predicted_is_one_message(finished: Project, predict, args: list[str], message: str):
    code, said = predict(*args)
    assert code == 2
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert not [path for path in ("out", "out.csv") if (finished.root / path).exists()]


def test_a_model_of_other_labels_is_refused(predict, wnli: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "mine.csv").write_text("premise,hypothesis\n" + "a film,a story\n" * 1104)
    code, said = predict(wnli[1], tmp_path / "mine.csv", tmp_path / "out", "--task", "mnli", "--server", "AX")
    assert code == 2
    assert "are not those of mnli" in said
    assert not (tmp_path / "out").exists()


def test_a_changed_model_is_refused(finished_copy: Project, predict, tmp_path: Path):
    weights = finished_copy.root / STUDENT / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()  # a hard link into the store, and read only
    weights.write_bytes(content[:-1] + b"!")
    tiny.texts(4, seed=5).to_csv(tmp_path / "mine.csv", index=False)
    code, said = predict(finished_copy.root / STUDENT, tmp_path / "mine.csv", tmp_path / "out.csv")
    assert code == 2
    assert "model.safetensors: its content is not what was written" in said
