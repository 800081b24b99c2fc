"""A model's config, from a folder or the hub. It says what is computed, not how, and not by whose code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, dynamic_module_utils
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils.hub import cached_file, resolve_revision

from kdcore.console import count_of
from kdcore.errors import UserError, one_line, shown
from kdcore.model import foreign
from kdcore.model.families import OFFSET, family
from kdcore.model.places import is_path

dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # else it asks in a terminal whether to run a model's own code

# Keys of a config that choose how it is computed or handed out, not what: here they have one value for every model.
HOW = (
    *("_attn_implementation", "_attn_implementation_internal", "attn_implementation", "_experts_implementation"),
    *("auto_map", "chunk_size_feed_forward", "device_map", "dtype", "output_attentions", "output_hidden_states"),
    *("reference_compile", "return_dict", "torch_dtype", "torchscript", "use_return_dict", "_name_or_path"),
)
DECODING = ("is_decoder", "is_causal", "add_cross_attention")
CLASSIFIER = "AutoModelForSequenceClassification"
LABELS = ("num_labels", "id2label", "label2id", "problem_type")
MOST = {"num_hidden_layers": 1_000, "n_layers": 1_000, "num_labels": 1_000_000}  # beyond it is a slip, and costs hours


@contextmanager
def readable(source: str, problem: str) -> Iterator[None]:
    """Whatever the body raises over a broken file becomes a UserError: transformers and tokenizers raise anything."""
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # a panic of Rust code
            raise
        text = one_line(error) or type(error).__name__
        said = text if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {text}"
        raise UserError(source, f"{problem}: {said[:200]}") from error


def load_config(name: str | Path, revision: str | None = None, labels: Mapping[str, Any] | None = None) -> Any:
    """A model's config; its _commit_hash is the commit on a hub that `revision` means, whose files are then read.

    labels: what takes the place of the file's keys LABELS, for a head of one's own; {} drops them.
    Raises UserError where there is none, or where it asks for what can't be computed here.
    """
    place = str(name)
    if (isinstance(name, Path) or is_path(name)) and not (Path(name) / "config.json").is_file():
        hint = foreign.folder_without_config(Path(name))
        raise UserError(place, f"no model here: {hint or 'a local model is a folder with config.json'}")
    with readable(place, "no model can be read"):
        revision = None if Path(place).is_dir() else resolve_revision(place, revision)
        raw, _ = PreTrainedConfig.get_config_dict(name, revision=revision)
        if not isinstance(raw, dict):
            raise ValueError(f"config.json holds no object but {shown(raw)}")
    raw.pop("_commit_hash", None)
    problems = _problems(raw, place)
    code = raw.get("auto_map")
    if isinstance(code, dict) and isinstance(own := code.get(CLASSIFIER), str):
        raw["architectures"] = [own]  # a class of the model's own code, of whatever name
    raw = {key: value for key, value in raw.items() if key not in HOW}
    if labels is None:
        problems += _number_labels(raw)
    else:
        raw = {key: value for key, value in raw.items() if key not in LABELS} | dict(labels)
    if problems:
        raise UserError(place, [f"config.json: {problem}" for problem in problems])
    with readable(place, "no model can be read"):
        config = CONFIG_MAPPING[raw["model_type"]].from_dict(raw)
    config._name_or_path, config._commit_hash = place, getattr(revision, "resolved", revision)
    if config.model_type in OFFSET and config.pad_token_id is None:
        config.pad_token_id = type(config)().pad_token_id  # without one transformers computes no position
    return config


def labels_in(config: Any) -> tuple[str, ...]:
    """The labels of a classifier's config, by id; none of one with a single output."""
    return tuple(str(config.id2label[index]) for index in range(config.num_labels)) if config.num_labels > 1 else ()


def _problems(raw: dict[str, Any], place: str) -> list[str]:
    """What can't be computed here."""
    kind = raw.get("model_type")
    if not isinstance(kind, str):
        raise UserError(place, f"config.json: model_type must name an architecture, found {shown(kind)}")
    family(kind, place)
    kinds = raw.get("architectures")
    if not isinstance(kinds, list | None) or not all(isinstance(one, str) for one in kinds or ()):
        raise UserError(place, f"config.json: architectures must be a list of names, found {shown(kinds)}")
    problems = [f"{key} asks for a decoder" for key in DECODING if raw.get(key)]
    problems += [
        f"{key} asks for quantised weights; save the model without it"
        for key in ("quantization_config", "compression_config")
        if raw.get(key) is not None
    ]
    return problems + [
        f"{key} must be at most {most}, found {shown(raw[key])}"
        for key, most in MOST.items()
        if isinstance(raw.get(key), (int, float)) and raw[key] > most
    ]


def _number_labels(raw: dict[str, Any]) -> list[str]:
    """Number the file's labels from 0, in place; returns what is wrong with them.

    Labels numbered from 1 without a gap are taken in that order; where only label2id is there, it is turned round.
    """
    names, ids = raw.get("id2label"), raw.pop("label2id", None)
    try:
        ids = {_plain(name): int(index) for name, index in (ids or {}).items()}
        names = {int(index): _plain(name) for index, name in names.items()} if names else {i: n for n, i in ids.items()}
    except (AttributeError, TypeError, ValueError):
        return [f"id2label must map numbers to names, found {shown(raw.get('id2label') or ids)}"]
    if not names:
        raw.pop("id2label", None)
        count = raw.get("num_labels")
        return [f"num_labels must be at least 1, found {count}"] if isinstance(count, int) and count < 1 else []
    order = sorted(names)
    if order not in (list(range(len(names))), list(range(1, len(names) + 1))):
        return [f"id2label must number the labels from 0 on, found {shown(order)}"]
    if len(set(names.values())) < len(names):
        return [f"id2label must give each label a name of its own, found {shown(list(names.values()))}"]
    if wrong := [name for name in sorted(ids) if name in names.values() and names.get(ids[name]) != name]:
        return [f"id2label and label2id contradict each other about {shown(wrong[0])}"]
    if raw.pop("num_labels", len(names)) != len(names):
        return [f"num_labels and id2label differ: id2label has {count_of(len(names), 'label')}"]
    raw["id2label"] = {place: names[index] for place, index in enumerate(order)}
    raw["label2id"] = {name: index for index, name in raw["id2label"].items()}
    return []


def _plain(name: Any) -> str:
    """A label's name as text. Raises TypeError or ValueError for what is none, or has no bytes."""
    if not isinstance(name, str | int | float):
        raise TypeError(f"a name is {name!r}")
    return str(name).encode().decode()


def find_file(name: str | Path, file: str, revision: str | None, needed: bool = True) -> Path | None:
    """A file of the model in a folder, or of that revision on a hub; None where it has no such file.

    needed: whether a hub that can't be asked is an error where its cache has no such file either.
    """
    if Path(name).is_dir():
        return Path(name) / file if (Path(name) / file).is_file() else None
    raises = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": needed}
    found = cached_file(str(name), file, revision=revision, **raises)
    return None if found is None else Path(found)
