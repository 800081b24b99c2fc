"""The files of the pipeline, which are the same in every project, and what they ask of a params.yaml."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from kdcore.errors import UserError
from kdcore.params.sections import Params
from kdcore.params.text import read_mapping

STAGES = ("dvc.yaml", "stages/dvc.yaml")
DVC = ".dvc/config"  # no analytics, and links in place of copies
PACKED = Path(__file__).parent / "files"  # in a wheel
CLONE = Path(__file__).parents[2]  # else they lie at the root of the clone that this module is part of


def text(name: str) -> str:
    """params.yaml, DVC, or one of STAGES, as kdcore comes with it."""
    folder = PACKED if PACKED.is_dir() else CLONE
    return (folder / name).read_text(encoding="utf-8")


def own(name: str) -> str:
    """One of STAGES as a project of the user's own has it: without GLUE's study, whose rows and encoder it lacks."""
    without = re.sub(r"^  glue(-\w+)?:.*\n(?:(?:    .*)?\n)*", "", text(name), flags=re.MULTILINE)
    return re.sub(r"^  - \S+/metrics/glue/.*\n", "", without, flags=re.MULTILINE)


def asked(sources: Iterable[str]) -> set[str]:
    """The dotted keys of params.yaml that DVC looks up for these stages: it compares them, or puts them into commands.

    sources: the texts of STAGES.
    """
    keys: set[str] = set()
    for source in sources:
        keys |= {key for key in re.findall(r"\$\{([\w.]+)", source) if not key.startswith("item.")}
        for stage in YAML(typ="safe").load(source)["stages"].values():
            listed = (key for key in stage.get("params", ()) if isinstance(key, str))
            keys |= {key.partition(".${")[0] for key in listed}
    return keys


def check_asked(params: str) -> None:
    """Raises UserError that names each key which the stages here look up and the file `params` lacks.

    DVC itself finds a stage's out when the stage has run.
    """
    written, usual = read_mapping(params), Params(tasks=("any",)).model_dump(mode="json")
    keys = asked(Path(name).read_text(encoding="utf-8") for name in STAGES if Path(name).is_file())
    lost = [key for key in sorted(keys) if _at(written, key) is _ABSENT and _at(usual, key) is not _ABSENT]
    if lost:
        problem = "must be there, as DVC looks it up; its default is"
        shown = {key: {} if isinstance(_at(usual, key), dict) else _at(usual, key) for key in lost}
        raise UserError(params, [f"{key}: {problem} {flow(value)}" for key, value in shown.items()])


_ABSENT = object()


def _at(mapping: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(mapping, Mapping) or part not in mapping:
            return _ABSENT
        mapping = mapping[part]
    return mapping


def explained() -> dict[str, str]:
    """Dotted key of params.yaml -> what its line says of it, less the default."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in text("params.yaml").splitlines():
        if match := re.match(r"( *)(\w+):[^#]*(?:# (.*))?$", line):
            above[len(match[1]) // 2 :] = [match[2]]
            found[".".join(above)] = re.sub(r"; (default: \S+|no default)$", "", match[3] or "")
    return found


def flow(value: Any) -> str:
    """A value as YAML in one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return str(value) if not isinstance(value, str) or _plain(value) else _quoted(value)


def _plain(value: str) -> bool:
    """Whether it is text without quotes; words that YAML 1.1 takes for true or false are not."""
    words = ("no", "yes", "on", "off", "true", "false", "null", "n", "y")
    return bool(re.fullmatch(r"[A-Za-z_./][\w./-]*", value)) and value.casefold() not in words


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
