"""Names of models in params.yaml → where their files are, what determines them, and their tokenizers."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from kdcore.artefacts import digest, sha256
from kdcore.data import embedded
from kdcore.errors import UserError
from kdcore.model.encoder import load_config
from kdcore.model.positions import positions


def resolve(name: str) -> str | Path:
    """Where transformers finds the model: the embedded one's folder, a local folder, or a hub name."""
    if name == "embedded":
        return embedded.find(embedded.MODEL)
    if name in embedded.TWELVE:
        return embedded.find(name)
    return Path(name).expanduser() if Path(name).expanduser().is_dir() or name.startswith((".", "/", "~")) else name


def identity(name: str, revision: str | None) -> str:
    """What determines a model's weights: the files of a local folder, the commit of a hub model."""
    place = resolve(name)
    if isinstance(place, Path):
        load_config(place)  # raises UserError where there is no model
        files = sorted(p for p in place.iterdir() if p.suffix in (".json", ".safetensors", ".txt", ".model"))
        return digest({path.name: sha256(path) for path in files})
    return digest([name, getattr(load_config(place, revision=revision), "_commit_hash", revision)])


def tokenizer_of(place: str | Path, **kwargs: Any) -> Any:
    """A model's tokenizer. Raises UserError where it has none."""
    try:
        found = AutoTokenizer.from_pretrained(place, **kwargs)
    except (OSError, ValueError) as error:
        raise UserError(str(place), f"no tokenizer can be read: {str(error).splitlines()[0]}") from error
    if set(found.get_vocab()) <= set(found.all_special_tokens):  # transformers makes one up, which knows no word
        raise UserError(str(place), "no tokenizer can be read: its files are missing, or hold no vocabulary")
    return found


def check_length(config: Any, max_length: int, name: str | Path) -> None:
    """Raises UserError where the model has fewer positions than `max_length` tokens need."""
    most = positions(config.to_dict())
    if most is not None and max_length > most:
        raise UserError("model.max_length", f"at most {most} for {name}, found {max_length}")
