"""The nested order: the first n rows are the stratified subset of size n, for every n, on any machine."""

from collections.abc import Hashable, Sequence
from hashlib import sha256


def nested(strata: Sequence[Hashable], keys: Sequence[str]) -> list[int]:
    """Row positions so that every prefix has the balance of the whole, to within a row or so per stratum.

    strata: the class of each row; keys: what shuffles the rows within their class, by sha256, so that the
    order depends neither on a library's random numbers nor on the rows of other classes.
    """
    hashes = [sha256(key.encode("utf-8", "surrogatepass")).digest() for key in keys]
    members: dict[Hashable, list[int]] = {}
    for i in sorted(range(len(keys)), key=hashes.__getitem__):
        members.setdefault(strata[i], []).append(i)
    classes = sorted(members, key=str)  # decides between rows at the same place
    placed = [
        ((2 * i + 1) / (2 * len(members[name])), rank, row)
        for rank, name in enumerate(classes)
        for i, row in enumerate(members[name])
    ]
    return [row for _, _, row in sorted(placed)]
