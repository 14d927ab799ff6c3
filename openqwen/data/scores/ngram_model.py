"""An n-gram language model in compact arrays: how many bits a text costs a unit.

    model = NgramModel.of(levels, log_unseen)
    bits, gains = model.bits(batch)              # a float a text: -log2 p, averaged over its units

An n-gram takes 8 bytes and a bucket of the directory 4: the top bits of its key choose the bucket,
32 further bits tell it from others there, so that one lookup in 2^32 errs. The arrays may lie on
disk; all texts of a batch are looked up at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqwen.data.scores.kneser_ney import Level
from openqwen.data.scores.unit_batch import UnitBatch
from openqwen.data.shingles import Hashes

Array = NDArray[Any]
Floats = NDArray[np.float64]
MISSING = -1


@dataclass(frozen=True, slots=True)
class _Table:
    """The n-grams of one length."""

    starts_B: Array  # (buckets + 1,) uint32: where each bucket begins
    marks_G: Array  # uint32, the lower half of each key
    log_probs_G: Array  # float16
    log_backoffs_G: Array  # float16
    shift: int  # from a key to its bucket

    @classmethod
    def of(cls, level: Level) -> "_Table":
        bits = max(1, len(level.keys_G).bit_length())
        shift = 64 - bits
        edges = np.arange((1 << bits) + 1, dtype=np.float64)
        buckets_G = (level.keys_G >> np.uint64(shift)).astype(np.int64)
        return cls(
            np.searchsorted(buckets_G, edges).astype(np.uint32),
            level.keys_G.astype(np.uint32),
            level.log_probs_G.astype(np.float16),
            level.log_backoffs_G.astype(np.float16),
            shift,
        )

    def find(self, keys_N: Hashes) -> NDArray[np.int64]:
        """Return the row of each key, MISSING where it has none."""
        buckets_N = (keys_N >> np.uint64(self.shift)).astype(np.int64)
        marks_N = keys_N.astype(np.uint32)
        rows_N = self.starts_B[buckets_N].astype(np.int64)
        ends_N = self.starts_B[buckets_N + 1]
        found_N = np.full(len(keys_N), MISSING, dtype=np.int64)
        open_N = np.flatnonzero(rows_N < ends_N)
        rows_N, ends_N, marks_N = rows_N[open_N], ends_N[open_N], marks_N[open_N]
        while len(open_N):
            hit_N = self.marks_G[rows_N] == marks_N
            found_N[open_N[hit_N]] = rows_N[hit_N]
            rows_N += 1
            on_N = np.flatnonzero(~hit_N & (rows_N < ends_N))
            open_N, rows_N, ends_N, marks_N = (
                open_N[on_N], rows_N[on_N], ends_N[on_N], marks_N[on_N],
            )  # fmt: skip
        return found_N


class NgramModel:
    """Backs off from the longest n-gram that was seen."""

    def __init__(self, tables: list[_Table], log_unseen: float) -> None:
        """Use these tables, of single units first."""
        self.tables = tables
        self.log_unseen = log_unseen

    @classmethod
    def of(cls, levels: Sequence[Level], log_unseen: float) -> "NgramModel":
        """Return the model of smoothed n-grams."""
        return cls([_Table.of(level) for level in levels], log_unseen)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], log_unseen: float) -> "NgramModel":
        """Return the model that `arrays` gave.

        Raises:
            KeyError: if an array is missing.
        """
        order = sum(name.startswith("starts.") for name in arrays)
        names = ("starts", "marks", "log_probs", "log_backoffs")
        tables = []
        for n in range(1, max(1, order) + 1):
            starts_B, *rest = (arrays[f"{name}.{n}"] for name in names)
            marks_G, log_probs_G, log_backoffs_G = rest
            shift = 65 - len(starts_B).bit_length()
            tables.append(_Table(starts_B, marks_G, log_probs_G, log_backoffs_G, shift))
        return cls(tables, log_unseen)

    def arrays(self) -> dict[str, Array]:
        """Return what must be kept besides `log_unseen`."""
        return {
            f"{name}.{n}": array
            for n, table in enumerate(self.tables, start=1)
            for name, array in (
                ("starts", table.starts_B),
                ("marks", table.marks_G),
                ("log_probs", table.log_probs_G),
                ("log_backoffs", table.log_backoffs_G),
            )
        }

    @property
    def num_ngrams(self) -> int:
        """Return how many n-grams of all lengths are known."""
        return sum(len(table.marks_G) for table in self.tables)

    def bits(self, batch: UnitBatch) -> tuple[list[float], list[float]]:
        """Return each text's mean bits a unit, and how many fewer that is than for single units.

        A text without units has 0 of both.
        """
        singles_N, logs_N = self._log_probs(batch)
        counts_D = np.maximum(1, batch.lengths_D)
        means = []
        for values_N in (-logs_N, logs_N - singles_N):
            values_N[batch.starts_D] = 0.0  # the beginning is given
            means.append((np.add.reduceat(values_N, batch.starts_D) / counts_D).tolist())
        return means[0], means[1]

    def _log_probs(self, batch: UnitBatch) -> tuple[Floats, Floats]:
        """Return (N,) log2 probabilities of units alone, and after those before them."""
        count = len(batch.units_N)
        rows_N = self.tables[0].find(batch.ngrams(1))
        seen_N = np.flatnonzero(rows_N != MISSING)
        singles_N: Floats = np.full(count, self.log_unseen)
        singles_N[seen_N] = self.tables[0].log_probs_G[rows_N[seen_N]]
        logs_N = singles_N.copy()
        for n, table in enumerate(self.tables[1:], start=2):
            backoffs_G, rows_before_N = self.tables[n - 2].log_backoffs_G, rows_N
            # where n-grams end whose context is known; across texts none is, since no n-gram that
            # was counted has a beginning in its middle
            ends = np.flatnonzero(rows_before_N[:-1] != MISSING) + 1
            logs_N[ends] += backoffs_G[rows_before_N[ends - 1]]
            ends = ends[rows_before_N[ends] != MISSING]
            found = table.find(batch.ngrams(n)[ends - (n - 1)])
            rows_N = np.full(count, MISSING, dtype=np.int64)
            rows_N[ends] = found
            hits = found != MISSING
            logs_N[ends[hits]] = table.log_probs_G[found[hits]]
        return singles_N, logs_N
