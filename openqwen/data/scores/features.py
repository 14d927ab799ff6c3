"""What the linear classifier sees of a text: hashed n-grams and binned measures of its form.

    space = FeatureSpace(num_bits=18)
    space.products(readings, weights_F)                # (D,) each text's features times weights
    places, values = space.row(readings)               # of a single text: its features

The n-grams of a length together weigh 1, however long the text (as fastText averages; Joulin et
al. 2017), and so does each measure of form. Units are words, or characters for zh, ja and th.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqwen.data.scores.reading import FORM_NAMES, Readings

Places = NDArray[np.int64]
Floats = NDArray[np.float64]

NUM_WORDS = 2  # of the longest n-gram
NUM_CHARACTERS = 3
FORM_BINS = 16
# upper edges of bins: line lengths by powers of the root of 2, shares finer where they are small
_LENGTH_EDGES = np.arange(1, FORM_BINS) * 0.5 + 1.5
_SHARE_EDGES = np.array(
    (0.0, 0.005, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08, 0.12, 0.18, 0.25, 0.4, 0.6, 0.8, 0.9)
)


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """2^num_bits places for n-grams, then the bins of each measure of form."""

    num_bits: int

    @property
    def size(self) -> int:
        """Return the number of places."""
        return (1 << self.num_bits) + len(FORM_NAMES) * FORM_BINS

    def products(self, readings: Readings, weights_F: NDArray[Any]) -> Floats:
        """Return (D,) the product of each text's features with the weights."""
        units = readings.units
        total_D: Floats = weights_F[self._form_places(readings)].sum(axis=1, dtype=np.float64)
        for n in _lengths(readings):
            found_N = weights_F[self._ngram_places(readings, n)].astype(np.float64)
            found_N[units.outside(n)] = 0.0
            sums_D = np.add.reduceat(found_N, units.starts_D)
            total_D += sums_D / np.maximum(1, units.lengths_D - n + 1)
        return total_D

    def row(self, readings: Readings) -> tuple[Places, Floats]:
        """Return the features of a single text that are not 0, by place, and their values."""
        assert len(readings) == 1, "a row is one text"
        length = int(readings.units.lengths_D[0])
        parts = [
            self._ngram_places(readings, n)[1 : length - n + 2]
            for n in _lengths(readings)
            if n <= length
        ]
        values = [np.full(len(part), 1.0 / len(part)) for part in parts]
        form = self._form_places(readings)[0]
        places, inverse = np.unique(np.concatenate([*parts, form]), return_inverse=True)
        sums = np.bincount(inverse, np.concatenate([*values, np.ones(len(form))]))
        return places, np.asarray(sums, dtype=np.float64)

    def _ngram_places(self, readings: Readings, n: int) -> Places:
        return (readings.units.ngrams(n) >> np.uint64(64 - self.num_bits)).astype(np.int64)

    def _form_places(self, readings: Readings) -> Places:
        """Return (D, 9) the bin that each measure of form falls into."""
        form_DM = readings.form_DM
        first = np.searchsorted(_LENGTH_EDGES, form_DM[:, :1])
        bins = np.concatenate([first, np.searchsorted(_SHARE_EDGES, form_DM[:, 1:])], axis=1)
        places: Places = (1 << self.num_bits) + np.arange(form_DM.shape[1]) * FORM_BINS + bins
        return places


def _lengths(readings: Readings) -> range:
    return range(1, 1 + (NUM_CHARACTERS if readings.by_characters else NUM_WORDS))
