"""The nested order: the first n rows are the stratified subset of size n, for every n, on any machine."""

from collections.abc import Hashable, Iterable, Sequence
from hashlib import sha256

import numpy as np

SIZE = 16  # bytes of a sha256 that are kept: two keys of one digest are the same key


def digests(keys: Iterable[str]) -> bytearray:
    """The first 16 bytes of each key's sha256, one after the other."""
    found = bytearray()
    for key in keys:
        found += sha256(key.encode("utf-8", "surrogatepass")).digest()[:SIZE]
    return found


def halves(digests: bytes | bytearray) -> np.ndarray:
    """(2, N): the digests as numbers, which sort as they do; the first half decides first."""
    return np.frombuffer(digests, ">u8").reshape(-1, 2).T


def nested(strata: Sequence[Hashable], digests: bytes | bytearray) -> np.ndarray:
    """(N,) row positions so that every prefix has the balance of the whole, to within a row or so per stratum.

    strata: the class of each row; digests: of what shuffles the rows within their class, so that the order depends
    neither on a library's random numbers nor on the rows of other classes.
    """
    shuffled = np.lexsort(halves(digests)[::-1])
    del digests  # of millions of rows
    names = np.asarray(strata, object)
    ranks = {name: rank for rank, name in enumerate(sorted(dict.fromkeys(names[shuffled]), key=str))}
    rank = np.fromiter(map(ranks.__getitem__, names), np.int32, len(names))
    place = np.empty(len(rank))
    for one in range(len(ranks)):
        members = shuffled[rank[shuffled] == one]
        place[members] = (2 * np.arange(len(members)) + 1) / (2 * len(members))
    return np.lexsort((rank, place))  # of rows at the same place, the first class goes first
