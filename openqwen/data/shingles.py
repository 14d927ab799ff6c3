"""N-grams of words or characters as 64-bit numbers, for comparing many texts fast.

    unit_hashes(["the", "cat", "sat"])            # (3,) uint64
    ngram_hashes(unit_hashes(units), 5)           # (len - 4,) uint64, one a 5-gram

The numbers depend on the text alone: not on the process, the order of texts or the machine. Two
different n-grams share a number with probability 2^-64.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

CACHE_UNITS = 2_000_000  # words whose numbers are remembered; then the memory starts anew
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # the step of splitmix64


class UnitHasher:
    """Numbers for units; remembers them, since texts repeat their words."""

    def __init__(self) -> None:
        """Start with nothing remembered."""
        self.known: dict[str, int] = {}

    def __call__(self, units: Sequence[str]) -> Hashes:
        """Return (N,) numbers, one a unit."""
        if len(self.known) > CACHE_UNITS:
            self.known.clear()
        known = self.known
        for unit in set(units).difference(known):
            known[unit] = int.from_bytes(hashlib.blake2b(unit.encode(), digest_size=8).digest())
        return np.fromiter(map(known.__getitem__, units), dtype=np.uint64, count=len(units))


def mix(values: Hashes) -> Hashes:
    """Return numbers whose bits depend on all bits of the input (the finish of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def ngram_hashes(units_N: Hashes, n: int) -> Hashes:
    """Return (N - n + 1,) numbers, one for each run of `n` units; none where there are fewer."""
    count = len(units_N) - n + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    # a factor for each place: odd, so that no bit is lost, and without pattern, so that moving
    # units about never gives the same sum
    factors_n = mix(np.arange(1, n + 1, dtype=np.uint64) * GOLDEN) | np.uint64(1)
    total = np.zeros(count, dtype=np.uint64)
    for place, factor in enumerate(factors_n):
        total += units_N[place : place + count] * factor
    return mix(total)


def shingle_set(units_N: Hashes, n: int) -> Hashes:
    """Return the sorted set of a text's n-grams; a shorter text is one n-gram as a whole."""
    return np.unique(ngram_hashes(units_N, min(n, len(units_N))))


def jaccard(one: Hashes, other: Hashes) -> float:
    """Return shared over all elements of two sorted sets; 0 where both are empty."""
    if not len(one) or not len(other):
        return 0.0
    places = np.searchsorted(one, other)
    shared = int(np.count_nonzero(one[np.minimum(places, len(one) - 1)] == other))
    return shared / (len(one) + len(other) - shared)
