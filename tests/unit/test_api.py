"""kdcore.distil and kdcore.capture: the pipeline's own students from Python, and a look inside any encoder."""

import copy
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import transformers
from pydantic import create_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import kdcore
from kdcore import api, interrupt
from kdcore.data.prepared import Data
from kdcore.data.tasks import Task, usual_metrics
from kdcore.distil.student import Recipe, distil
from kdcore.distil.targets import write_targets
from kdcore.distil.teacher import adopt
from kdcore.distil.written import Targets
from kdcore.errors import UserError
from kdcore.evaluation.score import read_point, score_run
from kdcore.params import sections
from tests import on_disk, tiny
from tests.unit.raw_files import ROOT, all_params

SPLITS = on_disk.rows()
QUICK = {"layers": 2, "epochs_per_layer": 1, "classification_epochs": 1, "learning_rate": 2e-3, "threads": 1}


@pytest.fixture
def student(store: Path, tiny_classifier: Callable[..., Path]) -> Callable[..., kdcore.Student]:
    """student(**changes): a tiny one, in two layers; the arguments of kdcore.distil may be changed."""

    def made(**changes: Any) -> kdcore.Student:
        return kdcore.distil(tiny_classifier(), **(SPLITS | QUICK | changes))

    return made


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_neither_the_package_nor_a_command_needs_torch_to_start():
    code = "import sys, kdcore, kdcore.cli; assert callable(kdcore.distil); print('torch' in sys.modules, dir(kdcore))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert found.startswith("False")
    assert {"Student", "capture", "distil"} <= set(re.findall(r"'(\w+)'", found))
    with pytest.raises(AttributeError, match="has no attribute 'captures'"):
        kdcore.captures  # noqa: B018


def test_the_student_is_the_pipelines(
    student: Callable[..., kdcore.Student],
    tiny_classifier: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):  # the caller's, for his own model
        ours = student()
    monkeypatch.setenv("KDCORE_WORK", str(tmp_path / "another"))
    params = all_params()
    for name in ("student", "distill", "train"):
        params[name] |= {knob: value for knob, value in QUICK.items() if knob in params[name]}
    task = Task(api.NAME, ("sentence",), "label", ("bad", "good"), ("accuracy",))
    data = Data.open(on_disk.prepared(tmp_path, SPLITS, task))
    model = on_disk.pretrained(tiny_classifier(), params["model"]["max_length"])
    teacher = adopt(data, str(tiny_classifier()), None, model, sections.Train(**params["train"]))
    write_targets(data, teacher, tmp_path / "targets", sections.Targets(**params["targets"]), None, 64, {2, 4})
    targets = Targets.open(tmp_path / "targets", data, teacher)
    theirs = distil(
        Recipe(
            "sid",
            0,
            sections.Student(**params["student"] | {"rows": None, "head": "teacher"}),
            sections.Distill(**params["distill"]),
            sections.Train(**params["train"]),
            model,
            data,
            teacher,
            targets,
        )
    )
    point = read_point(score_run(theirs, data, teacher, targets, 64))
    assert theirs.folder != ours.path
    assert weights(theirs.folder) == weights(ours.path)
    assert (point["metric"], point["score"], point["fidelity"]) == (ours.metric, ours.score, ours.fidelity)


def test_what_is_said_of_a_student_begins_with_it_and_names_the_knobs_of_python(
    student: Callable[..., kdcore.Student], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(
        UserError, match=r"^kdcore\.distil: floor: sid, 2 layers, seed 0 must reach 1\.0, found accuracy "
    ):
        student(floor=1.0)
    out = capsys.readouterr().out
    assert re.findall(r"^sid, 2 layers, seed 0: (run student|epoch \d)", out, re.MULTILINE) == [
        *("run student", "epoch 1", "epoch 2", "epoch 3")
    ]
    api._check("sid, 2 layers, seed 0", {"warnings": {"chance": "is no better than one answer for all"}}, None)
    err = capsys.readouterr().err
    assert err.startswith(
        "warning: sid, 2 layers, seed 0 is no better than one answer for all; more rows (rows), more "
    )
    assert "dvc" not in err


def test_a_student_may_start_from_a_pretrained_encoder(
    student: Callable[..., kdcore.Student], tiny_folder: Callable[..., Path]
):
    made = student(init="pretrained", pretrained=tiny_folder("bert", seed=5))
    assert weights(made.path) not in (weights(student().path), weights(student(init="random").path))
    with pytest.raises(UserError, match="its tokenizer is not that of the teacher"):
        student(init="pretrained", pretrained=tiny_folder("roberta"))


def test_what_was_distilled_is_found_again(student: Callable[..., kdcore.Student], monkeypatch: pytest.MonkeyPatch):
    first = student()
    monkeypatch.setattr("kdcore.distil.student_training.Trainer", None)
    assert student() == first


def test_rows_of_any_kind_are_the_same_run(student: Callable[..., kdcore.Student], tmp_path: Path):
    kinds = [
        {split: frame.set_axis(range(7, 7 + len(frame))) for split, frame in SPLITS.items()},
        {split: frame.assign(id=[*map(str, frame.index)], x=7) for split, frame in SPLITS.items()},
        {split: frame.assign(x=7).rename(columns={"x": 7}) for split, frame in SPLITS.items()},
        {split: frame.astype({"label": "category"}) for split, frame in SPLITS.items()},
        {split: datasets.Dataset.from_pandas(frame) for split, frame in SPLITS.items()},
        {
            split: datasets.Dataset.from_pandas(frame).cast_column("label", datasets.ClassLabel(names=["good", "bad"]))
            for split, frame in SPLITS.items()
        },
    ]
    for kind in ("csv", "tsv", "jsonl", "parquet"):
        files = {split: tmp_path / f"{split}-rows.{kind}" for split in SPLITS}
        for split, path in files.items():
            frame = SPLITS[split]
            if kind == "parquet":
                frame.to_parquet(path)
            elif kind == "jsonl":
                frame.to_json(path, orient="records", lines=True)
            else:
                frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
        kinds.append(files)
    assert {student(**rows).path for rows in kinds} == {student().path}


def test_classes_of_a_dataset_are_ids_where_the_classifier_names_none(
    student: Callable[..., kdcore.Student], store: Path, tiny_classifier: Callable[..., Path]
):
    rows = {
        split: datasets.Dataset.from_pandas(frame).cast_column("label", datasets.ClassLabel(names=["bad", "good"]))
        for split, frame in SPLITS.items()
    }
    classifier = tiny_classifier(labels=("LABEL_0", "LABEL_1"))
    made = kdcore.distil(classifier, **rows, **QUICK)
    ids = {split: frame.assign(label=(frame["label"] == "good").astype(int)) for split, frame in SPLITS.items()}
    assert made == kdcore.distil(classifier, **ids, **QUICK)


def test_labels_are_the_classifiers_by_name_whatever_their_case(student: Callable[..., kdcore.Student]):
    upper = {split: frame.assign(label=frame["label"].str.upper()) for split, frame in SPLITS.items()}
    made = student(**upper)
    assert (made.score, made.fidelity) == (student().score, student().fidelity)
    assert {*made.predict(SPLITS["train"]["sentence"].tolist())["prediction"]} <= {"BAD", "GOOD"}


def test_a_student_of_pairs_and_one_of_scores(store: Path, tmp_path: Path, tiny_classifier: Callable[..., Path]):
    pairs = {"train": tiny.texts(48, pairs=True, seed=1), "validation": tiny.texts(24, pairs=True, seed=2)}
    made = kdcore.distil(tiny_classifier(), **pairs, **QUICK, metrics=["f1", "accuracy"])
    assert made.task.text == ("first", "second")
    assert made.metric == "f1"
    assert made.predict([("the film", "good"), ("the plot", "bad")])["prediction"].isin(["bad", "good"]).all()
    with pytest.raises(UserError) as refused:
        made.predict(["the film", ("good", "bad"), None, ("good",), ("good", 7)])
    assert refused.value.problems == [
        "texts: row 1: must be a pair of texts, found 'the film'",
        "texts: row 3: must be a pair of texts, found null",
        "texts: row 4: must be a pair of texts, found ('good',)",
        "texts: row 5, column second: must be text, found 7",
    ]
    scores = {split: frame.assign(label=(frame["label"] == "good") * 1.0) for split, frame in SPLITS.items()}
    made = kdcore.distil(tiny.save_finetuned(tmp_path / "scores", labels=("score",)), **scores, **QUICK)
    assert made.task.metrics == usual_metrics((), True)
    assert made.metric == "pearson"
    assert [*made.predict(["good"])] == ["prediction"]


def test_a_student_predicts_as_transformers_does_from_a_copy(student: Callable[..., kdcore.Student], tmp_path: Path):
    made, texts = student(), SPLITS["validation"]["sentence"]
    saved = made.save(tmp_path / "saved")
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    with torch.no_grad():
        wanted = model(**tokenizer([*texts], padding=True, return_tensors="pt")).logits.softmax(-1).numpy()
    found = made.predict(texts)
    assert [*found] == ["prediction", "p_bad", "p_good"]
    np.testing.assert_allclose(found[["p_bad", "p_good"]], wanted, atol=1e-5)
    assert (found["prediction"] == SPLITS["validation"]["label"]).mean() == made.score
    assert "accuracy of the teacher" in made._repr_html_()


def test_a_copy_replaces_only_what_kdcore_made(student: Callable[..., kdcore.Student], tmp_path: Path):
    made, place = student(), tmp_path / "saved"
    made.save(place)
    assert (place / "config.json").stat().st_nlink == 1
    assert f"| accuracy | {made.score:.4f} |" in (place / "README.md").read_text()
    made.save(place)
    (place / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"or what was changed since: mine\.txt"):
        made.save(place)


def test_an_export_replaces_only_what_kdcore_made(student: Callable[..., kdcore.Student], tmp_path: Path):
    made, place = student(), tmp_path / "served"
    place.mkdir()
    (place / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="served"):
        made.export(place)
    assert [path.name for path in place.iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="own"):
        made.export(made.data)


def test_the_callers_torch_stays_as_it_was(student: Callable[..., kdcore.Student]):
    state = torch.get_rng_state()
    torch.set_num_threads(2)
    student()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    "call", [lambda: kdcore.distil("x", train="a.csv", validation="b.csv"), lambda: kdcore.capture]
)
def test_a_variable_that_changes_bits_is_set_aside_before_torch_and_refused_after(
    call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    with pytest.raises(UserError, match="ATEN_CPU_CAPABILITY would change the bits of results, and torch, which is"):
        call()
    assert "ATEN_CPU_CAPABILITY" in os.environ
    monkeypatch.delitem(sys.modules, "torch")
    with suppress(UserError):  # there is no classifier x
        call()
    assert "ATEN_CPU_CAPABILITY" not in os.environ
    assert "not heeded, as it would change the bits of results: ATEN_CPU_CAPABILITY" in capsys.readouterr().out


def test_a_run_that_ctrl_c_stopped_goes_on(
    student: Callable[..., kdcore.Student], monkeypatch: pytest.MonkeyPatch, no_request: Callable[[], None]
):
    with monkeypatch.context() as patch:
        patch.setattr(interrupt, "_requested", signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match="stopped by SIGINT: a checkpoint is written"):
            student()
        assert interrupt.requested() == 0
    assert student().fidelity


def without_label(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns={"label": "labels"})


def typo(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(label=["goood", *frame["label"][1:]])


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"layer": 2, "threshold": 1}, ["layer: unknown knob, did you mean 'layers'?", "threshold: unknown knob"]),
        ({"seed": -1, "warmup": 1.0}, ["seed: must be an integer from 0", "warmup: must be at least 0"]),
        ({"method": "side"}, ["method: must be none | soft", "did you mean 'sid'?"]),
        ({"method": "sid-kl", "weights": {"cos": 1.0}}, ["distill.weights.kl: must not be 0"]),
        ({"layers": 5}, ["student.layers: must be 1 to 4 (the teacher's depth), found 5"]),
        ({"init": "pretrained"}, ["init: 'pretrained' needs `pretrained`"]),
        ({"max_length": 4096}, ["model.max_length: at most 128"]),
        ({"metrics": ["pearson"]}, ["task.own.metrics.0: must be accuracy"]),
        ({"text": "sentense"}, ["train: has no column 'sentense', did you mean 'sentence'?"]),
        ({"train": without_label(SPLITS["train"])}, ["train: has no column 'label', did you mean 'labels'?"]),
        ({"train": SPLITS["train"].assign(a="b", c="d")}, ["text: name the one or two columns of texts"]),
        (
            {"train": SPLITS["train"].assign(label=5)},
            ["classifier: has labels bad, good, and the rows' column 'label' has [5]"],
        ),
        ({"train": typo(SPLITS["train"])}, ["train.parquet: row 1, column label: must be bad, good"]),
        ({"train": SPLITS["train"].assign(a=[{}, 1] * 24)}, ["train: can't be written as parquet"]),
        ({"train": pd.concat([SPLITS["train"], SPLITS["train"]], axis=1)}, ["column 'sentence' is there 2 times"]),
        ({"train": pa.table({"sentence": ["good"]})}, ["train: must be a pandas DataFrame", "found Table"]),
        ({"train": ["good film"]}, ["train: must be a pandas DataFrame, a datasets.Dataset, or a file", "found list"]),
        ({"train": datasets.DatasetDict()}, ["train: must be a pandas DataFrame", "found DatasetDict"]),
        ({"train": "rows.xlsx"}, ["rows.xlsx: must end in .parquet | .csv"]),
        ({"train": "absent.csv"}, ["absent.csv: cannot be read: No such file"]),
    ],
)
def test_what_is_wrong_is_named(student: Callable[..., kdcore.Student], changes: dict[str, Any], problems: list[str]):
    with pytest.raises(UserError) as refused:
        student(**changes)
    assert [problem for problem in problems if problem not in str(refused.value)] == []


def test_texts_that_are_none_are_named(student: Callable[..., kdcore.Student]):
    made = student()
    with pytest.raises(UserError, match="row 2, column sentence: has no text"):
        made.predict(["good", None])
    with pytest.raises(UserError, match="must have at least 1 text, found 0"):
        made.predict([])
    for texts in ("good", b"good", {"good": 1}, pd.DataFrame({"sentence": ["good"]}), np.array("good"), 7):
        with pytest.raises(UserError, match=f"must be a list of texts, found {type(texts).__name__}"):
            made.predict(texts)
    assert made.predict(np.array(["good", "bad"])).equals(made.predict(iter(["good", "bad"])))


# capture


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_capture_gives_what_plain_eager_attention_gives(family: str):
    model = tiny.model(family).train()
    before = copy.deepcopy(model.state_dict())
    batch = tiny.tokenizer(family)(["the good film", "a dull plot and a weak cast"], padding=True, return_tensors="pt")
    found = kdcore.capture(model, batch)
    assert model.training
    assert model.config._attn_implementation != "kdcore"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    plain = copy.deepcopy(model).eval()
    plain.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = plain(**batch, output_attentions=True, output_hidden_states=True)
    real = batch["attention_mask"][:, None, :, None]
    assert [*found.attention] == [*found.cls] == [1, 2, 3, 4]
    for layer in found.attention:
        torch.testing.assert_close(found.attention[layer], wanted.attentions[layer - 1] * real, atol=1e-5, rtol=0)
        if layer < 4 or family != "modernbert":  # whose last hidden state is normalised once more
            torch.testing.assert_close(found.cls[layer], wanted.hidden_states[layer][:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.logits, wanted.logits, atol=1e-5, rtol=0)


def test_capture_takes_a_folder_too_and_needs_no_mask(tiny_classifier: Callable[..., Path]):
    ids = tiny.tokenizer()("the good film", return_tensors="pt")["input_ids"]
    found = kdcore.capture(tiny_classifier(), {"input_ids": ids})
    assert found.attention[4].sum(-1).allclose(torch.ones(1))
    assert found.logits.shape == (1, 2)


def test_capture_names_an_architecture_that_it_can_not_look_into():
    with pytest.raises(UserError, match=tiny.UNSUPPORTED):
        kdcore.capture(tiny.model(tiny.UNSUPPORTED), {"input_ids": torch.ones(1, 4, dtype=torch.long)})


def test_texts_are_as_long_as_the_classifier_takes_unless_that_is_said(capsys: pytest.CaptureFixture[str]):
    config = tiny.config("bert", 1)
    config.max_position_embeddings = 64
    assert api._length(None, config) == 64
    assert capsys.readouterr().out == "max_length: 64 tokens, as many as the classifier takes\n"
    assert api._length(100, config) == 100  # which the teacher refuses
    config.max_position_embeddings = 512
    assert api._length(None, config) == 128


# The page


def test_the_page_runs(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_classifier: Callable[..., Path]
):
    """docs/python.md from top to bottom, as one session, with a tiny classifier and tiny data at its paths."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(api.SECTIONS, "train", create_model("OneThread", __base__=sections.Train, threads=(int, 1)))
    Path("path/to").mkdir(parents=True)
    Path("path/to/classifier").symlink_to(tiny_classifier())
    rows = pd.concat(SPLITS.values(), ignore_index=True).rename(columns={"sentence": "review", "label": "stars"})
    rows.to_csv("reviews.csv", index=False)
    session: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, "docs/python.md", "exec"), session)  # noqa: S102
    assert Path("small/config.json").is_file()


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM", "BertForTokenClassification"])
def test_capture_names_a_model_that_is_no_sequence_classifier(kind: str):
    with pytest.raises(UserError, match=rf"model: must be a sequence classifier .*, found {kind}"):
        kdcore.capture(getattr(transformers, kind)(tiny.config("bert", 1)), {"input_ids": torch.ones(1, 4).long()})


def test_capture_takes_a_class_made_of_a_classifier_and_names_other_objects():
    class Own(transformers.BertForSequenceClassification):
        pass

    ids = torch.ones(1, 4).long()
    model = Own(tiny.config("bert", 1)).eval()
    torch.testing.assert_close(kdcore.capture(model, {"input_ids": ids}).logits, model(ids).logits)
    with pytest.raises(UserError, match=r"model: must be a sequence classifier .*, found DataParallel"):
        kdcore.capture(torch.nn.DataParallel(model), {"input_ids": ids})
    model.config.is_decoder = True
    with pytest.raises(UserError, match="model: its config's is_decoder asks for a decoder"):
        kdcore.capture(model, {"input_ids": ids})


@pytest.mark.parametrize("batch", [{}, {"input_ids": [[1, 2]]}, {"input_ids": torch.ones(4).long()}])
def test_capture_names_a_batch_without_token_ids(batch: dict[str, Any]):
    with pytest.raises(UserError, match=r"batch: input_ids must be a tensor \(B, T\), found "):
        kdcore.capture(tiny.model(layers=1), batch)
