"""Folders that are not a model as it should be: what each one is, and the one line that makes it a model."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from kdcore.artefacts import LFS
from kdcore.errors import UserError
from kdcore.model.families import FAMILIES

OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf")


def folder_without_config(folder: Path) -> str | None:
    """What a folder without config.json is, where that can be told."""
    check_adapter(folder)
    if not folder.is_dir():
        return None
    places = [path.parent for path in (*folder.glob("*/config.json"), *folder.glob("snapshots/*/config.json"))]
    models = [place for place in places if any(place.glob("*.safetensors")) or any(place.glob("*.bin"))] or places
    if inside := sorted(str(place.relative_to(folder)) for place in models):
        return f"config.json is in its folder {inside[-1]!r}; name {folder / inside[-1]}"
    return None


def check_adapter(folder: Path) -> None:
    """Raises UserError for a folder with a LoRA adapter: on its own, or beside weights that may have it or not."""
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            str(folder),
            "is an adapter (adapter_config.json, LoRA), not a model; merge it into its model, and name the result: "
            'python -c "from peft import AutoPeftModelForSequenceClassification as M; '
            f"M.from_pretrained('{folder}').merge_and_unload().save_pretrained('merged')\"",
        )


def check_pointer(folder: str, file: Path) -> None:
    """Raises UserError for a Git LFS pointer, which a clone without Git LFS has in the place of the weights."""
    with file.open("rb") as opened:
        if opened.read(len(LFS)) == LFS:
            raise UserError(folder, f"{file.name} is a Git LFS pointer; run `git lfs pull` where it lies")


def without_safetensors(folder: Path, wanted: str) -> str:
    """What weights a model without safetensors has."""
    if (folder / wanted).is_symlink():
        return f"{wanted} is a link to {os.readlink(folder / wanted)}, and nothing is there"
    others = sorted(path.name for pattern in OTHER_WEIGHTS for path in folder.glob(pattern)) if folder.is_dir() else []
    if "pytorch_model.bin" in others:
        return (
            "pytorch_model.bin is a pickle, which could run code and is never opened; convert it: "
            'python -c "import torch, safetensors.torch as s; '
            f"w = torch.load('{folder}/pytorch_model.bin', map_location='cpu', weights_only=True); "
            f"s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, '{folder}/{wanted}', "
            "{'format': 'pt'})\""
        )
    if alike := sorted(path.name for path in folder.glob("*.safetensors")):
        return f"there is no {wanted}, but {', '.join(alike[:3])}; name it so, or add the index where it is a part"
    if others:
        return (
            f"{', '.join(others[:3])} is not safetensors; load it with the library that wrote it, and save it as "
            f"{wanted} (save_pretrained)"
        )
    return f"there is no {wanted}"


def renamed(stored: Iterable[str], wanted: Iterable[str], prefix: str) -> str:
    """Why names are not those of the model, where that can be told, and how to put it right."""
    names = list(stored)
    if any("lora_" in name or ".base_layer." in name for name in names):
        return "; a LoRA adapter is in it that was not merged: merge_and_unload() before it is saved"
    targets = set(wanted) | {key.removeprefix(prefix) for key in wanted}
    other = [name for name in names if name not in targets]
    before = Counter(name[: -len(key)] for name in other for key in targets if name.endswith(f".{key}"))
    if not before:
        return ""
    if (family := min(before, key=len).rstrip(".")) in FAMILIES:
        return f"; its names are those of a {family}, and config.json says another model_type"
    # The longest of those that most weights have: `module.` rather than `module.bert.`, which is bare names' alone.
    most = max(before.values())
    extra = min((start for start, count in before.items() if count == most), key=len)
    return (
        f"; {most} of its names begin with {extra!r}, as a wrapper leaves them; write it without: "
        "python -c \"import safetensors.torch as s; f = 'model.safetensors'; "
        f"s.save_file({{k.removeprefix('{extra}'): v for k, v in s.load_file(f).items()}}, f, {{'format': 'pt'}})\""
    )
