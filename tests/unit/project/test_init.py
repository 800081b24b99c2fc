"""`kdcore init`: what it finds out, what it writes, and that nothing which is there is lost."""

import itertools
import json
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from kdcore import __version__
from kdcore.data.checks import text_columns
from kdcore.data.formats import cells_in
from kdcore.data.tasks import usual_metrics
from kdcore.errors import UserError
from kdcore.params.read import load
from kdcore.project import init as project
from kdcore.project.init import Wish, init
from kdcore.project.look import Rows
from kdcore.project.pipeline import STAGES, asked, check_asked, explained, flow, own, text
from kdcore.studies import STUDIES
from tests import tiny
from tests.unit.raw_files import ROOT


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder with train.csv and validation.csv, and a number and an id beside text and label."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, count in (("train", 40), ("validation", 16)):
        frame = tiny.texts(count).rename(columns={"sentence": "review", "label": "stars"})
        frame.assign(id=range(count), stars=frame["stars"].map({0: "bad", 1: "good"})).to_csv(
            folder / f"{name}.csv", index=False
        )
    return folder


@pytest.fixture
def made(
    tmp_path: Path, rows: Path, tiny_classifier: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """made(**wish): the params of a new project in tmp_path/own; git and DVC are left out unless it is told."""

    def write(folder: Path = tmp_path / "own", set_up: bool = False, **wish: Any) -> Any:
        if not set_up:
            monkeypatch.setattr(project, "_set_up", lambda folder: None)
        given = {
            "teacher": str(tiny_classifier()), "train": rows / "train.csv", "validation": rows / "validation.csv",
            "text": (), "label": "stars", "task": "reviews", "layers": None,
        }  # fmt: skip
        init(folder, Wish(**given | wish))
        monkeypatch.chdir(folder)
        return load("params.yaml")

    return write


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What it finds out


def test_the_classifier_and_the_rows_say_what_a_project_needs(
    made: Callable[..., Any], tiny_classifier: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    """By hand: 4 layers; texts of 4 to 11 words, some of letters, and two tokens more; 40 rows."""
    params = made()
    task = params.task["reviews"]
    assert (task.text, task.label, task.labels) == (("review",), "stars", ("bad", "good"))
    assert task.metrics == usual_metrics(task.labels, labelled=True)
    assert (params.tasks, params.student.layers, params.model.max_length) == (("reviews",), 2, 16)
    assert params.teacher.finetuned == params.model.name == str(tiny_classifier())
    assert (params.student.rows, params.teacher.rows, params.report.texts) == (None, None, False)
    assert params.study["depth"]["layers"] == (1, 2, 3)
    assert params.study["data_size"]["rows"] == (5, 10, 20, 40)
    said = capsys.readouterr().out
    assert "student: 2 layers, half of the teacher's" in said
    assert said.splitlines()[-1] == f"next: cd {Path.cwd()} && dvc repro"
    assert re.search(r"max_length: 16 tokens; the longest text has \d+, 0 of 40 are cut", said)


def test_a_narrow_model_gets_one_thread_and_any_other_the_default(
    made: Callable[..., Any], tmp_path: Path, tiny_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    narrow = made()
    assert (narrow.train.threads, capsys.readouterr().out.count("threads: 1, as a model")) == (1, 1)
    wide = shutil.copytree(tiny_folder("bert"), tmp_path / "wide")
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps(config | {"hidden_size": 128}))
    assert made(folder=tmp_path / "other", teacher=str(wide)).train.threads == 2
    assert "threads" not in capsys.readouterr().out


def test_what_the_command_line_says_counts(made: Callable[..., Any]):
    params = made(task="mine", layers=3, text=("review",))
    assert (params.tasks, params.student.layers) == (("mine",), 3)


def test_an_encoder_is_fine_tuned_first_on_the_labels_of_the_rows(
    made: Callable[..., Any], tiny_folder: Callable[..., Path]
):
    params = made(teacher=str(tiny_folder("bert")))
    assert params.teacher.finetuned is None
    assert params.model.name == str(tiny_folder("bert"))
    assert params.task["reviews"].labels == ("bad", "good")


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["0.5", "4", ""], ()),
        ([0.5, 4.0, None], ()),
        (["3", "1", ""], ("1", "3")),
        ([1.0, 2.0], ("1.0", "2.0")),
        (["0.5", "good"], ("0.5", "good")),
    ],
)
def test_labels_are_classes_unless_they_are_numbers_with_fractions(cells: list[Any], labels: tuple[str, ...]):
    found = [cell for cell in cells if cell not in ("", None)]
    assert Rows(("review",), "stars", len(cells), found, []).labels == labels


def test_rows_of_any_number_take_the_same_memory(made: Callable[..., Any], tmp_path: Path):
    """Less than 50 bytes a row, where a row has some 130 in its file and five times as many as cells of Python."""

    def peak(rows: int) -> int:
        file = tmp_path / f"{rows}.csv"
        file.write_text(
            "id,review,stars\n" + "".join(f"{i},{'w' * 100} {i},{'good' if i % 3 else 'bad'}\n" for i in range(rows))
        )
        tracemalloc.start()
        try:
            assert made(tmp_path / str(rows), train=file).data.path == "data/raw"
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert (peak(40_000) - peak(20_000)) / 20_000 < 50


@pytest.mark.parametrize(
    ("file", "content", "texts"),
    [
        ("a.csv", "id,title,year,stars,,\n1,a b,1999,good,,\n2,3,2001,bad,,\n", ("title",)),
        ("a.csv", "title,body,stars\n1,,good\n,x,bad\n3,,good\n", ("body",)),
        ("a.jsonl", '{"a": "x", "b": "y", "c": "z"}\n{"a": "x", "b": 1, "c": null}\n', ("a", "c")),
    ],
    ids=["numbers and nameless columns", "empty cells", "not all of them are texts"],
)
def test_columns_of_texts_are_found(tmp_path: Path, file: str, content: str, texts: tuple[str, ...]):
    (tmp_path / file).write_text(content)
    assert text_columns(cells_in(tmp_path / file), "stars") == texts


def test_a_column_of_vectors_is_not_read_to_its_end(tmp_path: Path):
    vectors = pa.array([[1.0] * 8] * 5000)
    pq.write_table(pa.table({"vector": vectors, "review": ["a"] * 5000, "stars": [0] * 5000}), tmp_path / "a.parquet")
    cells = cells_in(tmp_path / "a.parquet")
    read = list[str]()
    seen = replace(cells, parts=lambda names: (read.extend(names) or part for part in cells.parts(names)))
    assert text_columns(seen, "stars") == ("review",)
    assert read.count("vector") == 1 < read.count("review")


def test_without_validation_rows_a_share_of_train_validates(made: Callable[..., Any]):
    params = made(validation=None)
    assert params.data.validation_share == 0.1
    assert params.study["data_size"]["rows"] == (4, 9, 18, 36)  # of 40 rows, 4 of which validate


def test_a_name_is_that_of_the_rows(made: Callable[..., Any]):
    assert made(task=None).tasks == ("files",)


@pytest.mark.parametrize(("file", "task"), [("My Reviews (2).csv", "my-reviews-2"), ("été.v1.csv", "ete-v1")])
def test_a_name_is_made_plain(made: Callable[..., Any], rows: Path, file: str, task: str):
    assert made(task=None, train=rows.joinpath("train.csv").rename(rows / file)).tasks == (task,)


@pytest.mark.parametrize("file", ["評価.csv", "sst2.csv"])
def test_a_name_that_cannot_be_made_plain_is_asked_for(made: Callable[..., Any], rows: Path, file: str):
    with pytest.raises(UserError, match="--task: must be a plain name"):
        made(task=None, train=rows.joinpath("train.csv").rename(rows / file))


def test_every_study_can_run_with_a_teacher_that_is_fine_tuned(made: Callable[..., Any]):
    made()
    for name in STUDIES:
        if name != "glue":  # which wants `make embedded-12`
            load("params.yaml", study=name)


@pytest.mark.parametrize(
    ("cell", "problem"), [("", "no row has a label in the column 'stars'"), ("-1", "column 'stars' has")]
)
def test_a_column_without_a_label_is_told_of(made: Callable[..., Any], rows: Path, cell: str, problem: str):
    pd.read_csv(rows / "train.csv").assign(stars=cell).to_csv(rows / "train.csv", index=False)
    with pytest.raises(UserError, match=problem):
        made()


def test_without_labels_no_method_learns_from_labels_only(made: Callable[..., Any]):
    params = made(label=None)
    assert params.methods == ("soft", "pid", "sid")
    grids = {name: grid["methods"] for name, grid in params.study.items() if "methods" in grid}
    assert not [name for name, methods in grids.items() if "none" in methods]
    assert grids["depth"] == ("soft", "sid")


# What it writes


def test_dvc_finds_every_key_that_it_looks_up(made: Callable[..., Any], tmp_path: Path):
    made()
    written = YAML(typ="safe", pure=True).load((tmp_path / "own/params.yaml").read_text())
    for key in asked(map(own, STAGES)):
        section = written
        for part in key.split("."):
            assert part in section, key
            section = section[part]


def test_params_yaml_is_short_and_names_nothing_that_only_a_clone_has(made: Callable[..., Any], tmp_path: Path):
    made(quoted=True)
    lines = (tmp_path / "own/params.yaml").read_text().splitlines()
    assert len(lines) < 45
    words = ("glue", "cola", "embedded", "movies", "make ")
    assert [line for line in lines if any(word in line for word in words)] == []
    assert "  depth: {layers: [1, 2, 3], methods: [none, soft, sid]}" in "\n".join(lines)
    assert any(line.startswith("  max_length: 16 ") and "tokens per example" in line for line in lines)


def test_every_knob_is_explained_as_in_params_yaml():
    notes = explained()
    assert notes["student.layers"] == "depth of the student: dvc exp run -S student.layers=2"
    assert notes["student.rows"] == "training rows (a stratified, nested subset); null takes all"
    assert notes["distill.weights.kl"] == "attention KL (paper, eq. 2)"
    assert asked(map(text, STAGES)) <= notes.keys() | {"task"}


@pytest.mark.parametrize(
    "value", [None, True, "no", "a b", "it's", "3", 3, 1e-5, [1, "x"], {"a b": ["no", None]}, "~/x", "#a", "a: b", ""]
)
def test_a_value_in_one_line_comes_back_as_it_was(value: Any):
    assert YAML(typ="safe", pure=True).load(f"x: {flow(value)}")["x"] == value


def test_the_pipeline_is_the_clones_without_glue_and_the_rows_are_copied(
    made: Callable[..., Any], tmp_path: Path, rows: Path
):
    made()
    own = tmp_path / "own"
    for name in STAGES:
        mine, clones = (YAML(typ="safe").load(file) for file in ((own / name).read_text(encoding="utf-8"), text(name)))
        assert mine["stages"] == {stage: body for stage, body in clones["stages"].items() if "glue" not in stage}
        assert mine["plots"] == [plot for plot in clones["plots"] if "glue" not in plot]
        assert "glue" not in (own / name).read_text(encoding="utf-8")
    assert (own / "data/raw/reviews/train.csv").read_bytes() == (rows / "train.csv").read_bytes()
    assert (own / "requirements.txt").read_text() == f"kdcore=={__version__}\n"
    assert "/data/reviews/" in (own / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("validation", ["validation.csv", "dev.csv"])
def test_rows_of_the_documented_layout_stay_where_they_are(
    made: Callable[..., Any], tmp_path: Path, rows: Path, validation: str
):
    own = tmp_path / "own"
    place = own / "corpus/texts/reviews"
    shutil.copytree(rows, place)
    (place / "validation.csv").rename(place / validation)
    params = made(train=place / "train.csv", validation=place / validation)
    assert params.data.path == "corpus/texts"
    assert not (own / "data").exists()


def test_a_classifier_in_the_project_goes_by_its_path_there(
    made: Callable[..., Any], tmp_path: Path, tiny_classifier: Callable[..., Path]
):
    shutil.copytree(tiny_classifier(), tmp_path / "own/models/mine")
    assert made(teacher=str(tmp_path / "own/models/mine")).teacher.finetuned == "models/mine"


def test_a_classifier_elsewhere_in_the_repository_goes_by_its_path_from_the_project(
    made: Callable[..., Any], tmp_path: Path, tiny_classifier: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "mono/.git").mkdir(parents=True)
    shutil.copytree(tiny_classifier(), tmp_path / "mono/models/mine")
    params = made(folder=tmp_path / "mono/teams/own", teacher=str(tmp_path / "mono/models/mine"))
    assert params.teacher.finetuned == params.model.name == "../../models/mine"
    assert "outside the project" not in capsys.readouterr().out


def test_lists_of_ignored_files_are_added_to(made: Callable[..., Any], tmp_path: Path):
    own = tmp_path / "own"
    own.mkdir()
    (own / ".gitignore").write_text("/secret\n/work/")
    (own / "requirements.txt").write_text("torch\n")
    made()
    lines = (own / ".gitignore").read_text().splitlines()
    assert lines == ["/secret", "/work/", "/data/reviews/", "/runs/", "/dvc_plots/"]
    assert (own / "requirements.txt").read_text() == "torch\n"


def test_links_stay_and_what_they_lead_to_is_added_to(made: Callable[..., Any], tmp_path: Path):
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / "ignored").write_text("/secret\n")
    (own / ".gitignore").symlink_to("../ignored")
    (own / "requirements.txt").symlink_to("../elsewhere.txt")
    made()
    assert (own / ".gitignore").readlink() == Path("../ignored")
    assert (tmp_path / "ignored").read_text().startswith("/secret\n/data/reviews/\n")
    assert (tmp_path / "elsewhere.txt").read_text() == f"kdcore=={__version__}\n"


def test_lists_in_other_encodings_stay_as_they_are(made: Callable[..., Any], tmp_path: Path):
    own = tmp_path / "own"
    own.mkdir()
    latin, wide = "/gel\xf6scht\r\n".encode("latin-1"), "torch\r\n".encode("utf-16")  # as PowerShell's `>` writes
    (own / ".gitignore").write_bytes(latin)
    (own / "requirements.txt").write_bytes(wide)
    made()
    assert (own / ".gitignore").read_bytes().startswith(latin + b"/data/reviews/\n")
    assert (own / "requirements.txt").read_bytes() == wide


def test_a_key_that_dvc_would_miss_once_a_student_is_trained_is_named_at_the_start(
    made: Callable[..., Any], tmp_path: Path
):
    made()
    check_asked("params.yaml")
    path = tmp_path / "own/params.yaml"
    whole = path.read_text()
    path.write_text(whole.replace("distill: {}\n", "").replace(", confidence: 0.95", ""))
    with pytest.raises(UserError) as error:
        check_asked("params.yaml")
    assert error.value.problems == [
        "distill: must be there, as DVC looks it up; its default is {}",
        "evaluate.confidence: must be there, as DVC looks it up; its default is 0.95",
    ]


# Nothing is lost


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "stages/dvc.yaml", "data/raw/reviews/train.tsv"])
def test_what_is_there_is_named_and_nothing_is_written(made: Callable[..., Any], tmp_path: Path, name: str, link: bool):
    file = tmp_path / "own" / name
    file.parent.mkdir(parents=True)
    if link:
        file.symlink_to("nowhere")
    else:
        file.write_text("mine")
    before = contents(tmp_path / "own")
    with pytest.raises(UserError, match=f"{name} is there already, and nothing is overwritten"):
        made()
    assert contents(tmp_path / "own") == before


@pytest.mark.parametrize(
    ("header", "named", "problem"),
    [
        ("review,stars,stars\n", {}, "column 'stars' is there 2 times, must be once"),
        ("review,stars,review\n", {}, "column 'review' is there 2 times, must be once"),
        ("text,stars,id\n", {}, "has no column 'review'"),
        ("text,stars,id\n", {"text": ("review",)}, "has no column 'review'"),
    ],
)
def test_a_column_that_is_used_is_there_once_in_each_file(
    made: Callable[..., Any], rows: Path, header: str, named: dict[str, Any], problem: str
):
    _, *lines = (rows / "validation.csv").read_text().splitlines(keepends=True)
    (rows / "validation.csv").write_text("".join([header, *lines]))
    with pytest.raises(UserError, match=f"validation.csv: {problem}"):
        made(**named)


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        ({"label": "star"}, r"train.csv: has no column 'star', did you mean 'stars'\?"),
        ({"text": ("id", "texts")}, "train.csv: has no column 'texts'"),
        ({"text": ("id", "review", "stars")}, "--text: name the one or two columns"),
        ({"text": ("stars",)}, "--label: must be another column than the text, found 'stars'"),
        ({"text": ("review", "review")}, "--text: must name two columns, found 'review' twice"),
        ({"layers": 5}, "--layers: must be at most 4, the teacher's layers, found 5"),
        ({"task": "movies"}, "--task: must be a plain name of .* none of movies, cola"),
        ({"task": "My Task"}, "--task: must be a plain name"),
        ({"teacher": "./nowhere"}, "nowhere: no model here"),
        ({"train": Path("nowhere.csv")}, "nowhere.csv: cannot be read: No such file"),
        ({"train": Path("rows.xls")}, r"rows.xls: must end in \.parquet"),
    ],
)
def test_a_wrong_wish_is_one_message_and_leaves_no_folder(
    made: Callable[..., Any], tmp_path: Path, wish: dict[str, Any], problem: str
):
    with pytest.raises(UserError, match=problem):
        made(**wish)
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("labels", "cells", "found"),
    [
        (("BAD", "GOOD"), ["bad", "good"], ["bad", "good"]),  # as the rows spell them
        (("good", "Bad"), ["bad", "GOOD"], ["GOOD", "bad"]),  # in the teacher's order
        (("a", "A"), ["A", "a"], ["a", "A"]),
        (("LABEL_0", "LABEL_1"), [0, 1], ["LABEL_0", "LABEL_1"]),
        (("bad", "good"), ["good", -1], ["bad", "good"]),
        (("bad", "good"), ["good", "goood"], ["bad", "good"]),  # whoever prepares the rows names those that are wrong
        (
            ("LABEL_0", "LABEL_1"),
            ["bad", "good"],
            r"has labels LABEL_0, LABEL_1, and .* has \['bad', 'good'\]: give its",
        ),
        (("bad", "good"), [0.5, 1.5], "has labels bad, good, and the rows' column 'stars' has"),
        (("score",), ["good"], r"has one output, a number, and the rows' column 'stars' has \['good'\]$"),
    ],
)
def test_the_rows_labels_are_the_teachers_by_name_whatever_their_case(
    made: Callable[..., Any],
    rows: Path,
    tiny_classifier: Callable[..., Path],
    labels: tuple[str, ...],
    cells: list[Any],
    found: list[str] | str,
):
    frame = pd.read_csv(rows / "train.csv")
    frame.assign(stars=(cells * len(frame))[: len(frame)]).to_csv(rows / "train.csv", index=False)
    wish = {"teacher": str(tiny_classifier(labels=labels)), "validation": None}
    if isinstance(found, str):
        with pytest.raises(UserError, match=found):
            made(**wish)
    else:
        assert list(made(**wish).task["reviews"].labels) == found


def test_a_model_that_no_run_could_use_is_refused_before_anything_is_written(
    made: Callable[..., Any], tmp_path: Path, tiny_classifier: Callable[..., Path]
):
    model = shutil.copytree(tiny_classifier(), tmp_path / "model")
    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"model: is an adapter .* merge it into its model"):
        made(teacher=str(model))
    (model / "adapter_config.json").unlink()
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    with pytest.raises(
        UserError, match=r"model: is a classifier of several labels each .* one label each is distilled"
    ):
        made(teacher=str(model))
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("count", "validates", "problem"),
    [
        (0, True, "few.csv: must have at least 1 row, found 0"),
        (1, False, "few.csv: must have at least 2 rows, found 1"),  # one to train on, one to validate with
    ],
)
def test_a_file_of_too_few_rows_is_one_message(
    made: Callable[..., Any], tmp_path: Path, count: int, validates: bool, problem: str
):
    few = tmp_path / "few.csv"
    few.write_text("review,stars\n" + "fine,good\n" * count)
    with pytest.raises(UserError) as error:
        made(train=few, text=("review",), **({} if validates else {"validation": None}))
    assert str(error.value).endswith(problem)
    assert not (tmp_path / "own").exists()


def test_without_git_there_is_one_message(made: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="git: is not on the PATH"):
        made()
    assert not (tmp_path / "own").exists()


def test_a_start_that_is_cut_short_before_any_file_ends_the_next_time_as_one_that_was_not(
    made: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    short, whole = tmp_path / "short", tmp_path / "whole"
    left = 0

    def cut(write: Callable[[Path, Any], None], path: Path, content: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        write(path, content)

    for write in (project.write_bytes, project.write_copy):
        monkeypatch.setattr(project, write.__name__, partial(cut, write))
    names: list[set[str]] = []
    while not (short / "params.yaml").exists():
        left = len(names)
        with suppress(KeyboardInterrupt):
            made(folder=short, set_up=True)
        names.append({*contents(short)})
    left = 100
    made(folder=whole, set_up=True)
    assert contents(short) == contents(whole)
    assert len(names) >= 7  # rows, stages and params.yaml are written by each of them
    assert all(before <= after for before, after in itertools.pairwise(names))


def test_a_repository_that_git_does_not_trust_gets_no_other_inside(
    made: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another user's, as a container's root finds it."""
    git(tmp_path, "init", "--quiet")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(UserError, match=r"dubious ownership .* git config --global --add safe.directory"):
        made(set_up=True)
    assert contents(tmp_path / "own") == {}


# git and DVC


def git(folder: Path, *command: str) -> str:
    return subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_a_folder_in_no_repository_becomes_one_with_dvc(made: Callable[..., Any], tmp_path: Path):
    made(set_up=True)
    own = tmp_path / "own"
    assert git(own, "rev-parse", "--show-toplevel") == str(own.resolve())
    assert (own / ".dvc/config").read_text() == (ROOT / ".dvc/config").read_text()
    assert "/work" in (own / ".dvcignore").read_text().splitlines()


def test_in_a_folder_of_a_repository_with_dvc_of_its_own_both_stay_as_they_are(
    made: Callable[..., Any], tmp_path: Path
):
    """A monorepo: git and DVC at its root; the project below has DVC at home in it."""
    git(tmp_path, "init", "--quiet")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=tmp_path, check=True, capture_output=True)
    before = contents(tmp_path / ".dvc")
    made(tmp_path / "services/own", set_up=True)
    own = tmp_path / "services/own"
    assert git(own, "rev-parse", "--show-toplevel") == str(tmp_path.resolve())
    assert (own / ".dvc/config").is_file()
    assert not (own / ".git").exists()
    assert {name: text for name, text in contents(tmp_path / ".dvc").items() if name == "config"} == {
        "config": before["config"]
    }


def test_dvc_that_is_set_up_stays_as_it_is(made: Callable[..., Any], tmp_path: Path):
    own = tmp_path / "own"
    (own / ".dvc").mkdir(parents=True)
    git(own, "init", "--quiet")
    (own / ".dvc/config").write_text("[core]\n    analytics = false\n")
    made(set_up=True)
    assert (own / ".dvc/config").read_text() == "[core]\n    analytics = false\n"


# The example


def test_the_example_is_a_classifier_that_knows_its_rows(
    tmp_path: Path, made: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    from transformers import pipeline

    from kdcore.project.example import RAW, TEACHER, example

    own = tmp_path / "own"
    with pytest.raises(UserError, match="--layers"), example(own) as (teacher, train, validation):
        made(teacher=teacher, train=train, validation=validation, label="label", layers=5)
    assert not [path for path in own.rglob("*") if path.is_file()]
    (own / RAW).mkdir(parents=True, exist_ok=True)
    (own / RAW / "train.csv").write_text("mine")
    with pytest.raises(UserError, match=r"data/raw/reviews/train\.csv is there already"), example(own):
        pass
    assert (own / RAW / "train.csv").read_text() == "mine"
    (own / RAW / "train.csv").unlink()
    with example(own) as (teacher, train, validation):
        params = made(teacher=teacher, train=train, validation=validation, label="label", quoted=True)
    assert (params.data.path, params.teacher.finetuned, params.report.texts) == ("data/raw", TEACHER, True)
    classify = pipeline("text-classification", str(own / TEACHER))
    lines = validation.read_text().splitlines()[1:101]
    texts, labels = zip(*(line.split(",") for line in lines), strict=True)
    right = [said["label"] == label for said, label in zip(classify(list(texts)), labels, strict=True)]
    assert sum(right) >= 98  # no student that learns from labels alone can be better
    assert json.loads((own / TEACHER / "config.json").read_text())["num_hidden_layers"] == 4
    (own / "params.yaml").unlink()  # as where a start is killed before its last file
    before = contents(own)
    with example(own):
        assert contents(own) == before
    (own / TEACHER / "notes.txt").write_text("years of work")
    with pytest.raises(UserError, match="models/reviews is there already"), example(own):
        pass
    assert contents(own) == {**before, f"{TEACHER}/notes.txt": b"years of work"}
