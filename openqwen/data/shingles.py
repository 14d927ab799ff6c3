"""N-grams of words or characters as numbers, for comparing many texts fast.

    unit_hashes("The cat sat.")                   # (3,) uint64, of "the", "cat", "sat"
    ngram_hashes(unit_hashes(text), 5)            # (len - 4,) uint64, one a 5-gram

The numbers depend on the text alone: not on the process, the order of texts, the machine, or
whether the C++ kernels are there. Two different n-grams share a number with probability 2^-64.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openqwen.core.ngrams import units

Hashes = NDArray[np.uint64]
Shingles = NDArray[np.uint32]

CACHE_UNITS = 2_000_000  # words whose numbers are remembered; then the memory starts anew
GOLDEN = 0x9E3779B97F4A7C15  # the step of splitmix64
MASK = 0xFFFFFFFFFFFFFFFF


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
            known[unit] = unit_hash(unit)
        return np.fromiter(map(known.__getitem__, units), dtype=np.uint64, count=len(units))


def unit_hashes(text: str) -> Hashes:
    """Return the numbers of a text's units: `UnitHasher()(units(text))`, in C++ where it is."""
    from openqwen.data.kernels.ops import hash_units

    found = hash_units(text)
    return UnitHasher()(units(text)) if found is None else found


def unit_hash(unit: str) -> int:
    """Return the 64-bit number of one unit; `unit_hash` of kernels/text.h is the same."""
    data = unit.encode("utf-8", "surrogatepass")
    value = len(data) * GOLDEN & MASK
    for start in range(0, max(len(data), 1), 8):
        value = (value ^ int.from_bytes(data[start : start + 8], "little")) * GOLDEN & MASK
        value ^= value >> 32
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def mix(values: Hashes) -> Hashes:
    """Return numbers whose bits depend on all bits of the input (the finish of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def place_factors(n: int) -> Hashes:
    """Return (n,) factors, one for each place of an n-gram.

    They are odd, so that no bit is lost, and without pattern, so that moving units about never
    gives the same sum.
    """
    return mix(np.arange(1, n + 1, dtype=np.uint64) * np.uint64(GOLDEN)) | np.uint64(1)


def ngram_hashes(units_N: Hashes, n: int) -> Hashes:
    """Return (N - n + 1,) numbers, one for each run of `n` units; none where there are fewer."""
    count = len(units_N) - n + 1
    if count <= 0 or not len(units_N):
        return np.empty(0, dtype=np.uint64)
    total = np.zeros(count, dtype=np.uint64)
    for place, factor in enumerate(place_factors(n)):
        total += units_N[place : place + count] * factor
    return mix(total)


def shingles(units_N: Hashes, n: int) -> Shingles:
    """Return the high half of a text's n-grams, in order; a shorter text is one n-gram as a whole.

    32 bits: of two sets of m elements, about m²/2^32 are taken for shared that aren't, which moves
    a Jaccard similarity by m/2^32, a millionth at 4,000 shingles.
    """
    return (ngram_hashes(units_N, min(n, len(units_N))) >> np.uint64(32)).astype(np.uint32)


def jaccard(one: NDArray[np.unsignedinteger], other: NDArray[np.unsignedinteger]) -> float:
    """Return shared over all of two lists, taken as sets; 0 where both are empty."""
    shared, united = compare(one, other)
    return shared / united if united else 0.0


def compare(
    one: NDArray[np.unsignedinteger], other: NDArray[np.unsignedinteger]
) -> tuple[int, int]:
    """Return the sizes of intersection and union of two lists, taken as sets."""
    one, other = np.unique(one), np.unique(other)
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared, len(one) + len(other) - shared
