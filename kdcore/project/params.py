"""The params.yaml of a new project: what was chosen for it, what DVC looks up, and nothing else."""

from collections.abc import Mapping
from typing import Any

from kdcore.params.sections import Params
from kdcore.project.pipeline import STAGES, asked, explained, flow, own

HEAD = """\
# What this project distils. `kdcore params` prints every knob with what it means; one that is left out has its default.
# Change a value, run `dvc repro`, and only what it touches runs again. DVC looks at every key that stands here, so
# leave them, also where a section is empty.
"""
COLUMN, WIDTH = 36, 120  # where explanations begin; and where those end that stand behind a whole section
# Of knobs whose line in kdcore's own params.yaml tells of what comes with a clone.
NOTES = {
    "tasks": "names under `task:`",
    "data.source": "local | hub",
    "model.name": "local folder | hub name: an encoder, for teacher.finetuned: null and student.init: pretrained",
    "teacher.finetuned": "local folder | hub name of a classifier, which is used as it is; null tunes model.name",
    "report.texts": "true: error analysis and attention maps quote validation texts, into metrics/ and so into git",
    "study": "each runs only when named: dvc repro stages/dvc.yaml:depth",
}


def params_text(chosen: Mapping[str, Any]) -> str:
    """chosen: dotted key -> value. What DVC looks up beside that has its default."""
    usual, notes = Params(tasks=chosen["tasks"]).model_dump(mode="json"), explained() | NOTES
    keys, lines = {*asked(map(own, STAGES)), *chosen}, [HEAD]
    for name in Params.model_fields:
        lines += _lines(name, usual[name], keys, chosen, notes)
    return "\n".join(lines) + "\n"


def _lines(key: str, usual: Any, keys: set[str], chosen: Mapping[str, Any], notes: Mapping[str, str]) -> list[str]:
    """The line of a knob, or of a section: that has a line for each of its knobs where one was chosen.

    A study has one line, whatever was chosen.
    """
    depth, name, note = key.count("."), key.rpartition(".")[2], notes.get(key, "")
    value, parts = _value(key, usual, keys, chosen), _parts(key, usual, keys)
    if not parts or (key != "study" and (depth or not any(one.startswith(f"{key}.") for one in chosen))):
        return [_line(depth, f"{name}: {flow(value)}", note)]
    nested = [line for part in parts for line in _lines(f"{key}.{part}", usual.get(part), keys, chosen, notes)]
    return [_line(depth, f"{name}:", note), *nested]


def _value(key: str, usual: Any, keys: set[str], chosen: Mapping[str, Any]) -> Any:
    """A knob's value, or a section with what is named of it alone."""
    if key in chosen or not isinstance(usual, dict):
        return chosen.get(key, usual)
    return {part: _value(f"{key}.{part}", usual.get(part), keys, chosen) for part in _parts(key, usual, keys)}


def _parts(key: str, usual: Any, keys: set[str]) -> list[str]:
    """What is named of a section, in its order."""
    named = {one.removeprefix(f"{key}.").partition(".")[0] for one in keys if one.startswith(f"{key}.")}
    return [*(part for part in usual if part in named), *sorted(named - usual.keys())] if named else []


def _line(depth: int, text: str, note: str) -> str:
    written = "  " * depth + text
    explained = f"{written:<{COLUMN - 2}}  # {note}"
    return explained if note and (not text.endswith("}") or len(explained) <= WIDTH) else written
