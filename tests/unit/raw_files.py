"""Small raw data sets and params files for the tests of what reads them."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from kdcore.data.tables import Raw
from kdcore.data.tasks import Task
from kdcore.params.sections import Data

ROOT = Path(__file__).parents[2]
_PARAMS = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))
GLUE = ROOT.parent / "shared" / "data" / "glue"

REVIEWS = Task("reviews", ("review",), "stars", ("bad", "good"), ("accuracy",))
OWN_TASK = {"mine": {"text": ["text"], "label": "label", "labels": ["bad", "good"], "metrics": ["accuracy"]}}
PAIRS = Task("pairs", ("left", "right"), "label", ("no", "maybe", "yes"), ("accuracy",))
SCORES = Task("scores", ("left", "right"), "label", (), ("pearson",))

GOOD = "review\tstars\nfine film\tgood\ndull film\tbad\nlovely film\tgood\n"
VALIDATION = "review\tstars\na good one\tgood\na bad one\tbad\n"


def data(path: Path, source: str = "local", columns: Mapping[str, str] | None = None) -> Data:
    """The data section that reads <path>/<task>/."""
    fields = {"source": source, "path": str(path), "hub": str(path), "revision": "main"}
    return Data.model_validate({**fields, "columns": dict(columns or {})})


def write(root: Path, task: str, files: Mapping[str, str | bytes]) -> Path:
    """<root>/<task>/ with these files; text is written as UTF-8, byte for byte."""
    folder = root / task
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def in_memory(raw: Raw) -> dict[str, pd.DataFrame]:
    """Our split name -> frame with the task's own column names."""
    return {split: table.frame for split, table in raw.tables.items()}


def all_params() -> dict[str, Any]:
    """params.yaml as it is in the repository, as a plain mapping."""
    return copy.deepcopy(_PARAMS)


def write_params(path: Path, changes: Mapping[str, Any], without: str = "") -> Path:
    """params.yaml with some keys changed or added (dotted), and perhaps one left out."""
    found = all_params()
    for key, value in changes.items():
        _section(found, key)[key.split(".")[-1]] = value
    if without:
        del _section(found, without)[without.split(".")[-1]]
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(found, file)
    return path


def _section(found: dict[str, Any], key: str) -> dict[str, Any]:
    for part in key.split(".")[:-1]:
        found = found[part]
    return found
