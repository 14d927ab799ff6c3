"""Finding many phrases in a text at once, by its units: whole words, or characters in Chinese.

    phrases = Phrases(("terms of use", "版权所有"))
    phrases.find(measure_units("see our terms of use"))      # [Hit(place=2, length=3, phrase=0)]

Punctuation and spaces between the units do not matter. "use" is not found in "house"; Chinese,
which has no gaps, is searched character by character.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from openqwen.data.rules.unit_measures import Units, find_sequences, measure_units


class Hit(NamedTuple):
    """Where a phrase stands in a text."""

    place: int  # its first unit
    length: int  # in units
    phrase: int  # its place in the list


class Phrases:
    """A list of phrases, ready to be looked for."""

    def __init__(self, phrases: Sequence[str]) -> None:
        """Take phrases in any case; those without a word or character never match."""
        self.phrases = tuple(phrases)
        measured = [measure_units(phrase.lower()) for phrase in self.phrases]
        filled = [place for place, units in enumerate(measured) if len(units)]
        # by the number of their first unit, so that a text's unit leads to them at once
        filled.sort(key=lambda place: int(measured[place].hashes_N[0]))
        self.order = filled
        self.lengths = [len(measured[place]) for place in filled]
        self.ends_P = np.cumsum(self.lengths, dtype=np.int64)
        parts = [measured[place].hashes_N for place in filled]
        self.units_U = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)
        self.firsts_P = np.array([part[0] for part in parts], dtype=np.uint64)
        self.filter = np.zeros(1 << 16, dtype=np.uint8)
        self.filter[self.firsts_P & np.uint64(0xFFFF)] = 1

    def find(self, units: Units) -> list[Hit]:
        """Return all places where a phrase stands, in order; phrases may overlap."""
        if not self.order or not len(units):
            return []
        found = find_sequences(
            units.hashes_N, self.units_U, self.ends_P, self.firsts_P, self.filter
        )
        if found is None:
            found = self._find_slowly(units)
        return [Hit(place, self.lengths[row], self.order[row]) for place, row in found]

    def _find_slowly(self, units: Units) -> list[tuple[int, int]]:
        """Return place and row of each hit, as the C++ does."""
        hashes_N = units.hashes_N
        found = []
        for place in np.flatnonzero(self.filter[hashes_N & np.uint64(0xFFFF)]).tolist():
            row = int(np.searchsorted(self.firsts_P, hashes_N[place]))
            while row < len(self.order) and self.firsts_P[row] == hashes_N[place]:
                end = int(self.ends_P[row])
                wanted = self.units_U[end - self.lengths[row] : end]
                if np.array_equal(hashes_N[place : place + len(wanted)], wanted):
                    found.append((place, row))
                row += 1
        return found
