"""What the kernels know of each code point, taken from Python's own `re`, `str` and `unicodedata`.

    tables = open_tables()      # once a process

The plain form of a text (`normalise.same_key`) is NFKC, case folding and no punctuation. Where no
character of a text joins the one before it, it is the plain forms of its characters one after the
other; texts with one that joins (JOINS) are left to Python.
"""

import functools
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openqwen.core.ngrams import units
from openqwen.data.extraction.normalise import plain_form

CODE_POINTS = 0x110000
GAP, WORD, ALONE = 0, 1, 2  # kinds, as text.h has them
LOWERS, PLAINS, JOINS = 4, 8, 16
CHUNK = 256  # code points looked at together: most have nothing special


@dataclass(frozen=True)
class Tables:
    """Flags of all code points, and the texts some of them turn into.

    Attributes:
        flags: (CODE_POINTS,) kind, LOWERS, PLAINS, JOINS.
        lower_at: (CODE_POINTS,) place in `strings` of the lower case of those with LOWERS.
        plain_at: (CODE_POINTS,) of the plain form of those with PLAINS.
        strings: a length, then so many bytes of UTF-8, again and again.
    """

    flags: NDArray[np.uint8]
    lower_at: NDArray[np.int32]
    plain_at: NDArray[np.int32]
    strings: NDArray[np.uint8]


@functools.cache
def open_tables() -> Tables:
    """Return the tables; a fraction of a second once a process."""
    flags = np.zeros(CODE_POINTS, dtype=np.uint8)
    lower_at = np.zeros(CODE_POINTS, dtype=np.int32)
    plain_at = np.zeros(CODE_POINTS, dtype=np.int32)
    strings = bytearray(1)  # at place 0 the empty one
    for start in range(0, CODE_POINTS, CHUNK):
        chunk = "".join(map(chr, range(start, start + CHUNK)))
        plain = plain_form(chunk)
        if not plain and not units(chunk):  # unassigned, private, symbols
            flags[start : start + CHUNK] = PLAINS
        else:
            flags[start : start + CHUNK] = _kinds(chunk)
            if plain != chunk:
                _note_changes(chunk, plain_form, flags, PLAINS, plain_at, strings)
        if chunk.lower() != chunk:
            _note_changes(chunk, str.lower, flags, LOWERS, lower_at, strings)
        for point in _joining(chunk):
            flags[point] |= JOINS
    return Tables(flags, lower_at, plain_at, np.frombuffer(bytes(strings), dtype=np.uint8))


def _kinds(chunk: str) -> NDArray[np.uint8]:
    """Return the kind of each character, as `core.ngrams.units` takes it (in lower case)."""
    kinds = np.zeros(len(chunk), dtype=np.uint8)
    # each twice: a word's letter gives one unit of two, a character that stands alone two of one
    for unit in units(" ".join(c + c for c in chunk)):
        place = ord(unit[0]) - ord(chunk[0])
        if 0 <= place < len(chunk) and chunk[place].lower() == chunk[place]:
            kinds[place] = WORD if len(unit) == 2 else ALONE
    return kinds


def _note_changes(
    chunk: str,
    change: Callable[[str], str],
    flags: NDArray[np.uint8],
    flag: int,
    place_at: NDArray[np.int32],
    strings: bytearray,
) -> None:
    """Flag the characters that `change` turns into something else, and keep what."""
    for character in chunk:
        changed = change(character)
        if changed != character:
            flags[ord(character)] |= flag
            if changed:
                text = changed.encode("utf-8", "surrogatepass")
                place_at[ord(character)] = len(strings)
                strings += bytes([len(text)]) + text


def _joining(chunk: str) -> Iterator[int]:
    """Yield the code points whose normal form may depend on what stands before them."""
    seconds = _second_parts()
    if (
        unicodedata.is_normalized("NFKD", chunk)
        and not any(map(unicodedata.combining, chunk))
        and seconds.isdisjoint(chunk)
    ):
        return
    for character in chunk:
        first = unicodedata.normalize("NFKD", character)[0]
        if unicodedata.combining(first) or first in seconds:
            yield ord(character)


@functools.cache
def _second_parts() -> frozenset[str]:
    """Return the characters that compose with one before them: of Hangul, and by the tables."""
    found = {chr(point) for point in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    for start in range(0, CODE_POINTS, CHUNK):
        chunk = "".join(map(chr, range(start, start + CHUNK)))
        if unicodedata.is_normalized("NFD", chunk):
            continue
        for parts in map(unicodedata.decomposition, chunk):
            if parts and not parts.startswith("<") and " " in parts:
                found.add(chr(int(parts.split()[1], 16)))
    return frozenset(found)
