"""Pieces of text that BPE works inside, their counts, and what characters are.

for piece in split_pieces("Hello  world 12"): ...      # "Hello", " ", " world", " ", "1", "2"
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NUM_CODE_POINTS = 0x110000
LETTER, NUMBER, SPACE, NEWLINE = 1, 2, 3, 4  # kinds; 0 is everything else, as in extend.cpp
MAX_PIECE = 512  # bytes; longer pieces are cut at a character

# Unicode's White_Space without CR and LF
_SPACES = (
    *(0x09, 0x0B, 0x0C, 0x20, 0x85, 0xA0, 0x1680),
    *(*range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
)
# scripts that leave no gaps between words: Thai to Tibetan, Myanmar, Khmer, Kana, Bopomofo
_UNGAPPED = (
    *((0x0E00, 0x1000), (0x1000, 0x10A0), (0x1780, 0x1800), (0x3041, 0x3100)),
    *((0x3105, 0x3130), (0x31F0, 0x3200)),
)
_HAN = ((0x3005, 0x3008), (0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x32000))


@dataclass(frozen=True)
class Limits:
    """What a token may be: times its pair is seen, characters, those without gaps, Han."""

    min_count: int
    max_characters: int
    max_ungapped: int
    max_han: int


# left and right id, and how often the pair was seen; the n-th makes the n-th added token
Merges = list[tuple[int, int, int]]


@dataclass(frozen=True)
class Pieces:
    """Distinct pieces of text by group, packed.

    Attributes:
        data: the pieces' bytes in a row.
        starts: where each begins, and the end.
        groups: number of each one's group.
        counts: times seen.
        halvings: how often its kind was halved to stay in memory: it stands for 2 ** that many.
    """

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.uint64]
    groups: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.int64]
    halvings: npt.NDArray[np.uint8]

    def times(self, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how often each was seen, with those it stands for; 0 where it weighs nothing."""
        return np.where(weights > 0, self.counts << self.halvings, 0).astype(np.int64)

    def __iter__(self) -> Iterator[bytes]:
        """Yield each piece's bytes."""
        whole = self.data.tobytes()
        edges = self.starts.tolist()
        return (whole[a:b] for a, b in itertools.pairwise(edges))


@functools.cache
def character_kinds() -> npt.NDArray[np.uint8]:
    """Return the kind of each code point."""
    first = {"L": LETTER, "N": NUMBER}
    kinds = np.fromiter(
        (first.get(unicodedata.category(chr(c))[0], 0) for c in range(NUM_CODE_POINTS)),
        np.uint8,
        NUM_CODE_POINTS,
    )
    kinds[list(_SPACES)] = SPACE
    kinds[[0x0A, 0x0D]] = NEWLINE
    return kinds


@functools.cache
def gapless_scripts() -> npt.NDArray[np.uint8]:
    """Return for each code point 1 where words are written without gaps, 2 for Han, else 0."""
    table = np.zeros(NUM_CODE_POINTS, np.uint8)
    for value, ranges in ((1, _UNGAPPED), (2, _HAN)):
        for start, end in ranges:
            table[start:end] = value
    return table


def split_pieces(text: str) -> Iterator[bytes]:
    """Yield the pieces of a text by Qwen's pattern, longer ones than `MAX_PIECE` cut."""
    for match in _pattern().finditer(text):
        piece = match.group().encode()
        while len(piece) > MAX_PIECE:
            cut = MAX_PIECE
            while piece[cut] & 0xC0 == 0x80:
                cut -= 1
            yield piece[:cut]
            piece = piece[cut:]
        yield piece


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Return Qwen's pattern in the terms of Python's `re`, which has no Unicode categories."""
    kinds = character_kinds()

    def characters(*wanted: int) -> str:
        edges = np.flatnonzero(np.diff(np.isin(kinds, wanted).astype(np.int8), prepend=0, append=0))
        ranges = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        return "".join(f"\\U{start:08x}-\\U{end - 1:08x}" for start, end in ranges)

    letters, numbers = characters(LETTER), characters(NUMBER)
    spaces = characters(SPACE, NEWLINE)
    return re.compile(
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n{letters}{numbers}]?[{letters}]+|[{numbers}]|"
        rf" ?[^{spaces}{letters}{numbers}]+[\r\n]*|[{spaces}]*[\r\n]+|"
        rf"[{spaces}]+(?![^{spaces}])|[{spaces}]+"
    )
