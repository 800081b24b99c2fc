"""Results are written one by one, each the old file or the whole new one, never half of it."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from kdcore.artefacts import publish
from kdcore.report.canvas import encode


def write(path: Path, content: str | bytes) -> None:
    """Write aside, then move into place; folders are made as needed. Raises UserError where a file is the user's."""
    publish(path, content.encode() if isinstance(content, str) else content)


def csv(frame: pd.DataFrame) -> str:
    """A frame as CSV with six significant digits: enough for any score, and stable in git diffs."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def write_all(out: Path, files: Mapping[str, str], drawn: Mapping[str, Figure]) -> None:
    """Write `files` (name -> text) into `out`, and each figure as figures/<name>.{png,svg}."""
    encoded = {name: encode(figure) for name, figure in drawn.items()}
    for name, text in files.items():
        write(out / name, text)
    for name, kinds in encoded.items():
        for kind, picture in kinds.items():
            write(out / "figures" / f"{name}.{kind}", picture)
