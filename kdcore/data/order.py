"""The nested order: the first n rows are the stratified subset of size n, for every n, on any machine."""

from collections.abc import Hashable, Iterable, Sequence
from hashlib import sha256

import numpy as np


def nested(strata: Sequence[Hashable], keys: Iterable[str]) -> np.ndarray:
    """(N,) row positions so that every prefix has the balance of the whole, to within a row or so per stratum.

    strata: the class of each row; keys: what shuffles the rows within their class, by sha256, so that the
    order depends neither on a library's random numbers nor on the rows of other classes.
    """
    digests = bytearray()
    for key in keys:
        digests += sha256(key.encode("utf-8", "surrogatepass")).digest()
    shuffled = np.lexsort(np.frombuffer(digests, ">u8").reshape(-1, 4).T[::-1])  # the first bytes decide first
    ranks = {name: rank for rank, name in enumerate(sorted(dict.fromkeys(strata[i] for i in shuffled), key=str))}
    rank = np.fromiter((ranks[name] for name in strata), np.int64, len(strata))
    place = np.empty(len(strata))
    for one in range(len(ranks)):
        members = shuffled[rank[shuffled] == one]
        place[members] = (2 * np.arange(len(members)) + 1) / (2 * len(members))
    return np.lexsort((rank, place))  # of rows at the same place, the first class goes first
