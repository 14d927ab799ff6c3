"""Sketching and comparing documents: C++ where it is, otherwise Python, with the same bits.

    plan = SketchPlan.of(MinHashConfig())
    sketches = sketch(["First text.", "Second text."], plan)
    shared, united = compare_pairs(sketches.shingles, starts, ends, left, right)

Both work on whole batches: a call of C++ lets other threads run.
"""

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqwen.core.ngrams import units
from openqwen.data.extraction.normalise import key_of, plain_form
from openqwen.data.kernels.build import open_kernels
from openqwen.data.kernels.tables import Tables, open_tables
from openqwen.data.shingles import (
    GOLDEN,
    Hashes,
    Shingles,
    UnitHasher,
    compare,
    mix,
    place_factors,
    shingles,
)

Places = NDArray[np.int64]

CHUNK_SHINGLES = 4096  # hashed at once without the kernels: bounds the memory of a long text
ASK_PYTHON = 1  # state of a document whose plain form is left to Python
PLAIN_ROOM = 64  # bytes behind the plain forms that the kernel may touch
SIGMA = "\u03a3".encode()  # the one letter whose lower case depends on its neighbours
_FINAL = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True)
class SketchPlan:
    """How documents are sketched; the hash functions are the same ones for every corpus.

    Attributes:
        ngram: units in a shingle.
        bands: keys of a document.
        rows: places of the signature that make a key.
        factors_P: of the hash functions a·x + b modulo 2^32, odd.
        offsets_P: their b.
        places_N: a factor for each place of a shingle.
    """

    ngram: int
    bands: int
    rows: int
    factors_P: Shingles
    offsets_P: Shingles
    places_N: Hashes

    @classmethod
    def of(cls, ngram: int, num_permutations: int, bands: int, rows: int) -> "SketchPlan":
        """Draw the hash functions."""
        draw = np.random.Generator(np.random.PCG64(0x5EED))
        high = np.iinfo(np.uint32).max
        factors = draw.integers(0, high, num_permutations, np.uint32, endpoint=True)
        offsets = draw.integers(0, high, num_permutations, np.uint32, endpoint=True)
        return cls(ngram, bands, rows, factors | np.uint32(1), offsets, place_factors(ngram))


@dataclass(frozen=True, slots=True)
class Sketches:
    """What is known of D documents in a row.

    Attributes:
        shingles: of all documents, one behind the other, in the order of the text, repeats too.
        ends_D: where each document's end.
        signatures_DP: minima of the hash functions; all ones without shingles.
        bands_DB: key of each band.
        exact_keys: `same_key` of each text.
    """

    shingles: Shingles
    ends_D: Places
    signatures_DP: Shingles
    bands_DB: Hashes
    exact_keys: list[bytes]


def sketch(texts: Sequence[str], plan: SketchPlan) -> Sketches:
    """Return the sketches of texts as running text (`normalise.same_key` knows of code too)."""
    library = _library()
    if library is None:
        return _sketch_in_python(texts, plan)
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    asks = np.zeros(len(texts), dtype=np.uint8)
    data, starts = _joined(encoded)
    if SIGMA in data:
        asks[:] = [SIGMA in text for text in encoded]
        for place in np.flatnonzero(asks).tolist():
            encoded[place] = texts[place].lower().encode("utf-8", "surrogatepass")
        data, starts = _joined(encoded)
    count, size, room = len(texts), int(starts[-1]), 2 * int(starts[-1]) + PLAIN_ROOM
    found = np.empty(size + 1, dtype=np.uint32)
    ends_D, plain_ends = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    signatures_DP = np.empty((count, len(plan.factors_P)), dtype=np.uint32)
    bands_DB = np.empty((count, plan.bands), dtype=np.uint64)
    plain, states = np.empty(room, dtype=np.uint8), np.empty(count, dtype=np.uint8)
    library.openqwen_sketch(
        _tables(), data, _at(starts), count, plan.ngram, _at(plan.places_N),
        len(plan.factors_P), _at(plan.factors_P), _at(plan.offsets_P), plan.bands, plan.rows,
        _at(found), _at(ends_D), _at(signatures_DP), _at(bands_DB), _at(plain), room,
        _at(plain_ends), _at(states),
    )  # fmt: skip
    keys = _exact_keys(texts, plain.data, plain_ends, (states & np.uint8(ASK_PYTHON)) | asks)
    total = int(ends_D[-1]) if count else 0
    return Sketches(found[:total].copy(), ends_D, signatures_DP, bands_DB, keys)


def _exact_keys(
    texts: Sequence[str], plain: memoryview, ends: Places, ask_D: NDArray[np.uint8]
) -> list[bytes]:
    """Return the keys of texts, from their plain forms or, where asked, from the texts."""
    keys, start = [], 0
    for text, end, ask in zip(texts, ends.tolist(), ask_D.tolist(), strict=True):
        keys.append(key_of(_plain_bytes(text) if ask else plain[start:end]))
        start = end
    return keys


def hash_units(text: str) -> Hashes | None:
    """Return the numbers of a text's units, or None where the kernels are not there."""
    library = _library()
    if library is None:
        return None
    data = text.encode("utf-8", "surrogatepass")
    if SIGMA in data:
        data = text.lower().encode("utf-8", "surrogatepass")
    found = np.empty(len(data) + 1, dtype=np.uint64)
    starts, ends = np.array([0, len(data)], dtype=np.int64), np.empty(1, dtype=np.int64)
    library.openqwen_units(_tables(), data, _at(starts), 1, _at(found), _at(ends))
    return found[: ends[0]].copy()


def compare_pairs(
    numbers: Shingles, starts: Places, ends: Places, left: Places, right: Places
) -> tuple[Places, Places]:
    """Return how many different shingles each pair of documents shares, and has together.

    Args:
        numbers: shingles of many documents.
        starts: where each document's begin in it.
        ends: where they end.
        left: documents of the pairs; equal ones side by side are faster.
        right: the others.
    """
    shared = np.empty(len(left), dtype=np.int64)
    united = np.empty(len(left), dtype=np.int64)
    library = _library()
    if library is None:
        for place, (one, other) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
            shared[place], united[place] = compare(
                numbers[starts[one] : ends[one]], numbers[starts[other] : ends[other]]
            )
        return shared, united
    arrays = [np.ascontiguousarray(a, dtype=np.int64) for a in (starts, ends, left, right)]
    numbers = np.ascontiguousarray(numbers, dtype=np.uint32)
    library.openqwen_compare(_at(numbers), *map(_at, arrays), len(left), _at(shared), _at(united))
    return shared, united


def which_kernels() -> str:
    """Return, for a line to the user, what does the work."""
    why_not = open_kernels()[1]
    return f"numpy: {why_not}" if why_not else "C++ kernels"


def signature(shingles_N: Shingles, plan: SketchPlan) -> Shingles:
    """Return the (P,) signature of a set in numpy; all ones for the empty set."""
    lowest_P = np.full(len(plan.factors_P), _FINAL, dtype=np.uint32)
    for start in range(0, len(shingles_N), CHUNK_SHINGLES):
        chunk_N = shingles_N[start : start + CHUNK_SHINGLES]
        hashed_PN = plan.factors_P[:, None] * chunk_N + plan.offsets_P[:, None]
        np.minimum(lowest_P, hashed_PN.min(axis=1), out=lowest_P)
    return lowest_P


def band_keys(signatures_DP: Shingles, plan: SketchPlan) -> Hashes:
    """Return (D, bands) numbers, equal where all rows of a band are, in numpy."""
    keys = [
        np.full(len(signatures_DP), (b + 1) * GOLDEN % 2**64, np.uint64) for b in range(plan.bands)
    ]
    for band, key_D in enumerate(keys):
        for row in range(plan.rows):
            key_D[:] = mix(key_D ^ signatures_DP[:, band * plan.rows + row].astype(np.uint64))
    return np.stack(keys, axis=1)


def _sketch_in_python(texts: Sequence[str], plan: SketchPlan) -> Sketches:
    hasher = _hasher()
    sets = [shingles(hasher(units(text)), plan.ngram) for text in texts]
    signatures_DP = np.array([signature(s, plan) for s in sets], dtype=np.uint32)
    signatures_DP = signatures_DP.reshape(len(texts), len(plan.factors_P))
    return Sketches(
        np.concatenate([*sets, np.empty(0, dtype=np.uint32)]),
        np.cumsum([len(s) for s in sets], dtype=np.int64),
        signatures_DP,
        band_keys(signatures_DP, plan),
        [key_of(_plain_bytes(text)) for text in texts],
    )


def _plain_bytes(text: str) -> bytes:
    return plain_form(text).encode("utf-8", "surrogatepass")


def _joined(encoded: list[bytes]) -> tuple[bytes, Places]:
    """Return texts as one, with room behind for reads in blocks, and where each starts."""
    starts = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(data) for data in encoded], out=starts[1:])
    return b"".join([*encoded, bytes(8)]), starts


class _TablesStruct(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_void_p) for name in ("flags", "lower_at", "plain_at", "strings")
    )


@functools.cache
def _hasher() -> UnitHasher:
    return UnitHasher()


@functools.cache
def _struct() -> tuple[_TablesStruct, Tables]:
    tables = open_tables()
    arrays = (tables.flags, tables.lower_at, tables.plain_at, tables.strings)
    return _TablesStruct(*(array.ctypes.data for array in arrays)), tables


def _tables() -> Any:
    return ctypes.byref(_struct()[0])


# of each function: p pointer, q int64, i int
_ARGUMENTS = {
    "openqwen_units": "pppqpp",
    "openqwen_sketch": "pppqipippiipppppqpp",
    "openqwen_compare": "pppppqpp",
}


@functools.cache
def _library() -> ctypes.CDLL | None:
    library, _ = open_kernels()
    if library is not None:
        kinds = {"p": ctypes.c_void_p, "i": ctypes.c_int, "q": ctypes.c_int64}
        for name, letters in _ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes = [kinds[letter] for letter in letters]
            function.restype = None
    return library


def _at(array: NDArray[Any]) -> int:
    assert array.flags.c_contiguous, "kernels read contiguous arrays"
    return array.ctypes.data
