"""Where each n-gram of many segments stands, looked up for all n-grams of a text at once.

    table = GramTable.of([hashes_of_one, hashes_of_other], owners, 13, max_owners=20)
    hits = table.find(grams)                       # places in `grams` that are in the table
    for segments, places in table.rows(grams[hits]): ...

A small filter of bits answers first: of the n-grams that are in no segment 1 in 150 passes it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openqwen.data.shingles import Hashes, ngram_hashes

FILTER_BITS = 16  # of the filter for each n-gram in the table, at least
MIN_LOG_BITS = 16


@dataclass(frozen=True, slots=True)
class GramTable:
    """G n-grams, equal ones side by side.

    Attributes:
        hashes_G: (G,) uint64, sorted.
        segments_G: (G,) int32, the segment each stands in.
        places_G: (G,) int32, its first unit there.
        bits_F: (F,) uint8, the filter; F is a power of two.
    """

    hashes_G: Hashes
    segments_G: NDArray[np.int32]
    places_G: NDArray[np.int32]
    bits_F: NDArray[np.uint8]

    @classmethod
    def of(
        cls, segments: Sequence[Hashes], owners_S: NDArray[np.int32], n: int, max_owners: int
    ) -> Self:
        """Take the n-grams of segments of units' numbers, each once for an owner.

        Args:
            segments: S runs of numbers, each of at least `n`.
            owners_S: what each segment belongs to, ascending.
            n: length of an n-gram.
            max_owners: an n-gram of more owners is left out; 0 sets no limit.
        """
        lengths_S = np.array([len(segment) for segment in segments], dtype=np.int64)
        counts_S = lengths_S - n + 1
        segments_G = np.repeat(np.arange(len(segments), dtype=np.int32), counts_S)
        before_S = (np.cumsum(counts_S) - counts_S).astype(np.int32)
        places_G = np.arange(len(segments_G), dtype=np.int32) - before_S[segments_G]
        starts_S = (np.cumsum(lengths_S) - lengths_S).astype(np.int32)
        hashes_G = ngram_hashes(np.concatenate(segments), n)[starts_S[segments_G] + places_G]
        order_G = np.argsort(hashes_G, kind="stable")  # so an owner's first place comes first
        hashes_G, owners_G = hashes_G[order_G], owners_S[segments_G[order_G]]
        is_new_G = np.ones(len(hashes_G), dtype=bool)
        is_new_G[1:] = (hashes_G[1:] != hashes_G[:-1]) | (owners_G[1:] != owners_G[:-1])
        order_G, hashes_G = order_G[is_new_G], hashes_G[is_new_G]
        if max_owners:
            firsts = np.flatnonzero(np.append(True, hashes_G[1:] != hashes_G[:-1]))
            sizes = np.diff(np.append(firsts, len(hashes_G)))
            few_G = np.repeat(sizes <= max_owners, sizes)
            order_G, hashes_G = order_G[few_G], hashes_G[few_G]
        return cls(hashes_G, segments_G[order_G], places_G[order_G], _filter(hashes_G))

    def moved(self, segments: int) -> Self:
        """Return the table with segments numbered from a later number on."""
        places = np.asarray(self.segments_G) + np.int32(segments)
        return type(self)(self.hashes_G, places, self.places_G, self.bits_F)

    def find(self, grams_N: Hashes) -> NDArray[np.int64]:
        """Return the sorted places of the numbers that are in the table."""
        if not len(self.hashes_G) or not len(grams_N):
            return np.empty(0, dtype=np.int64)
        maybe_M = np.flatnonzero(_is_set(self.bits_F, grams_N, 0))
        maybe_M = maybe_M[_is_set(self.bits_F, grams_N[maybe_M], 1)]
        wanted_M = grams_N[maybe_M]
        first_M = np.minimum(np.searchsorted(self.hashes_G, wanted_M), len(self.hashes_G) - 1)
        found_H: NDArray[np.int64] = maybe_M[self.hashes_G[first_M] == wanted_M]
        return found_H

    def rows(self, grams_H: Hashes) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """Yield the segments and places of each number that is in the table."""
        first_H = np.searchsorted(self.hashes_G, grams_H, side="left").tolist()
        after_H = np.searchsorted(self.hashes_G, grams_H, side="right").tolist()
        for first, after in zip(first_H, after_H, strict=True):
            yield self.segments_G[first:after], self.places_G[first:after]

    def save(self, folder: Path) -> None:
        """Write the arrays into a folder."""
        folder.mkdir(parents=True)
        for name in ("hashes_G", "segments_G", "places_G", "bits_F"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the arrays of a folder into memory."""
        names = ("hashes_G", "segments_G", "places_G", "bits_F")
        return cls(*(map_array(folder / f"{name}.npy") for name in names))


def map_array(path: Path) -> NDArray[Any]:
    """Map the array of a file into memory, as a plain array: faster to slice than a memmap."""
    mapped: NDArray[Any] = np.load(path, mmap_mode="r").view(np.ndarray)
    return mapped


def _filter(hashes_G: Hashes) -> NDArray[np.uint8]:
    """Return the filter with two bits set for each number."""
    log_bits = max(MIN_LOG_BITS, (FILTER_BITS * len(hashes_G)).bit_length())
    bits_F = np.zeros(1 << (log_bits - 3), dtype=np.uint8)
    for probe in range(2):
        place_G = _bit(hashes_G, log_bits, probe)
        np.bitwise_or.at(bits_F, place_G >> np.uint64(3), _mask(place_G))
    return bits_F


def _is_set(bits_F: NDArray[np.uint8], grams_N: Hashes, probe: int) -> NDArray[np.bool_]:
    place_N = _bit(grams_N, len(bits_F).bit_length() + 2, probe)
    is_set_N: NDArray[np.bool_] = (bits_F[place_N >> np.uint64(3)] & _mask(place_N)) != 0
    return is_set_N


def _bit(hashes_N: Hashes, log_bits: int, probe: int) -> Hashes:
    """Return the place of a probe's bit: the number's first bits, or its last."""
    if probe == 0:
        return hashes_N >> np.uint64(64 - log_bits)
    return hashes_N & np.uint64((1 << log_bits) - 1)


def _mask(place_N: Hashes) -> NDArray[np.uint8]:
    return np.left_shift(np.uint8(1), (place_N & np.uint64(7)).astype(np.uint8))
