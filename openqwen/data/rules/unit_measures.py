"""A text's words and gapless characters with a number each, as the rule filters count them.

    units = measure_units("the cat sat")       # of a text in lower case
    len(units), units.mean_length, units.count_present(frozenset({"the", "and"}))    # 3, 3.0, 1

In C++ where it can be compiled, else in Python; what the rules find is the same. The units are
those of `core.ngrams.units`.
"""

import ctypes
import functools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openqwen.core.compiled import CompiledSource, open_library
from openqwen.core.ngrams import units as find_units
from openqwen.data.shingles import Hashes, UnitHasher

SOURCE = CompiledSource("rules", Path(__file__).parents[1] / "kernels", ("prose.cpp",))
WORD, GAPLESS, NUMERIC = 1, 2, 4  # kinds, as prose.cpp has them
MOST_WANTED = 64  # words that one call can look for
KINDS_CHUNK = 1 << 14  # code points looked at together: bounds the memory of a start


class Units:
    """The units of a text; the arrays are (N,), one entry a unit.

    Attributes:
        hashes_N: numbers, equal for equal units.
        lengths_N: characters.
        kinds_N: flags WORD, GAPLESS, NUMERIC.
    """

    __slots__ = ("_starts_N", "_strings", "_text", "hashes_N", "kinds_N", "lengths_N")

    def __init__(
        self,
        hashes_N: Hashes,
        lengths_N: NDArray[np.int32],
        kinds_N: NDArray[np.uint8],
        *,
        strings: list[str] | None = None,
        text: str = "",
        starts_N: NDArray[np.int32] | None = None,
    ) -> None:
        """Keep the arrays, and either the units themselves or the text with their places."""
        self.hashes_N, self.lengths_N, self.kinds_N = hashes_N, lengths_N, kinds_N
        self._strings, self._text, self._starts_N = strings, text, starts_N

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.hashes_N)

    @property
    def num_gapless(self) -> int:
        """Return how many are characters of Chinese, Japanese or Thai."""
        return int(np.count_nonzero(self.kinds_N & GAPLESS))

    @property
    def num_numbers(self) -> int:
        """Return how many consist of digits or other numerals alone."""
        return int(np.count_nonzero(self.kinds_N & NUMERIC))

    @property
    def mean_length(self) -> float:
        """Return the mean length of the words, gapless characters left out; 0 without words."""
        words_N = self.kinds_N & WORD
        count = int(np.count_nonzero(words_N))
        return int(self.lengths_N @ words_N) / count if count else 0.0

    def strings(self, start: int, end: int) -> list[str]:
        """Return the units from place `start` up to `end`."""
        if self._strings is not None:
            return self._strings[start:end]
        assert self._starts_N is not None
        places = zip(self._starts_N[start:end], self.lengths_N[start:end], strict=True)
        return [self._text[place : place + length] for place, length in places]

    def count_present(self, words: frozenset[str]) -> int:
        """Return how many of some words stand among the units."""
        if self._strings is not None:
            return len(words.intersection(self._strings))
        library = _library()
        assert library is not None
        wanted = _numbers_of(words)
        return int(
            library.openqwen_present(
                self.hashes_N.ctypes.data, len(self), wanted.ctypes.data, len(wanted)
            )
        )


def measure_units(lower: str) -> Units:
    """Return the units of a text in lower case."""
    library = _library()
    if library is None:
        return _measure_slowly(lower)
    text = np.frombuffer(lower.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    starts_N = np.empty(len(text), dtype=np.int32)
    lengths_N = np.empty(len(text), dtype=np.int32)
    hashes_N = np.empty(len(text), dtype=np.uint64)
    kinds_N = np.empty(len(text), dtype=np.uint8)
    places = [a.ctypes.data for a in (_kinds(), starts_N, lengths_N, hashes_N, kinds_N)]
    count = library.openqwen_units(text.ctypes.data, len(text), *places)
    return Units(
        hashes_N[:count],
        lengths_N[:count],
        kinds_N[:count],
        text=lower,
        starts_N=starts_N[:count],
    )


def ngram_counts(
    hashes_N: Hashes,
    lengths_N: NDArray[np.int32],
    *,
    top: Sequence[int],
    duplicate: Sequence[int],
) -> tuple[list[tuple[int, int]], list[int]] | None:
    """Return what n-grams repeat, in C++; None where there is none.

    Args:
        hashes_N: numbers of the units.
        lengths_N: what each unit counts.
        top: lengths n of which the most frequent n-gram is wanted.
        duplicate: lengths n of which what was seen before is wanted.

    Returns:
        For each of `top` the most frequent n-gram's first place and count; for each of
        `duplicate` the summed lengths of the units in n-grams that stood there before.
    """
    library = _library()
    if library is None:
        return None
    top_n, duplicate_n = np.array(top, dtype=np.int64), np.array(duplicate, dtype=np.int64)
    found = np.empty(2 * len(top), dtype=np.int64)
    covered = np.empty(len(duplicate), dtype=np.int64)
    library.openqwen_repetition(
        *(hashes_N.ctypes.data, lengths_N.ctypes.data, len(hashes_N)),
        *(top_n.ctypes.data, len(top), duplicate_n.ctypes.data, len(duplicate)),
        *(found.ctypes.data, covered.ctypes.data),
    )
    pairs = found.tolist()
    return list(zip(pairs[::2], pairs[1::2], strict=True)), covered.tolist()


def find_sequences(
    hashes_N: Hashes,
    units_U: Hashes,
    ends_P: NDArray[np.int64],
    firsts_P: Hashes,
    filter_F: NDArray[np.uint8],
) -> list[tuple[int, int]] | None:
    """Return place and row of each sequence that stands in a text, in C++; None without it.

    Args:
        hashes_N: the text's units.
        units_U: all sequences' units, one sequence after the other.
        ends_P: where each sequence ends in `units_U`.
        firsts_P: each sequence's first unit, sorted.
        filter_F: (65,536,) 1 where a first unit has these low bits.
    """
    library = _library()
    if library is None:
        return None
    arrays = (hashes_N, units_U, ends_P, firsts_P, filter_F)
    text, units, ends, firsts, bits = (array.ctypes.data for array in arrays)
    room = 256
    while True:
        found = np.empty((room, 2), dtype=np.int64)
        count = library.openqwen_find(
            *(text, len(hashes_N), units, ends, firsts, len(firsts_P), bits),
            *(found.ctypes.data, room),
        )
        if count <= room:
            return [(place, row) for place, row in found[:count].tolist()]
        room = count


def _measure_slowly(lower: str) -> Units:
    strings = find_units(lower)
    kinds_N = np.fromiter(map(_kind, strings), dtype=np.uint8, count=len(strings))
    lengths_N = np.fromiter(map(len, strings), dtype=np.int32, count=len(strings))
    return Units(_hasher()(strings), lengths_N, kinds_N, strings=strings)


@functools.lru_cache(maxsize=1 << 20)
def _kind(unit: str) -> int:
    gapless = _kinds()[ord(unit[0])] & GAPLESS
    return (gapless or WORD) | (NUMERIC if unit.isnumeric() else 0)


@functools.cache
def _hasher() -> UnitHasher:
    return UnitHasher()


@functools.cache
def _library() -> ctypes.CDLL | None:
    library, _ = open_library(SOURCE)
    if library is not None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        library.openqwen_units.argtypes = [pointer, number, *[pointer] * 5]
        library.openqwen_units.restype = number
        library.openqwen_present.argtypes = [pointer, number, pointer, number]
        library.openqwen_present.restype = number
        library.openqwen_find.argtypes = [
            *(pointer, number, pointer, pointer, pointer, number, pointer, pointer, number)
        ]
        library.openqwen_find.restype = number
        library.openqwen_repetition.argtypes = [
            *(pointer, pointer, number, pointer, number, pointer, number, pointer, pointer)
        ]
        library.openqwen_repetition.restype = None
    return library


@functools.cache
def _kinds() -> NDArray[np.uint8]:
    """Return (code points,) the kind of each character; a tenth of a second once a process."""
    kinds = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    for start in range(0, len(kinds), KINDS_CHUNK):
        characters = "".join(map(chr, range(start, start + KINDS_CHUNK)))
        lower = [c for c in characters if c.lower() == c]  # texts are measured in lower case
        # each character twice: a letter gives one unit of two, one that stands alone two of one
        for unit in find_units(" ".join([c + c for c in lower])):
            kinds[ord(unit[0])] = WORD if len(unit) == 2 else GAPLESS
        numeric = [ord(c) for c in characters if c.isnumeric()]
        kinds[numeric] |= NUMERIC
    return kinds


@functools.cache
def _numbers_of(words: Iterable[str]) -> Hashes:
    """Return the numbers of single words; at most 64 of them."""
    numbers = np.unique(measure_units(" ".join(sorted(words))).hashes_N)
    assert len(numbers) <= MOST_WANTED, f"{len(numbers)} words are more than {MOST_WANTED}"
    return numbers
