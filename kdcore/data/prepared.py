"""A prepared task, data/<task>/: its rows and description, verified against provenance.json whenever read."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kdcore.data import tasks
from kdcore.data.tasks import Task
from kdcore.errors import UserError

RERUN = "run `dvc repro -f prepare`"
PROVENANCE = "provenance.json"
TASK = "task.json"


def combined(files: dict[str, str]) -> str:
    """The fingerprint: sha256 over the names and hashes of task.json and the split files."""
    return sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def provenance(folder: Path | str) -> dict[str, Any]:
    """What provenance.json says, and "files", the expected sha256 by file name.

    Raises UserError where it is missing, or its hashes are not those that were written.
    """
    path = Path(folder) / PROVENANCE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        files = {TASK: found["task_sha256"]}
        files |= {f"{split}.parquet": facts["sha256"] for split, facts in found["splits"].items()}
        plain = all(re.fullmatch(r"[a-z_]+", split) for split in found["splits"])
        whole = plain and combined(files) == found["fingerprint"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(str(path), f"cannot be read ({type(error).__name__}: {error}); {RERUN}") from error
    if not whole:
        raise UserError(str(path), f"was changed after it was written: its fingerprint does not fit; {RERUN}")
    return {**found, "files": files}


def _verified(folder: Path | str, name: str, expected: str) -> bytes:
    """The bytes of one file, which are those that were written; what is checked is what is used."""
    path = Path(folder) / name
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror}); {RERUN}") from error
    found = sha256(raw).hexdigest()
    if found != expected:
        problem = f"was changed after it was written: sha256 must be {expected}, found {found}"
        raise UserError(str(path), f"{problem}; {RERUN}")
    return raw


def splits(folder: Path | str) -> tuple[str, ...]:
    """The names of the splits that are there, train first."""
    return tuple(provenance(folder)["splits"])


def load_split(folder: Path | str, split: str) -> pd.DataFrame:
    """Rows of one split in nested order: the first n are the stratified subset of size n.

    Columns: row (int64, in the source), text_a (str), text_b (str, null for single texts), label (Int64 ids,
    or float64 for a regression; null = unlabelled). Raises UserError for an absent, missing or changed split.
    """
    facts = provenance(folder)
    if split not in facts["splits"]:
        raise UserError(str(folder), f"has no split {split!r}, has {', '.join(facts['splits'])}")
    name = f"{split}.parquet"
    table = pq.read_table(pa.BufferReader(_verified(folder, name, facts["files"][name])))
    kind = "float64" if pa.types.is_floating(table.schema.field("label").type) else "Int64"
    label = table.column("label").to_pylist()  # not through floats, which pandas takes for integers with nulls
    frame = table.drop_columns("label").to_pandas(ignore_metadata=True)
    return frame.astype({"text_a": "str", "text_b": "str"}).assign(label=pd.array(label, dtype=kind))


def read_task(folder: Path | str) -> Task:
    """The task of a prepared folder; raises UserError where task.json is missing or was changed."""
    facts = provenance(folder)
    return tasks.from_json(_verified(folder, TASK, facts["files"][TASK]).decode())


def fingerprint(folder: Path | str) -> str:
    """The hash of everything that training can see here, after a look at every file."""
    facts = provenance(folder)
    for name, expected in facts["files"].items():
        _verified(folder, name, expected)
    return facts["fingerprint"]
