"""Results are written one by one, each the old file or the whole new one, never half of it."""

import os
from pathlib import Path

import pandas as pd


def write(path: Path, content: str | bytes) -> None:
    """Write aside, then move into place; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def csv(frame: pd.DataFrame) -> str:
    """A frame as CSV with six significant digits: enough for any score, and stable in git diffs."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
