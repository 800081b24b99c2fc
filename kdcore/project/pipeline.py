"""The files of the pipeline, which are the same in every project, and what they ask of a params.yaml."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

STAGES = ("dvc.yaml", "stages/dvc.yaml")
DVC = ".dvc/config"  # no analytics, and links in place of copies
PACKED = Path(__file__).parent / "files"  # in a wheel
CLONE = Path(__file__).parents[2]  # else they lie at the root of the clone that this module is part of


def text(name: str) -> str:
    """params.yaml, DVC, or one of STAGES, as kdcore comes with it."""
    folder = PACKED if PACKED.is_dir() else CLONE
    return (folder / name).read_text(encoding="utf-8")


def asked() -> set[str]:
    """The dotted keys of params.yaml that DVC looks up: it compares them, or puts them into a command line."""
    keys: set[str] = set()
    for name in STAGES:
        source = text(name)
        keys |= {key for key in re.findall(r"\$\{([\w.]+)", source) if not key.startswith("item.")}
        for stage in YAML(typ="safe", pure=True).load(source)["stages"].values():
            keys |= {key.partition(".${")[0] for key in stage.get("params", ())}
    return keys


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
