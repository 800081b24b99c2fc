"""Loading: what is taken is whole and right, a new head is said, and everything else is refused in one message."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kdcore.errors import UserError
from kdcore.model.encoder import Encoder
from kdcore.model.loading import INDEX, WEIGHTS, load_classifier, load_pretrained
from tests import tiny
from tests.distilling import encoder, examples, whole_batch

families = pytest.mark.parametrize("family", tiny.FAMILIES)
LABELS = {"num_labels": 3, "id2label": {0: "x", 1: "y", 2: "z"}, "label2id": {"x": 0, "y": 1, "z": 2}}
NORM = "bert.embeddings.LayerNorm"
WRAPPERS = ("module.", "_orig_mod.", "model.", "base_model.model.", "_orig_mod.module.", "encoder.")


def rewritten(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> Path:
    """The folder, with its weights changed in place, or by those that are returned."""
    weights = load_file(folder / WEIGHTS)
    weights = change(weights) or weights
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    return folder


def without(folder: Path, key: str) -> Path:
    return rewritten(folder, lambda weights: {name: weight for name, weight in weights.items() if name != key})


def configured(folder: Path, **values: Any) -> Path:
    """The folder, with these keys in its config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values))
    return folder


def refusal(folder: Path, load: Callable[[Path], Any] = load_classifier) -> str:
    """What is said of the folder, after its name."""
    with pytest.raises(UserError) as raised:
        load(folder)
    assert raised.value.source == str(folder)
    return str(raised.value).removeprefix(f"{folder}: ")


def pretrained(folder: Path) -> Any:
    return load_pretrained(folder, None, LABELS)


# What is taken


@families
def test_a_bare_encoder_gets_a_new_head_for_the_labels_and_this_is_said(
    tiny_folder: Callable[..., Path], family: str, capsys: pytest.CaptureFixture[str]
):
    model = Encoder(pretrained(tiny_folder(family)))
    assert model.output.out_features == 3
    assert (model.config.label2id, model.config.id2label) == (LABELS["label2id"], LABELS["id2label"])
    assert capsys.readouterr().out.count("new, drawn at random") == 1
    kept = load_file(tiny_folder(family) / WEIGHTS)
    for name, weight in model.model.base_model.state_dict().items():
        assert torch.equal(weight, kept[name]), name


@pytest.mark.parametrize(("pooler", "said"), [(True, 1), (False, 0)])
def test_a_pooler_that_an_encoder_lacks_is_new_where_it_is_used(
    tmp_path: Path, pooler: bool, said: int, capsys: pytest.CaptureFixture[str]
):
    folder = tiny.save_pretrained(tmp_path)
    rewritten(folder, lambda weights: {name: weight for name, weight in weights.items() if "pooler" not in name})
    load_pretrained(folder, None, {}, pooler)
    assert capsys.readouterr().out.count("pooler.dense is new, drawn at random") == said


@families
def test_a_head_is_drawn_as_transformers_draws_it(tiny_folder: Callable[..., Path], family: str):
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(7)
    expected = AutoModelForSequenceClassification.from_pretrained(tiny_folder(family), num_labels=3).state_dict()
    torch.manual_seed(7)
    for name, weight in pretrained(tiny_folder(family)).state_dict().items():
        assert torch.equal(weight, expected[name]), name


@families
def test_a_classifier_of_other_labels_gives_its_encoder(
    tiny_classifier: Callable[..., Path], family: str, capsys: pytest.CaptureFixture[str]
):
    folder = tiny_classifier(family, labels=("a", "b", "c", "d", "e"))
    assert Encoder(pretrained(folder)).output.out_features == 3
    assert "(the file's is for 5 labels)" in capsys.readouterr().out


def test_a_whole_classifier_says_nothing(tiny_classifier: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    load_classifier(tiny_classifier())
    assert capsys.readouterr().out == ""


def test_old_names_of_norms_and_buffers_of_old_versions_are_understood(tmp_path: Path):
    def old(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        renamed = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
            for name, weight in weights.items()
        }
        return renamed | {"bert.embeddings.position_ids": torch.arange(128), "cls.predictions.bias": torch.zeros(129)}

    folder = rewritten(tiny.save_finetuned(tmp_path), old)
    inputs = whole_batch(examples()).inputs
    torch.testing.assert_close(Encoder.load(folder)(inputs).logits, encoder()(inputs).logits)


def test_a_pooler_that_the_family_has_no_use_for_is_left_out(tmp_path: Path):
    pooler = {"roberta.pooler.dense.weight": torch.ones(32, 32)}
    folder = rewritten(tiny.save_finetuned(tmp_path, "roberta"), lambda weights: weights | pooler)
    load_classifier(folder)


def test_what_published_debertas_hold_beside_the_model_is_left_out(tmp_path: Path):
    def published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        positions = {"deberta.embeddings.position_embeddings.weight": torch.ones(128, 32)}
        return weights | positions | {"lm_predictions.lm_head.bias": torch.ones(7)}

    load_classifier(rewritten(tiny.save_finetuned(tmp_path / "relative", "deberta-v2"), published))
    folder = tiny.save_finetuned(tmp_path / "absolute", "bert")
    with pytest.raises(UserError, match=r"the model does not use: deberta\.embeddings\.position_embeddings"):
        load_classifier(rewritten(folder, published))


def sharded(folder: Path) -> Path:
    """The classifier's weights in two files and an index."""
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(weights)
    shards = {f"model-{k}.safetensors": names[k::2] for k in (0, 1)}
    for file, keys in shards.items():
        save_file({key: weights[key] for key in keys}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: file for file, keys in shards.items() for key in keys}}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def test_weights_in_several_files_are_those_of_one(tmp_path: Path):
    inputs = whole_batch(examples()).inputs
    loaded = Encoder.load(sharded(tiny.save_finetuned(tmp_path)))
    torch.testing.assert_close(loaded(inputs).logits, encoder()(inputs).logits)


@families
@pytest.mark.parametrize(
    "how",
    [
        {"_attn_implementation": "flash_attention_2"},
        {"attn_implementation": "no_such_thing"},
        {"output_attentions": True, "output_hidden_states": True},
        {"return_dict": False},
        {"torchscript": True},
        {"chunk_size_feed_forward": 3},
        {"dtype": "float16"},
        {"torch_dtype": "bfloat16"},
        {"auto_map": {"AutoModelForSequenceClassification": "evil.Model"}},
        {"reference_compile": True},
    ],
    ids=str,
)
def test_a_config_chooses_no_code(tmp_path: Path, family: str, how: dict[str, Any]):
    folder = configured(tiny.save_finetuned(tmp_path, family), **how)
    inputs = whole_batch(examples(family)).inputs
    loaded = Encoder.load(folder).eval()
    torch.testing.assert_close(loaded(inputs, attention=(1, 4)).logits, encoder(family)(inputs).logits)


def test_a_roberta_without_a_padding_id_has_the_usual_one(tmp_path: Path):
    folder = configured(tiny.save_finetuned(tmp_path, "roberta"), pad_token_id=None)
    inputs = whole_batch(examples("roberta")).inputs
    torch.testing.assert_close(Encoder.load(folder)(inputs).logits, encoder("roberta")(inputs).logits)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"id2label": {"1": "bad", "2": "good"}, "label2id": {"bad": 1, "good": 2}}, ["bad", "good"]),
        ({"id2label": {"1": "good", "0": "bad"}, "label2id": None}, ["bad", "good"]),
        ({"id2label": None, "label2id": {"good": 0, "bad": 1}}, ["good", "bad"]),
        ({"id2label": {"0": 4, "1": 5}, "label2id": None}, ["4", "5"]),
        ({"label2id": {"LABEL_0": 0, "LABEL_1": 1}}, ["bad", "good"]),
    ],
)
def test_labels_are_numbered_from_0_where_their_order_is_clear(tmp_path: Path, labels: Any, names: list[str]):
    config = load_classifier(configured(tiny.save_finetuned(tmp_path), **labels)).config
    assert config.id2label == dict(enumerate(names))
    assert config.label2id == {name: index for index, name in enumerate(names)}


# What is missing, or not used

HEADS = {
    "bert": ("bert.pooler.dense.weight", "classifier.bias"),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "electra"), ("classifier.dense.weight",)),
    "distilbert": ("pre_classifier.bias", "classifier.weight"),
    "modernbert": ("head.dense.weight", "head.norm.weight", "classifier.weight"),
}


@pytest.mark.parametrize(("family", "lost"), [(family, lost) for family, keys in HEADS.items() for lost in keys])
def test_a_classifier_without_a_part_of_its_head_is_refused(tmp_path: Path, family: str, lost: str):
    folder = without(tiny.save_finetuned(tmp_path, family), lost)
    assert refusal(folder) == f"weights can't be read: 1 missing from its file: {lost}"


@families
def test_a_bare_encoder_is_no_classifier(tiny_folder: Callable[..., Path], family: str):
    assert "missing from its file: " in refusal(tiny_folder(family))


@pytest.mark.parametrize("load", [load_classifier, pretrained])
@pytest.mark.parametrize("lost", ["embeddings.word_embeddings.weight", "encoder.layer.3.output.dense.weight"])
def test_weights_of_the_encoder_are_never_made_up(tmp_path: Path, lost: str, load: Callable[[Path], Any]):
    folder = without(tiny.save_finetuned(tmp_path), f"bert.{lost}")
    assert refusal(folder, load) == f"weights can't be read: 1 missing from its file: bert.{lost}"


@pytest.mark.parametrize("load", [load_classifier, pretrained])
@families
def test_a_layer_more_than_the_config_has_is_named(tmp_path: Path, family: str, load: Callable[[Path], Any]):
    tiny.save_finetuned(tmp_path, family)
    key = "n_layers" if family == "distilbert" else "num_hidden_layers"
    changes = {"layer_types": None} if family == "modernbert" else {}
    said = refusal(configured(tmp_path, **{key: 3}, **changes), load)
    assert "in its file that the model does not use: " in said
    assert ".3." in said


def test_relative_positions_are_named(tmp_path: Path):
    key = "bert.encoder.layer.0.attention.self.distance_embedding.weight"
    folder = rewritten(tiny.save_finetuned(tmp_path), lambda weights: weights.update({key: torch.ones(255, 8)}))
    said = refusal(configured(folder, position_embedding_type="relative_key"))
    assert f"1 in its file that the model does not use: {key}" in said
    assert "position_embedding_type 'relative_key'" in said


@pytest.mark.parametrize("key", ["score.weight", "dense.weight", "bert.extra.weight", "classifier.dense.weight"])
def test_a_weight_that_a_classifier_has_no_place_for_is_named(tmp_path: Path, key: str):
    folder = rewritten(tiny.save_finetuned(tmp_path), lambda weights: weights.update({key: torch.ones(32, 32)}))
    assert refusal(folder) == f"weights can't be read: 1 in its file that the model does not use: {key}"


@pytest.mark.parametrize("load", [load_classifier, pretrained])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrappers_prefix_is_named_with_the_line_that_takes_it_away(
    tmp_path: Path, wrapper: str, load: Callable[[Path], Any]
):
    folder = rewritten(tiny.save_finetuned(tmp_path), lambda w: {f"{wrapper}{name}": x for name, x in w.items()})
    said = refusal(folder, load)
    assert f"begin with {wrapper!r}" in said
    run_line(said, folder)
    inputs = whole_batch(examples()).inputs
    torch.testing.assert_close(Encoder.load(folder)(inputs).logits, encoder()(inputs).logits)


def run_line(said: str, folder: Path) -> None:
    """Run the line of Python that a message gives, in the model's folder."""
    import subprocess
    import sys

    line = said.split('python -c "')[1].rsplit('"', 1)[0]
    subprocess.run([sys.executable, "-c", line], cwd=folder, check=True)


def test_an_adapter_that_was_not_merged_is_named(tmp_path: Path):
    def leftovers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        query = "bert.encoder.layer.0.attention.self.query"
        return {f"base_model.model.{k.replace(query, f'{query}.base_layer')}": w for k, w in weights.items()} | {
            f"base_model.model.{query}.lora_A.default.weight": torch.ones(4, 32)
        }

    assert "a LoRA adapter is in it that was not merged" in refusal(rewritten(tiny.save_finetuned(tmp_path), leftovers))


@pytest.mark.parametrize(
    ("key", "name", "wanted"),
    [
        ("vocab_size", "bert.embeddings.word_embeddings.weight", [7, 32]),
        ("max_position_embeddings", "bert.embeddings.position_embeddings.weight", [7, 32]),
        ("type_vocab_size", "bert.embeddings.token_type_embeddings.weight", [7, 32]),
        ("intermediate_size", "bert.encoder.layer.0.intermediate.dense.weight", [7, 32]),
    ],
)
def test_another_size_is_named_with_both_shapes_and_the_key(tmp_path: Path, key: str, name: str, wanted: list[int]):
    stored = list(tiny.model().state_dict()[name].shape)
    said = refusal(configured(tiny.save_finetuned(tmp_path), **{key: 7}))
    assert f"{name} is {stored} in its file, and {wanted} by config.json ({key})" in said


def test_more_labels_than_outputs_are_named(tmp_path: Path):
    names = {str(index): f"label {index}" for index in range(3)}
    said = refusal(configured(tiny.save_finetuned(tmp_path), id2label=names, label2id=None))
    assert "classifier.weight is [2, 32] in its file, and [3, 32] by config.json (the labels of id2label)" in said


# Files of another kind


def test_a_pickle_is_named_and_its_line_makes_it_a_model(tmp_path: Path):
    tiny.save_finetuned(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    torch.save(tiny.model().state_dict(), tmp_path / "pytorch_model.bin")
    said = refusal(tmp_path)
    assert said.startswith("weights can't be read: pytorch_model.bin is a pickle")
    run_line(said, tmp_path)
    load_classifier(tmp_path)


@pytest.mark.parametrize("file", ["tf_model.h5", "flax_model.msgpack", "model.onnx", "model.pt"])
def test_weights_of_another_library_are_named(tmp_path: Path, file: str):
    tiny.save_finetuned(tmp_path)
    (tmp_path / WEIGHTS).rename(tmp_path / file)
    assert refusal(tmp_path).startswith(f"weights can't be read: {file} is not safetensors")


def test_a_git_lfs_pointer_is_named(tmp_path: Path):
    tiny.save_finetuned(tmp_path)
    (tmp_path / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 9\n")
    assert refusal(tmp_path) == f"{WEIGHTS} is a Git LFS pointer; run `git lfs pull` where it lies"


@pytest.mark.parametrize(("family", "said"), [("bert", "roberta"), ("distilbert", "bert"), ("roberta", "bert")])
def test_weights_of_another_architecture_than_the_config_says_are_named(tmp_path: Path, family: str, said: str):
    folder = configured(tiny.save_finetuned(tmp_path, family), model_type=said)
    assert f"; its names are those of a {family}, and config.json says another model_type" in refusal(folder)


@pytest.mark.parametrize("whole", [False, True])
def test_an_adapters_folder_is_named_as_one(tmp_path: Path, whole: bool):
    if whole:
        tiny.save_finetuned(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert refusal(tmp_path).startswith("is an adapter (adapter_config.json, LoRA), not a model; merge it")


@pytest.mark.parametrize("inner", ["checkpoint-500", "0_Transformer", "snapshots/0123"])
def test_a_folder_around_a_model_names_the_one_that_could_be_meant(tmp_path: Path, inner: str):
    tiny.save_finetuned(tmp_path / inner)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling/config.json").write_text("{}")
    assert refusal(tmp_path).startswith(f"no model here: config.json is in its folder {inner!r}; name {tmp_path}/")


def test_weights_of_another_name_and_links_to_nothing_are_named(tmp_path: Path):
    tiny.save_finetuned(tmp_path)
    (tmp_path / WEIGHTS).rename(tmp_path / "model.fp16.safetensors")
    assert "there is no model.safetensors, but model.fp16.safetensors; name it so" in refusal(tmp_path)
    (tmp_path / WEIGHTS).symlink_to("../../blobs/0123")
    assert "model.safetensors is a link to ../../blobs/0123, and nothing is there" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "PooledBertForSequenceClassification",
        "RobertaForSequenceClassification",
        "modeling.BertForSequenceClassification",
    ],
)
def test_a_class_of_other_code_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str):
    names = {"auto_map": {"AutoModelForSequenceClassification": name}} if "." in name else {"architectures": [name]}
    folder = configured(tiny.save_finetuned(tmp_path), **names)
    load_classifier(folder)
    said = f"is a {name} by its config.json, and computed as BertForSequenceClassification\n"
    assert capsys.readouterr().err.endswith(f"warning: {folder} {said}")


def test_another_kind_of_classifier_is_named(tmp_path: Path):
    folder = configured(tiny.save_finetuned(tmp_path, "modernbert"), architectures=["ModernBertForTokenClassification"])
    assert refusal(folder).startswith("is a ModernBertForTokenClassification")


def test_quantised_weights_are_refused(tmp_path: Path):
    folder = tiny.save_finetuned(tmp_path)
    said = refusal(configured(folder, quantization_config={"load_in_8bit": True}))
    assert said.startswith("config.json: quantization_config asks for quantised weights")
    configured(folder, quantization_config=None)
    key = "bert.encoder.layer.0.output.dense.weight"
    rewritten(folder, lambda weights: weights.update({key: weights[key].to(torch.int8)}))
    assert refusal(folder).startswith(f"weights can't be read: {key} is of type I8")


@pytest.mark.parametrize("content", [None, b"", b"text, and no tensors"])
def test_weights_that_cannot_be_read_are_refused(tmp_path: Path, content: bytes | None):
    tiny.save_finetuned(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    if content is not None:
        (tmp_path / WEIGHTS).write_bytes(content)
    assert refusal(tmp_path).startswith("weights can't be read: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float):
    key = "bert.encoder.layer.3.output.dense.bias"
    folder = rewritten(tiny.save_finetuned(tmp_path), lambda w: w | {key: torch.full_like(w[key], value)})
    assert refusal(folder) == f"weights can't be used: 1 hold NaN or infinity, first {key}"


@pytest.mark.parametrize(
    "shard", ["../model-1.safetensors", "deep/model-1.safetensors", "/model-1.safetensors", "a.bin"]
)
def test_an_index_leads_to_no_other_folder(tmp_path: Path, shard: str):
    folder = sharded(tiny.save_finetuned(tmp_path / "model"))
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["classifier.bias"] = shard
    (folder / INDEX).write_text(json.dumps(index))
    assert f"names {shard!r}, which is no safetensors file beside it" in refusal(folder)


def test_an_index_that_names_what_its_files_do_not_hold_is_refused(tmp_path: Path):
    folder = sharded(tiny.save_finetuned(tmp_path))
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["classifier.more"] = "model-1.safetensors"
    (folder / INDEX).write_text(json.dumps(index))
    assert "model-1.safetensors lacks classifier.more" in refusal(folder)
    (folder / "model-1.safetensors").unlink()
    assert "model-1.safetensors is missing" in refusal(folder)


# Configs


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    assert refusal(tmp_path) == "no model here: a local model is a folder with config.json"
    with pytest.raises(UserError, match="no model here"):
        load_classifier("./nowhere")


@pytest.mark.parametrize("content", ["{broken", "[]", '"text"', "3", "null", "", "{}", '{"model_type": 3}'])
def test_a_config_that_cannot_be_read_is_refused(tmp_path: Path, content: str):
    (tmp_path / "config.json").write_text(content)
    assert refusal(tmp_path).startswith(("no model can be read: ", "config.json: model_type must name an architecture"))


@pytest.mark.parametrize("kind", ["gpt2", "no-such-thing"])
def test_an_architecture_that_cannot_be_captured_is_refused_by_name(tmp_path: Path, kind: str):
    assert refusal(configured(tiny.save_finetuned(tmp_path), model_type=kind)) == (
        f"architecture {kind!r} can't be captured; these can: "
        "bert, camembert, deberta, deberta-v2, distilbert, electra, modernbert, mpnet, roberta, xlm-roberta"
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"is_decoder": True}, "config.json: is_decoder asks for a decoder"),
        ({"is_causal": True}, "config.json: is_causal asks for a decoder"),
        ({"num_hidden_layers": 10**9}, "config.json: num_hidden_layers must be at most 1000, found 1000000000"),
        (
            {"id2label": {"0": "bad", "2": "good"}},
            "config.json: id2label must number the labels from 0 on, found [0, 2]",
        ),
        ({"id2label": ["bad", "good"]}, "config.json: id2label must map numbers to names"),
        ({"id2label": {"0": None, "1": "x"}, "label2id": None}, "config.json: id2label must map numbers to names"),
        ({"id2label": {"0": {"name": "x"}}, "label2id": None}, "config.json: id2label must map numbers to names"),
        ({"id2label": {"0": "\ud800", "1": "x"}, "label2id": None}, "config.json: id2label must map numbers to names"),
        (
            {"num_labels": 0, "id2label": None, "label2id": None},
            "config.json: num_labels must be at least 1, found 0",
        ),
        ({"architectures": [3]}, "config.json: architectures must be a list of names, found [3]"),
        ({"quantization_config": {}}, "config.json: quantization_config asks for quantised weights"),
        (
            {"id2label": {"0": "x", "1": "x"}, "label2id": {"x": 1}},
            "config.json: id2label must give each label a name of its own, found ['x', 'x']",
        ),
        ({"label2id": {"bad": 1, "good": 0}}, "config.json: id2label and label2id contradict each other about 'bad'"),
        ({"num_labels": 5}, "config.json: num_labels and id2label differ: id2label has 2 labels"),
        ({"hidden_size": "wide"}, "no model can be read: "),
        ({"hidden_act": "no-such-act"}, "no model can be built: "),
        ({"num_attention_heads": 5}, "no model can be built: "),
        ({"layer_norm_eps": -1e9}, "the model can't compute: its logits for two tokens are "),
    ],
    ids=str,
)
def test_a_config_that_makes_no_sense_is_refused(tmp_path: Path, values: dict[str, Any], said: str):
    assert refusal(configured(tiny.save_finetuned(tmp_path), **values)).startswith(said)


def test_a_base_models_labels_do_not_matter(tmp_path: Path):
    pretrained(configured(tiny.save_finetuned(tmp_path), id2label={"0": "bad", "7": "good"}))


def test_a_weight_that_is_there_twice_is_named_by_both_names(tmp_path: Path):
    folder = rewritten(tiny.save_finetuned(tmp_path), lambda w: w.update({f"{NORM}.gamma": w[f"{NORM}.weight"] + 1}))
    assert refusal(folder).endswith(f"{NORM}.weight is there twice, as {NORM}.gamma and as {NORM}.weight")
