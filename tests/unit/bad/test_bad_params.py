"""What people get wrong in params.yaml.

Each ends the command in one message that names the place, the value and what is allowed, with exit code 2, without a
traceback, and nothing is half-written.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from kdcore.errors import UserError
from kdcore.params import read as params
from tests.unit.raw_files import write_params

Refused: TypeAlias = Callable[..., list[str]]


OWN = {"text": ["review"], "label": "stars", "labels": ["bad", "good"], "metrics": ["accuracy"]}


def own(**changes: Any) -> dict[str, Any]:
    """Params changes that describe the task 'reviews', wrongly."""
    return {"tasks": ["reviews"], "task": {"reviews": {**OWN, **changes}}, "data.source": "local"}


# What is changed in params.yaml -> what one line of the message says.
PARAMS: list[tuple[Mapping[str, Any], list[str]]] = [
    # unknown and missing
    ({"student.layer": 3}, ["student.layer: unknown key", "did you mean 'layers'?"]),
    ({"studnet": {}}, ["studnet: unknown key", "did you mean 'student'?"]),
    ({"zzz": 1}, ["zzz: unknown key", "allowed are tasks, methods, seeds"]),
    ({"study.depth.rows": [1]}, ["study.depth.rows: unknown key", "allowed are layers, methods"]),
    ({"train": None}, ["train: must be a mapping, found null"]),
    ({"train": [1]}, ["train: must be a mapping, found [1]"]),
    ({"student\n": 1}, [r"'student\n': unknown key", "did you mean 'student'?"]),
    # types
    ({"student.layers": "three"}, ["student.layers", "an integer of at least 1", "found 'three'"]),
    ({"student.layers": 3.0}, ["student.layers", "an integer of at least 1", "found 3.0"]),
    ({"student.layers": True}, ["student.layers", "an integer of at least 1", "found true"]),
    ({"student.layers": None}, ["student.layers", "an integer of at least 1", "found null"]),
    ({"student.rows": "all"}, ["student.rows", "an integer of at least 1", "or null for all", "found 'all'"]),
    ({"teacher.learning_rate": "1e-5"}, ["teacher.learning_rate", "a number from 1e-9 to 10", "found '1e-5'"]),
    ({"teacher.learning_rate": True}, ["teacher.learning_rate", "a number from 1e-9 to 10", "found true"]),
    ({"teacher.learning_rate": 5e-55}, ["teacher.learning_rate", "a number from 1e-9 to 10", "found 5e-55"]),
    ({"model.name": 3}, ["model.name", "one line of text", "found 3"]),
    ({"model.name": ""}, ["model.name", "not blank", "found ''"]),
    ({"model.name": "a\nb"}, ["model.name", "one line of text", r"found 'a\nb'"]),
    ({"model.name": "a\u2028b"}, ["model.name", "one line of text", r"found 'a\u2028b'"]),
    ({"data.path": "\xa0\u3000"}, ["data.path", "not blank", r"found '\xa0\u3000'"]),
    ({"data.revision": 123456}, ["data.revision", "quote a number", "found 123456"]),
    ({"data.revision": None}, ["data.revision", "one line of text", "found null"]),
    ({"data.columns": []}, ["data.columns: must be a mapping, found []"]),
    ({"train.precision": False}, ["train.precision", "no | bf16 | fp16", "found false"]),
    # ranges
    ({"student.layers": 0}, ["student.layers", "at least 1", "found 0"]),
    ({"student.rows": 0}, ["student.rows", "at least 1", "found 0"]),
    ({"model.max_length": 7}, ["model.max_length", "at least 8", "found 7"]),
    ({"teacher.epochs": 0}, ["teacher.epochs", "at least 1", "found 0"]),
    ({"teacher.learning_rate": 0}, ["teacher.learning_rate", "a number from 1e-9 to 10", "found 0"]),
    ({"teacher.seeds": [-1]}, ["teacher.seeds.0", "from 0 to 4294967295", "found -1"]),
    ({"seeds": [2**32]}, ["seeds.0", "from 0 to 4294967295", "found 4294967296"]),
    ({"targets.disk_gb": -0.5}, ["targets.disk_gb", "at least 0", "found -0.5"]),
    ({"distill.temperature": 0}, ["distill.temperature", "from 0.001 to 1000", "found 0"]),
    ({"distill.temperature": float("nan")}, ["distill.temperature", "from 0.001 to 1000", "found nan"]),
    ({"distill.temperature": float("inf")}, ["distill.temperature", "from 0.001 to 1000", "found inf"]),
    ({"distill.hard_label_weight": -0.1}, ["distill.hard_label_weight", "at least 0", "found -0.1"]),
    ({"distill.cosine_threshold": 2.5}, ["distill.cosine_threshold", "from 0 to 2", "found 2.5"]),
    ({"distill.epochs_per_layer": 0}, ["distill.epochs_per_layer", "at least 1", "found 0"]),
    ({"train.warmup": 1}, ["train.warmup", "less than 1", "found 1"]),
    ({"train.weight_decay": float("nan")}, ["train.weight_decay", "finite", "found nan"]),
    ({"train.clip": float("-inf")}, ["train.clip", "finite", "found -inf"]),
    ({"evaluate.confidence": 95}, ["evaluate.confidence", "from 0.5 to 0.9999", "found 95"]),
    ({"evaluate.confidence": 0.05}, ["evaluate.confidence", "from 0.5 to 0.9999", "found 0.05"]),
    ({"evaluate.confidence": 0.9999999999999999}, ["evaluate.confidence", "from 0.5 to 0.9999"]),  # t is infinite
    ({"study.tune.share": 1}, ["study.tune.share", "greater than 0 and less than 1", "found 1"]),
    (
        {"train.batch_size": 4, "train.accumulate": 8},
        ["train.accumulate", "at most train.batch_size (4)", "found 8"],
    ),
    ({"study.tune.seeds": [7, 0]}, ["study.tune.seeds", "not be one of `seeds`", "found 0"]),
    ({"study.tune.knobs": {}}, ["study.tune.knobs", "must list the values of a knob"]),
    ({"study.tune.knobs": {"train": {"threads": [1]}}}, ["study.tune.knobs.train.threads", "unknown key"]),
    (
        {"study.tune.knobs": {"train": {"learning_rate": [0]}}},
        ["study.tune.knobs.train.learning_rate.0", "from 1e-9 to 10", "found 0"],
    ),
    (
        {"teacher.batch_size": 4, "teacher.accumulate": 8},
        ["teacher.accumulate", "at most teacher.batch_size (4)", "found 8"],
    ),
    ({"teacher.floor": float("nan")}, ["teacher.floor", "from -1 to 1", "found nan"]),
    ({"student.floor": 90}, ["student.floor", "a score from -1 to 1 (0.9 for 90 %)", "found 90"]),
    ({"task.rte": {"teacher": {"floor": 1e308}}}, ["task.rte.teacher.floor", "from -1 to 1", "found 1e+308"]),
    ({"teacher.floor": "high"}, ["teacher.floor", "or null", "found 'high'"]),
    ({"teacher.revision": 7}, ["teacher.revision", "or null", "found 7"]),
    # names
    (
        {"data.source": "hubb"},
        ["data.source", "embedded | hub | local", "found 'hubb'", "did you mean 'hub'?"],
    ),
    (
        {"student.init": "Teacher"},
        ["student.init", "pretrained | pretrained_lower", "did you mean 'teacher'?"],
    ),
    ({"distill.trains": "heads"}, ["distill.trains", "model | head", "did you mean 'head'?"]),
    ({"targets.dtype": "bfloat16"}, ["targets.dtype", "float16 | float32", "found 'bfloat16'"]),
    ({"methods": ["sid-both"]}, ["methods.0", "sid-kl | sid-cos", "found 'sid-both'"]),
    ({"methods": ["soft-kl"]}, ["methods.0", "none | soft | all", "found 'soft-kl'"]),
    ({"study.depth.methods": ["pidd"]}, ["study.depth.methods.0", "did you mean 'pid'?"]),
    ({"study.convergence.head": ["soft"]}, ["study.convergence.head.0", "pid | pid-kl", "found 'soft'"]),
    ({"study.ablation.inits": ["teachr"]}, ["study.ablation.inits.0", "did you mean 'teacher'?"]),
    ({"study.ablation.layer_maps": ["first"]}, ["study.ablation.layer_maps.0", "uniform, last", "found 'first'"]),
    ({"study.method": {}}, ["study.method: unknown key", "did you mean 'methods'?"]),
    # lists
    ({"tasks": []}, ["tasks", "a list of at least one value", "found []"]),
    ({"tasks": "movies"}, ["tasks", "a list of at least one value", "found 'movies'"]),
    ({"tasks": ["movies", "movies"]}, ["tasks", "must not repeat a value, found 'movies' more than once"]),
    ({"seeds": [1, 2, 1]}, ["seeds", "must not repeat a value, found 1 more than once"]),
    ({"methods": ["sid", "sid"]}, ["methods", "must not repeat a value, found 'sid'"]),
    ({"study.depth.layers": []}, ["study.depth.layers", "at least one value", "found []"]),
    ({"study.depth.layers": [0]}, ["study.depth.layers.0", "at least 1", "found 0"]),
    ({"study.data_size.rows": [250, None]}, ["study.data_size.rows.1", "one name or number", "found null"]),
    # layer maps
    (
        {"student.layer_map": "unifrom"},
        ["student.layer_map", "uniform, last, or a strictly", "found 'unifrom'"],
    ),
    (
        {"student.layers": 3, "student.layer_map": [2, 4]},
        ["student.layer_map", "the 3 student layers", "found 2: [2, 4]"],
    ),
    (
        {"student.layers": 2, "student.layer_map": [4, 2]},
        ["student.layer_map", "strictly increasing", "found [4, 2]"],
    ),
    (
        {"student.layers": 2, "student.layer_map": [2, 2]},
        ["student.layer_map", "strictly increasing", "found [2, 2]"],
    ),
    ({"student.layers": 2, "student.layer_map": [0, 2]}, ["student.layer_map", "at least 1", "found [0, 2]"]),
    (
        {"student.layers": 1, "student.layer_map": [True]},
        ["student.layer_map", "list of teacher layers", "[True]"],
    ),
    ({"student.layer_map": []}, ["student.layer_map", "list of teacher layers", "found []"]),
    # across sections
    ({"tasks": ["mrcp"]}, ["tasks.0: unknown task 'mrcp'", "did you mean 'mrpc'?"]),
    ({"tasks": ["../../etc"]}, ["tasks.0: unknown task '../../etc'", "known are movies, cola"]),
    (
        {"tasks": ["mrpc"], "data.source": "embedded"},
        ["tasks.0", "movies where data.source is embedded", "'mrpc'"],
    ),
    (
        {"tasks": ["movies"], "data.source": "local"},
        ["data.source", "embedded for the task movies", "found 'local'"],
    ),
    (
        {"tasks": ["rte"], "data.source": "hub", "data.columns": {"sentence": "x"}},
        ["data.columns.sentence", "did you mean"],
    ),
    (
        {"tasks": ["rte"], "data.source": "hub", "data.columns": {"sentence1": "x", "sentence2": "x"}},
        ["data.columns", "'x' stands for more than one column"],
    ),
    (
        {"tasks": ["rte"], "data.source": "hub", "data.columns": {"sentence2": "label"}},
        ["data.columns", "'label' stands for more than one column"],
    ),
    *(
        ({"data.splits": {"train": name}}, ["data.splits.train: must be a name within the task's folder"])
        for name in ("../other/train", "/data/train", "a/../../train")
    ),
    (
        {"distill.weights": {"kl": 0, "cos": 0}},
        ["distill.weights.kl and distill.weights.cos", "must not be 0"],
    ),
    ({"distill.weights": {"cos": 1.0}, "methods": ["pid-kl"]}, ["distill.weights.kl", "must not be 0", "pid-kl"]),
    ({"distill.weights": {"coss": 1.0}}, ["distill.weights.coss", "kl | cos", "did you mean 'cos'?"]),
    ({"distill.weights": {"cos": -1}}, ["distill.weights.cos", "at least 0", "found -1"]),
    ({"distill.weights": 1.0}, ["distill.weights", "must be a mapping", "found 1.0"]),
    # numbers without a sensible end
    ({"train.threads": 5000}, ["train.threads", "this machine has", "found 5000"]),
    ({"teacher.epochs": 10**9}, ["teacher.epochs", "at most 1000000", "found 1000000000"]),
    ({"train.batch_size": 10**400}, ["train.batch_size", "at most 1000000", "found 1000"]),
    ({"student.rows": 10**4000}, ["student.rows", "at most 1000000000", "found 1000"]),
    ({"train.learning_rate": 1e308}, ["train.learning_rate", "from 1e-9 to 10", "found 1e+308"]),
    ({"distill.temperature": 10**400}, ["distill.temperature", "from 0.001 to 1000", "found 1000"]),
    ({"targets.disk_gb": 1e308}, ["targets.disk_gb", "at most 1000000", "found 1e+308"]),
    ({"study.data_size.rows": [10**400]}, ["study.data_size.rows.0", "at most 1000000000", "found 1000"]),
    # what is other for a task, or for a study
    ({"task.rte": {"teacher": {"epoch": 5}}}, ["task.rte.teacher.epoch: unknown key", "did you mean 'epochs'?"]),
    ({"task.rte": {"teacher": {"epochs": 0}}}, ["task.rte.teacher.epochs", "at least 1", "found 0"]),
    ({"task.rte": {"teacher": {"seeds": [1]}}}, ["task.rte.teacher.seeds: unknown key"]),
    ({"task.rte": {"model": {}}}, ["task.rte.model: unknown key"]),
    ({"task.rte": {"methods": {"sidd": {}}}}, ["task.rte.methods.sidd", "did you mean 'sid'?"]),
    ({"task.rte": {"methods": {"sid": {"teacher": {}}}}}, ["task.rte.methods.sid.teacher: unknown key"]),
    ({"task.rte": {"methods": {"sid": {"train": {"clip": "x"}}}}}, ["task.rte.methods.sid.train.clip", "found 'x'"]),
    ({"task.movies": {"train": {"accumulate": 64}}}, ["task.movies.train.accumulate", "at most train.batch_size (32)"]),
    (
        {"task.movies": {"methods": {"sid": {"student": {"layer_map": [2, 4]}}}}},
        ["task.movies.methods.sid.student.layer_map", "the 3 student layers"],
    ),
    ({"task.movies": {"distill": {"weights": {"kl": 0, "cos": 0}}}}, ["must not be 0", "for the task movies"]),
    ({"task": {}}, ["tasks.0: 'movies' has no entry under 'task', add 'movies: {}'"]),
    ({"teacher.finetuned": "a/b", "teacher.seeds": [0, 1]}, ["teacher.seeds: must be one seed", "found [0, 1]"]),
    (
        {"task.movies": {"teacher": {"finetuned": "a/b"}}, "teacher.seeds": [0, 1]},
        ["teacher.seeds: must be one seed", "for the task movies"],
    ),
    ({"study.glue.teacher": {}}, ["study.glue.teacher.seeds: is missing"]),
    ({"study.glue.student": {"layer": 6}}, ["study.glue.student.layer: unknown key", "did you mean 'layers'?"]),
    # tasks of one's own
    ({"task": {"mrpc": OWN}}, ["task.mrpc", "built-in task", "choose another"]),
    ({"task": {"raw": OWN}}, ["task.raw", "folder of the raw files"]),
    ({"task": {"../up": OWN}}, ["task.../up", "a plain name", "found '../up'"]),
    ({"task": {"a/b": OWN}}, ["task.a/b", "a plain name", "found 'a/b'"]),
    ({"task": {"-rf": OWN}}, ["task.-rf", "a plain name", "the first not -"]),
    ({"task": {"Reviews": OWN}}, ["task.Reviews", "a-z 0-9 _ -", "found 'Reviews'"]),
    ({"task": {3: OWN}}, ["task.3", "a plain name", "found 3"]),
    ({"task": {"reviews": 3}}, ["task.reviews: must be a mapping, found 3"]),
    (own(text="review"), ["task.reviews.text", "a list", "found 'review'"]),
    (own(text=["a", "b", "c"]), ["task.reviews.text", "one column or two", "found 3"]),
    (own(text=["a", "a"]), ["task.reviews.text", "must not repeat", "'a'"]),
    (own(label="review"), ["task.reviews.label", "another column than the text", "found 'review'"]),
    (own(text=["label"], label="label"), ["task.reviews.label", "another column than the text", "found 'label'"]),
    (
        {"task": {"reviews": {"text": ["label"], "labels": ["a", "b"], "metrics": ["teacher_agreement"]}}},
        ["task.reviews.label", "another column than the text", "found 'label'"],
    ),
    (own(labels=["good"]), ["task.reviews.labels", "two classes or more", "found ['good']"]),
    (own(labels=["good", "good "]), ["task.reviews.labels", "must not repeat", "['good', 'good ']"]),
    (own(labels=["good", "good"]), ["task.reviews.labels", "must not repeat", "['good', 'good']"]),
    (own(labels=[0, 1]), ["task.reviews.labels.0", "quote a number", "found 0"]),
    (own(labels={"a": 1}), ["task.reviews.labels", "must be a list", "found {'a': 1}"]),
    (own(metrics=[]), ["task.reviews.metrics", "at least one value", "found []"]),
    (
        own(metrics=["acuracy"]),
        ["task.reviews.metrics.0", "accuracy | f1 | f1_macro", "did you mean 'accuracy'?"],
    ),
    (
        own(metrics=["pearson"]),
        ["task.reviews.metrics.0", "f1_weighted | matthews | teacher_agreement for classes", "'pearson'"],
    ),
    (
        own(labels=[], metrics=["f1"]),
        ["task.reviews.metrics.0", "pearson | spearman | teacher_spearman for a regression", "'f1'"],
    ),
    (
        own(labels=["a", "b", "c"], metrics=["f1"]),
        ["task.reviews.metrics.0", "second of two labels", "3 labels"],
    ),
    (
        own(metrics=["accuracy", "teacher_agreement"]),
        ["task.reviews.metrics: the teacher's answers are the truth of teacher_agreement, and labels that of accuracy"],
    ),
    (own(metrics=["teacher_agreement"]), ["teacher.finetuned: is missing", "task.reviews", "(teacher_agreement)"]),
    (own(lables=["a"]), ["task.reviews.lables: unknown key", "did you mean 'labels'?"]),
]

# The text of the file -> what the message says.
TEXTS: list[tuple[str | bytes, list[str]]] = [
    ("tasks: [movies\nmethods: [none]\n", ["line 2", "not valid YAML"]),
    ("a: 1\nb: 2\na: 3\n", ["line 3", "duplicate key", '"a"']),
    ("train:\n  clip: 1\n  clip: 2\n", ["line 3", "duplicate key", '"clip"']),
    ("task:\n  mine: {}\n  other: {}\n  mine: {}\n", ["line 4", "duplicate key", '"mine"']),
    ("a: b: c\n", ["line 1", "not valid YAML"]),
    ("a: 1\n\tb: 2\n", ["line 2", "not valid YAML"]),
    ("", ["a mapping of sections", "found null"]),
    ("- a\n- b\n", ["a mapping of sections", "found ['a', 'b']"]),
    ("just words", ["a mapping of sections", "found 'just words'"]),
    ("a: 1\n---\nb: 2\n", ["line 2", "another document"]),
    (b"a: 1\nb: caf\xe9\n", ["line 2", "not UTF-8", "0xe9"]),
    ("a: 1\nb: \x07\n", ["line 2", "not valid YAML", "special characters are not allowed"]),
    ("a: !!python/object:os.system x\n", ["line 1", "could not determine a constructor"]),
    ("a: 2020-99-99\n", ["not valid YAML", "month must be in 1..12"]),
    ("[" * 1500, ["nested too deeply"]),
    ("a: *b\n", ["line 1", "undefined alias"]),
]


@pytest.mark.parametrize(("changes", "said"), PARAMS, ids=lambda value: str(value)[:60])
def test_bad_params(tmp_path: Path, refused: Refused, changes: Mapping[str, Any], said: list[str]):
    write_params(tmp_path / "params.yaml", {"model.name": "a/hub-name", **changes})
    problems = refused("params.yaml")
    assert any(all(word in problem for word in said) for problem in problems), problems


@pytest.mark.parametrize(("text", "said"), TEXTS, ids=lambda value: str(value)[:40])
def test_bad_params_text(tmp_path: Path, refused: Refused, text: str | bytes, said: list[str]):
    (tmp_path / "params.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    (problem,) = refused("params.yaml")
    assert all(word in problem for word in said), problem


def test_a_missing_params_file(tmp_path: Path):
    with pytest.raises(UserError, match=r"params.yaml: no such file; run this in the project's root folder"):
        params.load(tmp_path / "params.yaml")


def test_a_folder_as_params_file(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        params.load(tmp_path)


def test_a_broken_model_config(tmp_path: Path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"model.name: its config.json cannot be read: Expecting property name"):
        params.load(write_params(tmp_path / "params.yaml", {"model.name": str(tmp_path)}))


def test_there_are_enough_cases():
    assert len(PARAMS) + len(TEXTS) >= 110
