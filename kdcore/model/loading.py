"""A classifier's weights, from a folder or the hub: proved whole before any is used.

Every weight that the model computes with was in the file, and every weight of the file that belongs to the encoder or
its head is computed with. Only `load_pretrained` may draw a new head, and says so. No code comes from a model, and no
pickle is opened.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from kdcore.console import say, warn
from kdcore.errors import UserError, shown
from kdcore.model import foreign
from kdcore.model.config import find_file, load_config, readable
from kdcore.model.families import family

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
PROBLEM = "weights can't be read"

# A file may hold these beside the model: buffers of older versions, and the heads of pre-training.
UNUSED = re.compile(
    r"(^|\.)(position_ids|token_type_ids|inv_freq)$"
    r"|^(cls|lm_head|decoder|predictions|discriminator_predictions|generator_predictions|generator_lm_head)\."
    r"|^(lm|mask)_predictions\."
    r"|^vocab_(transform|layer_norm|projector)\."
)


def load_classifier(name: str | Path, revision: str | None = None) -> Any:
    """A sequence classifier as its file has it. Raises UserError where any of it is missing or not understood."""
    config = load_config(name, revision)
    named = config.architectures or ()
    if others := [kind for kind in named if "For" in kind and "ForSequenceClassification" not in kind]:
        raise UserError(str(name), f"is a {others[0]} by its config.json (architectures), not a sequence classifier")
    model = _load(name, config, new_head=False)
    if named and type(model).__name__ not in named:  # a class of its own may compute something else of the same weights
        warn(f"{name} is a {named[0]} by its config.json, and computed as {type(model).__name__}")
    return model


def load_pretrained(name: str | Path, revision: str | None, labels: Mapping[str, Any], pooler: bool = True) -> Any:
    """A pre-trained encoder as a classifier with these labels (`labels_of`; {} where only the encoder is asked for,
    and its pooler where `pooler` says so).

    What its file lacks above the layers is drawn from torch's generator. So is the output layer where the file's is for
    another number of labels. A line on stdout says so. Raises UserError where any of the encoder is missing or not
    understood.
    """
    said_of = "" if labels else "pooler" if pooler else None
    return _load(name, load_config(name, revision, labels), new_head=True, said_of=said_of)


@dataclass(frozen=True)
class Stored:
    """A tensor of a file, not read yet."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def _load(name: str | Path, config: Any, new_head: bool, said_of: str | None = "") -> Any:
    place, commit = str(name), config._commit_hash
    with readable(place, "no model can be built"), torch.device("meta"):  # shapes, without memory for weights
        plan = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, attn_implementation="eager")
    stored = _named_alike(place, plan, _tensors(name, config))
    kept, drawn = _matched(place, plan, stored, new_head)
    if new := sorted({key.rpartition(".")[0] for key in drawn if said_of is not None and said_of in key}):
        others = next((f" (the file's is for {stored[key].shape[0]} labels)" for key in drawn if key in stored), "")
        verb = "is" if len(new) == 1 else "are"
        say(f"model: {place} gives the encoder; {' and '.join(new)} {verb} new, drawn at random{others}")
    with readable(place, PROBLEM):
        # transformers draws what the weights lack, in its usual order.
        model, report = type(plan).from_pretrained(
            None,
            config=config,
            state_dict=_read(kept),
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    if any(set(report[kind]) - drawn for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        raise UserError(place, f"{PROBLEM}: transformers did not take them as they are: {shown(report)}")
    model.config._name_or_path, model.config._commit_hash = place, commit
    _check_computes(place, model)
    return model


def _tensors(name: str | Path, config: Any) -> list[Stored]:
    """What the weights' files hold. Raises UserError where there is none that can be read."""
    place = str(name)
    if isinstance(name, Path) or Path(name).is_dir():
        foreign.check_adapter(Path(name))
    with readable(place, PROBLEM):
        files = _files(name, config._commit_hash)
        if not files:
            raise UserError(place, f"{PROBLEM}: {foreign.without_safetensors(Path(name), WEIGHTS)}")
        return [tensor for file, listed in files.items() for tensor in _header(place, file, listed)]


def _files(name: str | Path, commit: str | None) -> dict[Path, list[str]]:
    """The safetensors files, each with the names that an index lists for it."""
    if whole := find_file(name, WEIGHTS, commit):
        return {whole: []}
    index = find_file(name, INDEX, commit)
    if index is None:
        return {}
    content = json.loads(index.read_text(encoding="utf-8"))
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict) or not shards or not all(isinstance(shard, str) for shard in shards.values()):
        raise UserError(str(name), f"{PROBLEM}: weight_map in {INDEX} must map each weight to its file")
    files: dict[Path, list[str]] = {}
    for shard in sorted(set(shards.values())):
        # The model's identity is that of the files in its folder.
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise UserError(str(name), f"{PROBLEM}: {INDEX} names {shard!r}, which is no safetensors file beside it")
        file = find_file(name, shard, commit)
        if file is None:
            raise UserError(str(name), f"{PROBLEM}: {shard} is missing, which {INDEX} names")
        files[file] = [key for key, own in shards.items() if own == shard]
    return files


def _header(place: str, file: Path, listed: list[str]) -> list[Stored]:
    foreign.check_pointer(place, file)
    with safe_open(file, "pt") as opened:
        names = list(opened.keys())
        if lost := sorted(set(listed) - set(names)):
            raise UserError(place, f"{PROBLEM}: {file.name} lacks {_some(lost)}, which {INDEX} names")
        parts = {name: opened.get_slice(name) for name in names}
        return [Stored(file, name, tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()]


def _read(kept: Mapping[str, Stored]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for file in sorted({tensor.file for tensor in kept.values()}):
        with safe_open(file, "pt") as opened:
            weights |= {key: opened.get_tensor(tensor.name) for key, tensor in kept.items() if tensor.file == file}
    return weights


def _named_alike(place: str, plan: Any, tensors: Iterable[Stored]) -> dict[str, Stored]:
    """The file's tensors by the model's names: a bare encoder's lack its prefix, old files say gamma and beta."""
    wanted, prefix = plan.state_dict(), f"{plan.base_model_prefix}."
    parts = tuple(f"{part}." for part, _ in plan.base_model.named_children())
    named: dict[str, Stored] = {}
    for tensor in tensors:
        key = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", tensor.name)
        key = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", key)
        if key not in wanted and key.startswith(parts):
            key = prefix + key
        if key in named:
            raise UserError(place, f"{PROBLEM}: {key} is there twice, as {named[key].name} and as {tensor.name}")
        named[key] = tensor
    return named


def _matched(place: str, plan: Any, stored: Mapping[str, Stored], new_head: bool) -> tuple[dict[str, Stored], set[str]]:
    """The tensors that the model takes, and the names of those to draw. Raises UserError that names every misfit."""
    wanted = {key: tuple(weight.shape) for key, weight in plan.state_dict().items()}
    prefix = f"{plan.base_model_prefix}."
    pooler = (f"{prefix}pooler.", "pooler.")
    output = f"{family(plan.config.model_type, place).output}."
    kept = {key: tensor for key, tensor in stored.items() if key in wanted}
    if new_head:  # an output layer for other labels is not taken
        kept = {key: one for key, one in kept.items() if one.shape == wanted[key] or not key.startswith(output)}
    drawn = set(wanted) - set(kept)
    # Encoders without a pooler are published, and so are poolers that the classifier of the family has no use for.
    lost = {key for key in drawn if key.startswith(prefix) and not key.startswith(pooler)} if new_head else drawn
    # Its class names more: DeBERTa's files have position embeddings, also where the config has no use for them.
    known = [UNUSED, *map(re.compile, plan._keys_to_ignore_on_load_unexpected or ())]
    unused = {key for key in stored if key not in wanted and not key.startswith(pooler)}
    unused = {key for key in unused if not any(pattern.search(key) for pattern in known)}
    if new_head:  # the heads of other tasks do no harm
        unused = {key for key in unused if key.startswith(prefix)}
    in_file = {key: tensor.name for key, tensor in stored.items()}
    problems = []
    if lost:
        why = foreign.renamed(in_file.values(), wanted, prefix)
        problems.append(f"{len(lost)} missing from its file: {_some(lost)}{why}")
    if unused:
        names = _some(in_file[key] for key in unused)
        problems.append(f"{len(unused)} in its file that the model does not use: {names}")
    problems += _other_shapes(kept, wanted, plan.config)
    if quantised := sorted(key for key, tensor in kept.items() if tensor.dtype not in FLOATS):
        kind = kept[quantised[0]].dtype
        problems.append(f"{quantised[0]} is of type {kind}, as quantised weights are: save the model in float32")
    if getattr(plan.config, "position_embedding_type", None) not in (None, "absolute"):
        problems.append(
            f"config.json asks for position_embedding_type {shown(plan.config.position_embedding_type)}, which "
            "transformers no longer computes; it must be 'absolute'"
        )
    if problems:
        raise UserError(place, [f"{PROBLEM}: {problem}" for problem in problems])
    return kept, drawn


def _some(keys: Iterable[str]) -> str:
    first, rest = sorted(keys)[:4], sorted(keys)[4:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")


def _other_shapes(kept: Mapping[str, Stored], wanted: Mapping[str, tuple[int, ...]], config: Any) -> list[str]:
    """The tensors of another shape than the config asks for, by the keys whose value is the size that differs."""
    values = {**config.to_dict(), "the labels of id2label": config.num_labels}
    named: dict[str, list[str]] = {}
    for key in sorted(kept, key=lambda key: (-len(wanted[key]), key)):  # weights before biases
        stored, own = kept[key].shape, wanted[key]
        if stored != own:
            sizes = {size for size, other in zip(own, stored, strict=False) if size != other} or set(own)
            keys = " or ".join(name for name, value in values.items() if type(value) is int and value in sizes)
            text = f"{key} is {list(stored)} in its file, and {list(own)} by config.json"
            named.setdefault(keys, []).append(f"{text} ({keys})" if keys else text)
    return [first + (f", and {len(rest)} more likewise" if rest else "") for first, *rest in named.values()]


def _check_computes(place: str, model: Any) -> None:
    """Raises UserError where weights, or the logits of two tokens and a padding, are not finite numbers."""
    broken = [key for key, weight in model.named_parameters() if not weight.isfinite().all()]
    if broken:
        raise UserError(place, f"weights can't be used: {len(broken)} hold NaN or infinity, first {broken[0]}")
    with readable(place, "the model can't compute"), torch.no_grad():
        tokens, mask = torch.zeros(1, 3, dtype=torch.int64), torch.tensor([[1, 1, 0]])
        logits = model(input_ids=tokens, attention_mask=mask).logits
        if logits.shape != (1, model.config.num_labels) or not logits.isfinite().all():
            raise ValueError(f"its logits for two tokens are {logits.tolist()}")
