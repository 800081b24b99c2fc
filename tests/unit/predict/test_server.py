"""The GLUE server's files: header, label form, order and number of rows, and the zip."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from kdcore.data.prepared import Data
from kdcore.data.tasks import GLUE
from kdcore.errors import UserError
from kdcore.predict import server
from kdcore.predict.rows import as_prepared
from kdcore.predict.run import predict_file, predict_folder
from tests import on_disk, tiny

# Lines of each file in a complete submission, the header included, as the server's own test sets have them.
LINES = {
    "AX": 1105,
    "CoLA": 1064,
    "MNLI-mm": 9848,
    "MNLI-m": 9797,
    "MRPC": 1726,
    "QNLI": 5464,
    "QQP": 390966,
    "RTE": 3001,
    "SST-2": 1822,
    "STS-B": 1380,
    "WNLI": 147,
}


def logits_of(classes, labels):
    """(N, labels) logits that are highest at each row's class."""
    return np.eye(labels)[classes]


def text_of(name, first):
    """The file's text where the first rows are of the classes (or scores) `first` and the rest are like the last."""
    rows = server.FILES[name].rows
    values = np.array([*first, *[first[-1]] * (rows - len(first))])
    labels = len(GLUE[server.FILES[name].task].labels)
    return server.server_text(name, logits_of(values, labels) if labels else values[:, None])


@pytest.mark.parametrize("name", LINES)
def test_every_file_has_the_servers_header_and_number_of_lines(name):
    lines = text_of(name, [0, 1]).splitlines()
    assert lines[0] == "index\tprediction"
    assert len(lines) == LINES[name]
    assert lines[-1].split("\t")[0] == str(LINES[name] - 2)


def test_the_server_has_eleven_files():
    assert server.FILES.keys() == LINES.keys()


@pytest.mark.parametrize(
    ("name", "first", "shown"),
    [
        ("CoLA", [0, 1], ["0", "1"]),
        ("SST-2", [0, 1], ["0", "1"]),
        ("MRPC", [0, 1], ["0", "1"]),
        ("QQP", [0, 1], ["0", "1"]),
        ("WNLI", [0, 1], ["0", "1"]),
        ("MNLI-m", [0, 1, 2], ["entailment", "neutral", "contradiction"]),
        ("MNLI-mm", [2, 1, 0], ["contradiction", "neutral", "entailment"]),
        ("AX", [0, 1, 2], ["entailment", "neutral", "contradiction"]),
        ("QNLI", [0, 1], ["entailment", "not_entailment"]),
        ("RTE", [0, 1], ["entailment", "not_entailment"]),
        ("STS-B", [-0.4, 2.71828, 5.3], ["0.000", "2.718", "5.000"]),
    ],
)
def test_labels_are_in_the_form_that_the_server_takes(name, first, shown):
    lines = text_of(name, first).splitlines()[1 : 1 + len(first)]
    assert lines == [f"{index}\t{label}" for index, label in enumerate(shown)]


def test_another_number_of_rows_is_refused_before_any_is_predicted(tmp_path):
    task = replace(
        GLUE["wnli"], text=("first", "second"), splits={name: name for name in ("train", "validation", "test")}
    )
    rows = tiny.texts(145, pairs=True)
    data = Data.open(on_disk.prepared(tmp_path, dict.fromkeys(task.splits, rows), task))

    def predict(_):
        pytest.fail("predicted")

    for predicted in (
        lambda: predict_folder(data, task, predict, tmp_path),
        lambda: predict_file(as_prepared([rows["first"], rows["second"]]), task, predict, tmp_path, "WNLI"),
    ):
        with pytest.raises(
            UserError, match=r"WNLI\.tsv: must have 146 rows, those of the server's test set, found 145"
        ):
            predicted()


def test_mnli_has_a_file_for_each_of_its_test_splits():
    assert server.name_of("mnli", "test") == "MNLI-m"
    assert server.name_of("mnli", "test_mismatched") == "MNLI-mm"


def test_a_file_is_refused_for_a_model_of_another_task():
    server.check_name("AX", "mnli")
    with pytest.raises(UserError, match="--server: AX is predicted by a model for 'mnli', not for 'rte'"):
        server.check_name("AX", "rte")
    with pytest.raises(UserError, match="did you mean 'MNLI-m'"):
        server.check_name("MNLI_m", "mnli")


def test_pack_zips_what_is_there_and_names_what_is_not(tmp_path):
    (tmp_path / "WNLI.tsv").write_text(text_of("WNLI", [1]))
    (tmp_path / "AX.tsv").write_text(text_of("AX", [2]))
    (tmp_path / "notes.txt").write_text("mine")
    there, missing = server.pack(tmp_path)
    assert there == ["WNLI", "AX"]
    assert sorted(missing) == sorted(LINES.keys() - {"WNLI", "AX"})
    first = (tmp_path / "submission.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert archive.namelist() == ["WNLI.tsv", "AX.tsv"]
        assert archive.read("AX.tsv").decode() == text_of("AX", [2])
    server.pack(tmp_path)
    assert (tmp_path / "submission.zip").read_bytes() == first


def test_pack_refuses_every_file_that_the_server_would_not_take(tmp_path):
    (tmp_path / "WNLI.tsv").write_text(text_of("WNLI", [1]).removesuffix("145\t1\n"))
    (tmp_path / "RTE.tsv").write_text(text_of("RTE", [1]).replace("prediction", "label", 1))
    (tmp_path / "QNLI.tsv").write_text(text_of("QNLI", [1]), encoding="utf-16")
    with pytest.raises(UserError) as refused:
        server.pack(tmp_path)
    assert refused.value.problems == [
        "QNLI.tsv: must be text in UTF-8",
        r"RTE.tsv: its first line must be 'index\tprediction', found 'index\tlabel'",
        "WNLI.tsv: must have 146 rows, found 145",
    ]
    assert not (tmp_path / "submission.zip").exists()


def test_pack_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="has none of the GLUE server's files"):
        server.pack(tmp_path)
    assert not any(tmp_path.iterdir())
