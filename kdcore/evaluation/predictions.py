"""The tables of predictions that `evaluate` writes, read back: the logits of one model on one split."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdcore.errors import UserError

RERUN = "run `dvc repro -f evaluate`"


def read_logits(path: Path, rows: pd.DataFrame) -> NDArray[np.float64]:
    """(N, K) logits of the validation split, whose rows are `rows`, in their order.

    Raises UserError for a file that can't be read, or is of other rows.
    """
    try:
        table = pd.read_parquet(path)
        table = table[table["split"] == "validation"]
        logits = table.filter(regex=r"^logit_\d+$").to_numpy(dtype=np.float64)
        same = table["row"].tolist() == rows["row"].tolist()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(str(path), f"predictions can't be read ({error}); {RERUN}") from error
    if not same or not logits.shape[1]:
        raise UserError(str(path), f"is not of the examples of the prepared data; {RERUN}")
    return logits
