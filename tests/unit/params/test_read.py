"""What params.yaml may say, and that everything wrong with it is said at once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdcore.data import embedded
from kdcore.data.tasks import BUILT_IN
from kdcore.errors import UserError
from kdcore.params import read as params
from kdcore.params.overrides import for_study
from kdcore.params.rules import notices
from kdcore.studies import STUDIES
from tests.unit.raw_files import ROOT, all_params, write_params

OWN = {"text": ["review"], "label": "stars", "labels": ["bad", "good"], "metrics": ["accuracy", "f1"]}
PLAIN = {"model.name": "someone/some-model"}  # a hub name: its depth is not known here


def load(tmp_path: Path, study: str | None = None, **changes: object) -> params.Params:
    path = write_params(tmp_path / "params.yaml", {k.replace("__", "."): v for k, v in changes.items()})
    return params.load(path, study=study)


def model_of_depth(folder: Path, **config: object) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_the_file_of_the_repository_is_right():
    found = params.load(ROOT / "params.yaml")
    assert found.model_dump(mode="json", exclude_unset=True) == all_params()


def test_sections_cannot_be_changed():
    with pytest.raises(Exception, match="frozen"):
        params.load(ROOT / "params.yaml").student.layers = 2  # type: ignore[misc]


@pytest.mark.parametrize("written", ["1e-5", "1.0e-05", "0.00001", "1E-5"])
def test_floats_are_yaml_1_2(tmp_path: Path, written: str):
    text = (ROOT / "params.yaml").read_text().replace("learning_rate: 5.0e-5", f"learning_rate: {written}")
    (tmp_path / "params.yaml").write_text(text)
    assert params.load(tmp_path / "params.yaml").teacher.learning_rate == 1e-5


def test_no_is_a_word_and_not_false(tmp_path: Path):
    text = (ROOT / "params.yaml").read_text().replace('precision: "no"', "precision: no")
    (tmp_path / "params.yaml").write_text(text)
    assert params.load(tmp_path / "params.yaml").train.precision == "no"


def test_a_byte_order_mark_and_crlf_are_read(tmp_path: Path):
    text = (ROOT / "params.yaml").read_text().replace("\n", "\r\n")
    (tmp_path / "params.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert params.load(tmp_path / "params.yaml") == params.load(ROOT / "params.yaml")


def test_integers_serve_as_floats(tmp_path: Path):
    assert load(tmp_path, distill__temperature=2).distill.temperature == 2.0


@pytest.mark.parametrize("rows", [1, None])
def test_rows_may_be_null(tmp_path: Path, rows: int | None):
    assert load(tmp_path, teacher__rows=rows).teacher.rows == rows


@pytest.mark.parametrize("kind", ["all", "pid", "sid"])
@pytest.mark.parametrize("term", ["", "-kl", "-cos"])
def test_every_method_is_known(tmp_path: Path, kind: str, term: str):
    assert load(tmp_path, methods=["none", "soft", kind + term]).methods == ("none", "soft", kind + term)


def test_an_own_task_is_known(tmp_path: Path):
    found = load(tmp_path, tasks=["reviews"], task={"reviews": OWN}, data__source="local")
    assert found.task["reviews"].labels == ("bad", "good")


def test_an_own_regression_has_no_labels(tmp_path: Path):
    scores = {"text": ["a", "b"], "label": "score", "metrics": ["spearman"]}
    found = load(tmp_path, tasks=["scores"], task={"scores": scores}, data__source="local")
    assert found.task["scores"].labels == ()


def test_columns_of_the_tasks_may_be_renamed(tmp_path: Path):
    found = load(tmp_path, tasks=["mrpc"], data__source="local", data__columns={"sentence1": "a", "label": "b"})
    assert found.data.columns == {"sentence1": "a", "label": "b"}


def test_an_explicit_layer_map_is_a_tuple(tmp_path: Path):
    found = load(tmp_path, student__layers=2, student__layer_map=[3, 6], **PLAIN_ARGS)
    assert found.student.layer_map == (3, 6)


PLAIN_ARGS = {key.replace(".", "__"): value for key, value in PLAIN.items()}


def test_a_hub_model_has_no_known_depth(tmp_path: Path):
    assert load(tmp_path, student__layers=40, **PLAIN_ARGS).student.layers == 40


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layers"])
def test_a_local_model_limits_the_depth(tmp_path: Path, key: str):
    name = model_of_depth(tmp_path / "model", **{key: 2})
    with pytest.raises(UserError) as error:
        load(tmp_path, "depth", model__name=name, student__layers=3, study__depth__layers=[1, 2, 4])
    assert error.value.problems == [
        "student.layers: must be at most 2, the teacher's layers (model.name), found 3",
        "study.depth.layers: must be at most 2, the teacher's layers (model.name), found 4",
    ]


@pytest.mark.parametrize("mapped", [[2, 4, 5], [2, 4, 7]])
def test_a_layer_map_ends_where_a_local_teacher_does(tmp_path: Path, mapped: list[int]):
    name = model_of_depth(tmp_path / "model", num_hidden_layers=6)
    with pytest.raises(UserError) as error:
        load(tmp_path, model__name=name, student__layers=3, student__layer_map=mapped)
    said = f"student.layer_map: must end at 6, the teacher's last layer (model.name), found {mapped}"
    assert error.value.problems == [said]


def test_a_study_that_is_not_asked_for_stops_nobody(tmp_path: Path):
    name = model_of_depth(tmp_path / "model", num_hidden_layers=2)
    wishes = {"study__depth__layers": [9], "study__methods__methods": ["pid-kl"], "distill__weights": {"cos": 1.0}}
    for study in (None, "data_size"):
        assert load(tmp_path, study, model__name=name, student__layers=1, **wishes).student.layers == 1
    for study, key in (("depth", "study.depth.layers"), ("methods", "distill.weights.kl")):
        with pytest.raises(UserError, match=key):
            load(tmp_path, study, model__name=name, student__layers=1, **wishes)


def test_a_study_needs_a_layer_map_that_fits_each_of_its_depths(tmp_path: Path):
    with pytest.raises(UserError, match=r"student\.layer_map: must have one teacher layer for each of the 2 student"):
        load(
            tmp_path,
            "depth",
            student__layers=3,
            student__layer_map=[1, 2, 3],
            study__depth__layers=[2, 3],
            **PLAIN_ARGS,
        )


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({"model_type": "bert", "max_position_embeddings": 64}, 64),
        ({"model_type": "roberta", "max_position_embeddings": 66, "pad_token_id": 1}, 64),
        ({"model_type": "camembert", "max_position_embeddings": 66}, 64),
    ],
)
def test_texts_longer_than_the_teachers_positions_are_refused(tmp_path: Path, config: dict, most: int):
    name = model_of_depth(tmp_path / "model", **config)
    assert load(tmp_path, model__name=name, model__max_length=most).model.max_length == most
    with pytest.raises(
        UserError, match=rf"model.max_length: must be at most {most}, the teacher's positions .*{most + 1}"
    ):
        load(tmp_path, model__name=name, model__max_length=most + 1)


def test_two_threads_are_allowed_on_any_machine_and_more_than_its_cores_on_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert load(tmp_path, train__threads=2).train.threads == 2
    with pytest.raises(UserError, match=r"train.threads: must be at most 2 \(this machine has 1 core\), found 3"):
        load(tmp_path, train__threads=3)


def test_weights_that_are_left_out_are_0(tmp_path: Path):
    assert load(tmp_path, distill__weights={"cos": 2}).distill.weights == {"cos": 2.0}


def test_a_finetuned_teacher_limits_the_depth_and_not_the_model(tmp_path: Path):
    deep = model_of_depth(tmp_path / "deep", num_hidden_layers=12)
    flat = model_of_depth(tmp_path / "flat", num_hidden_layers=2)
    assert load(tmp_path, model__name=flat, teacher__finetuned=deep, student__layers=12).student.layers == 12
    with pytest.raises(UserError, match=r"student.layers: must be at most 2, .* \(teacher.finetuned\), found 3"):
        load(tmp_path, model__name=deep, teacher__finetuned=flat, student__layers=3)


def test_a_finetuned_hub_teacher_hides_the_models_depth(tmp_path: Path):
    flat = model_of_depth(tmp_path / "flat", num_hidden_layers=2)
    assert load(tmp_path, model__name=flat, teacher__finetuned="a/b", student__layers=9).student.layers == 9


def test_the_embedded_model_limits_the_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / embedded.MODEL).mkdir(parents=True)
    (tmp_path / embedded.MODEL / "config.json").write_text('{"num_hidden_layers": 6}')
    monkeypatch.setattr(embedded, "folder", lambda: tmp_path)
    with pytest.raises(UserError, match=r"student.layers: must be at most 6.*found 7"):
        load(tmp_path, model__name="embedded", student__layers=7)


def test_all_problems_come_at_once(tmp_path: Path):
    path = write_params(tmp_path / "params.yaml", {"student.layer": 3, "teacher.learning_rate": -1}, "tasks")
    with pytest.raises(UserError) as error:
        params.load(path)
    assert str(error.value) == (
        f"{path}: 3 problems\n"
        "  tasks: is missing\n"
        "  teacher.learning_rate: must be a number from 1e-9 to 10, found -1\n"
        "  student.layer: unknown key, did you mean 'layers'?"
    )


def test_rules_hold_where_another_section_is_wrong(tmp_path: Path):
    with pytest.raises(UserError) as error:
        load(tmp_path, tasks=["mrcp"], data__source="local", train__warmup=1, student__rows=0)
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "student.rows",
        "train.warmup",
        "tasks.0",
    ]


# What params.yaml has for the demonstration, knob -> its default; what it has beside these is the default.
DEMONSTRATION = {"data.source": "local", "teacher.rows": None, "student.rows": None, "student.head": "teacher"}


def knobs(found: Any, prefix: str = "") -> dict[str, Any]:
    """Every knob by its dotted key; what has names of the user's own (columns, tasks, weights) is one."""
    if not isinstance(found, dict) or prefix in ("task.", "data.columns.", "data.splits.", "distill.weights."):
        return {prefix[:-1]: found}
    return {key: value for name, inner in found.items() for key, value in knobs(inner, f"{prefix}{name}.").items()}


def test_params_yaml_names_every_knob_and_the_default_of_each(tmp_path: Path):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text("tasks: [movies]\ndata: {source: embedded}\ntask: {movies: {}}\n")
    short = params.load(tmp_path / "params.yaml").model_copy(
        update={"data": params.Params.model_fields["data"].default}
    )
    named, usual = knobs(all_params()), knobs(short.model_dump(mode="json"))
    assert named.pop("task") == {name: {} for name in BUILT_IN}
    del usual["task"]
    assert named.keys() == usual.keys()
    assert {key: usual[key] for key in named if named[key] != usual[key]} == DEMONSTRATION
    assert [line.split("default: ")[1] for line in text.splitlines() if "default: " in line] == [
        "local",
        "null",
        "null",
        "teacher",
    ]


@pytest.mark.parametrize("key", ["train", "train.warmup", "study", "study.depth", "study.depth.layers", "methods"])
def test_what_is_left_out_is_as_usual(tmp_path: Path, key: str):
    path = write_params(tmp_path / "params.yaml", {}, without=key)
    assert params.load(path) == params.load(ROOT / "params.yaml")


def test_only_the_tasks_must_be_named(tmp_path: Path):
    (tmp_path / "params.yaml").write_text("{}")
    with pytest.raises(UserError, match="tasks: is missing"):
        params.load(tmp_path / "params.yaml")
    own = tmp_path / "own.yaml"
    own.write_text("tasks: [a]\ntask: {a: {text: [x]}}\n")
    with pytest.raises(UserError, match=r"task\.a\.label: is missing"):
        params.load(own)


def test_reading_needs_no_torch():
    code = (
        "import sys, kdcore.params.read as p; p.load(); "
        "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# `-S key=value`


FILE = str(ROOT / "params.yaml")


def test_values_are_yaml_and_the_file_stays_as_it_is():
    before = Path(FILE).read_bytes()
    changed = params.load(FILE, ["student.layers=2", "student.rows=null", "methods=[soft, sid]", "seeds=[7]"])
    assert (changed.student.layers, changed.student.rows) == (2, None)
    assert (changed.methods, changed.seeds) == (("soft", "sid"), (7,))
    assert Path(FILE).read_bytes() == before


def test_no_change_is_the_file():
    assert params.load(FILE, []).student.layers == 3


def test_a_task_of_ones_own_may_be_added():
    task = "task.reviews={text: [review], label: stars, labels: [bad, good], metrics: [f1]}"
    changed = params.load(FILE, [task, "tasks=[reviews]", "data.source=local"])
    assert changed.task["reviews"].label == "stars"


def test_what_is_wrong_is_said_as_it_would_be_of_the_file():
    with pytest.raises(UserError) as caught:
        params.load(FILE, ["student.layer=2", "train.threads=0"])
    assert caught.value.source == FILE
    assert caught.value.problems == [
        "student.layer: unknown key, did you mean 'layers'?",
        "train.threads: must be an integer of at least 1, at most 1000000, found 0",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("student.layers", r"-S: must be KEY=VALUE, e\.g\. student\.layers=6, found 'student\.layers'"),
        ("=3", r"-S: must be KEY=VALUE"),
        ("tasks=" + "[" * 3000, r"-S: the value is not valid YAML"),
        ("tasks=[qqp", r"-S: the value is not valid YAML, found 'tasks=\[qqp'"),
        ("student.layers.top=3", r"-S: student\.layers is a value, not a section, so it has no 'top'"),
    ],
)
def test_a_change_that_is_none_is_refused(change: str, problem: str):
    with pytest.raises(UserError, match=problem):
        params.load(FILE, [change])


# What is allowed, and said


@pytest.mark.parametrize(
    ("study", "changes", "said"),
    [
        (None, {"seeds": [0, 2], "teacher.seeds": [0, 1]}, ["teacher.seeds: 1 teaches no student, and is trained "]),
        (None, {"seeds": [0], "teacher.seeds": [3, 4, 5]}, ["teacher.seeds: 4, 5 teach no student, and are trained "]),
        (None, {"seeds": [0, 1, 2], "teacher.seeds": [7, 8]}, []),
        (None, {"seeds": [5, 7], "teacher.seeds": [0, 1]}, ["teacher.seeds: 0 teaches no student, and is trained "]),
        ("tune", {"teacher.seeds": [0, 1, 2]}, ["study tune: teacher.seeds: 0 teaches no student, and is "]),
        ("glue", {"study.glue.seeds": [0]}, ["study glue: teacher.seeds: 1, 2, 3, 4 teach no student, and are "]),
        ("glue", {"seeds": [0], "teacher.seeds": [0, 1]}, []),
        ("depth", {"seeds": [0], "teacher.seeds": [0, 1]}, ["study depth: teacher.seeds: 1 teaches no student, and "]),
    ],
)
def test_teachers_that_teach_no_student_are_named(
    tmp_path: Path, study: str | None, changes: dict[str, Any], said: list[str]
):
    """By hand: the student with seed s has the teacher number s modulo their number; tune's seeds are 1000 and 1001."""
    found, asked = load(tmp_path, **changes), STUDIES[study] if study else None
    lines = list(notices(for_study(found, asked) if asked else found, asked))
    assert [line[: len(start)] for line, start in zip(lines, said, strict=True)] == said
