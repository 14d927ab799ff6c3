"""How often each n-gram stands in a corpus, for all lengths up to an order.

    counter = NgramCounter(order=3)
    for hashes_N in texts: counter.add(hashes_N)
    counts = counter.finish()                    # counts[n - 1]: all n-grams, sorted

Every text opens with one unit that stands for its beginning. Memory is that of the distinct
n-grams (28 bytes each) and of one buffer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openqwen.data.scores.unit_batch import UnitBatch
from openqwen.data.shingles import Hashes

BUFFER_UNITS = 4_000_000  # counted at once
MAX_RUNS = 6  # sorted runs of n-grams that wait to be merged


@dataclass(frozen=True, slots=True)
class Counts:
    """All n-grams of one length, sorted by key."""

    keys_G: Hashes
    prefixes_G: Hashes  # keys of the n-grams without their last unit; 0 for single units
    suffixes_G: Hashes  # … without their first unit
    counts_G: NDArray[np.int64]


class NgramCounter:
    """Counts n-grams of 1 … order units."""

    def __init__(self, order: int) -> None:
        """Start with nothing counted."""
        self.order = order
        self.num_units = 0
        self._buffer: list[Hashes] = []
        self._buffered = 0
        self._runs: list[list[Counts]] = [[] for _ in range(order)]

    def add(self, hashes_N: Hashes) -> None:
        """Count one text."""
        self._buffer.append(hashes_N)
        self._buffered += len(hashes_N)
        self.num_units += len(hashes_N)
        if self._buffered >= BUFFER_UNITS:
            self._flush()

    def finish(self) -> list[Counts]:
        """Return the counts of each length, the shortest first."""
        self._flush()
        return [_merge(runs) for runs in self._runs]

    def _flush(self) -> None:
        if not self._buffer:
            return
        batch = UnitBatch.of(self._buffer)
        left_N = np.repeat(batch.lengths_D + 1, batch.lengths_D + 1) - batch.places()
        self._buffer, self._buffered = [], 0
        shorter_N = np.zeros(len(left_N) + 1, dtype=np.uint64)
        for n, runs in enumerate(self._runs, start=1):
            keys_N = np.append(batch.ngrams(n), np.uint64(0))
            here = np.flatnonzero(left_N >= n)  # n-grams of one text, its beginning a part of it
            everything = Counts(
                keys_N[here], shorter_N[here], shorter_N[here + 1], np.ones(len(here), np.int64)
            )
            runs.append(_merge([everything]))
            if len(runs) > MAX_RUNS:
                runs[:] = [_merge(runs)]
            shorter_N = keys_N


def _merge(runs: list[Counts]) -> Counts:
    """Return several runs as one, sorted, counts of equal n-grams added."""
    if not runs:
        nothing = np.empty(0, dtype=np.uint64)
        return Counts(nothing, nothing, nothing, np.empty(0, dtype=np.int64))
    keys = np.concatenate([run.keys_G for run in runs])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else order
    picked = order[first]
    prefixes = np.concatenate([run.prefixes_G for run in runs])[picked]
    suffixes = np.concatenate([run.suffixes_G for run in runs])[picked]
    counts = np.concatenate([run.counts_G for run in runs])[order]
    totals = np.add.reduceat(counts, first) if len(first) else counts
    return Counts(keys[first], prefixes, suffixes, totals)
