"""Many texts' units in one row, so that arrays are worked on once for all of them.

    batch = UnitBatch.of([hashes_N, hashes_M])
    batch.ngrams(3)                              # keys of the 3-grams that start at each place

Before each text stands one unit for its beginning, which language models condition on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from openqwen.data.shingles import Hashes, ngram_hashes

BEGINNING = np.uint64(0x0B5E55ED0B5E55ED)  # the unit before a text's first

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class UnitBatch:
    """Units of D texts, N in all, beginnings counted."""

    units_N: Hashes
    starts_D: Places  # where each text's beginning stands
    lengths_D: Places  # units of each text, its beginning not counted
    _ngrams: dict[int, Hashes] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Sequence[Hashes]) -> "UnitBatch":
        """Join at least one text."""
        lengths_D = np.array([len(text) for text in texts], dtype=np.int64)
        starts_D = np.cumsum(lengths_D + 1) - (lengths_D + 1)
        first = np.array([BEGINNING])
        return cls(np.concatenate([p for t in texts for p in (first, t)]), starts_D, lengths_D)

    def ngrams(self, n: int) -> Hashes:
        """Return (N,) keys, 0 where fewer than n units are left in all; kept for the next asker."""
        if n not in self._ngrams:
            keys_N = np.zeros(len(self.units_N), dtype=np.uint64)
            found = ngram_hashes(self.units_N, n)
            keys_N[: len(found)] = found
            self._ngrams[n] = keys_N
        return self._ngrams[n]

    def places(self) -> Places:
        """Return (N,) the 0-based place of each unit in its text, beginnings being 0."""
        return np.arange(len(self.units_N)) - np.repeat(self.starts_D, self.lengths_D + 1)

    def outside(self, n: int) -> Places:
        """Return the places where no n-gram of one text's own units starts."""
        ends_D = self.starts_D + self.lengths_D + 1
        tails = [np.maximum(ends_D - back, self.starts_D) for back in range(1, n)]
        return np.concatenate([self.starts_D, *tails])
