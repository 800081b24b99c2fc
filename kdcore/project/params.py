"""The params.yaml of a new project: what was chosen for it, what DVC looks up, and nothing else."""

from collections.abc import Mapping
from typing import Any

from kdcore.params.sections import Params
from kdcore.project.pipeline import STAGES, asked, explained, flow, text

HEAD = """\
# What this project distils. `kdcore params` prints every knob with what it means; one that is left out has its default.
# Change a value, run `dvc repro`, and only what it touches runs again. DVC looks at every key that stands here, so
# leave them, also where a section is empty.
"""
COLUMN = 36  # where explanations begin


def params_text(chosen: Mapping[str, Any]) -> str:
    """chosen: dotted key -> value. What DVC looks up beside that has its default."""
    usual, notes = Params(tasks=chosen["tasks"]).model_dump(mode="json"), explained()
    keys, lines = {*asked(map(text, STAGES)), *chosen}, [HEAD]
    for name in Params.model_fields:
        lines += _lines(name, usual[name], keys, chosen, notes)
    return "\n".join(lines) + "\n"


def _lines(key: str, usual: Any, keys: set[str], chosen: Mapping[str, Any], notes: Mapping[str, str]) -> list[str]:
    """The line of a knob, or those of a section, which is empty where nothing of it is named."""
    depth, name, note = key.count("."), key.rpartition(".")[2], notes.get(key, "")
    if key in chosen or not isinstance(usual, dict):
        return [_line(depth, f"{name}: {flow(chosen.get(key, usual))}", note)]
    named = {one.removeprefix(f"{key}.").partition(".")[0] for one in keys if one.startswith(f"{key}.")}
    inner = [*(part for part in usual if part in named), *sorted(named - usual.keys())]
    nested = [line for part in inner for line in _lines(f"{key}.{part}", usual.get(part), keys, chosen, notes)]
    return [_line(depth, f"{name}:" if nested else f"{name}: {{}}", note), *nested]


def _line(depth: int, text: str, note: str) -> str:
    written = "  " * depth + text
    return f"{written:<{COLUMN - 1}} # {note}" if note else written
