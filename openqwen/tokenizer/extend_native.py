"""The C++ behind `tokenizer extend`: compiled once, opened by ctypes, optional.

    library, why_not = open_trainer()

Where it can't be had, `extend_slow` does the same work in Python.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openqwen.core.compiled import CompiledSource, open_library
from openqwen.tokenizer.extend_pieces import (
    Limits,
    Merges,
    Pieces,
    character_kinds,
    gapless_scripts,
)

SOURCE = CompiledSource(
    "extend",
    Path(__file__).parent,
    ("extend.cpp",),
    flags=("-O3", "-march=native", "-std=c++17", "-pthread"),
    link_flags=("-pthread", "-lstdc++"),  # first: libc10 exports a symbol of it, and isn't there
)


@functools.cache
def open_trainer() -> tuple[ctypes.CDLL | None, str]:
    """Return the opened library and "", or None and in a few words why there is none."""
    library, why_not = open_library(SOURCE)
    if library is not None:
        _declare(library)
    return library, why_not


def _declare(library: ctypes.CDLL) -> None:
    pointer, u64, i64, u32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int64, ctypes.c_uint32
    library.openqwen_counter_new.argtypes = [pointer, u64]
    library.openqwen_counter_new.restype = pointer
    library.openqwen_counter_free.argtypes = [pointer]
    library.openqwen_counter_free.restype = None
    library.openqwen_counter_add.argtypes = [pointer, u32, ctypes.c_char_p, u64, u64]
    library.openqwen_counter_add.restype = None
    library.openqwen_counter_sizes.argtypes = [pointer, pointer, pointer]
    library.openqwen_counter_sizes.restype = None
    library.openqwen_counter_export.argtypes = [pointer] * 6
    library.openqwen_counter_export.restype = None
    library.openqwen_extend.argtypes = [
        *(pointer, pointer, u64, pointer, pointer, pointer, pointer, u64),
        *(i64, i64, i64, i64, i64, pointer, ctypes.c_int, pointer, pointer, pointer),
    ]
    library.openqwen_extend.restype = i64


class NativeCounter:
    """Counts of distinct pieces of text by group, in bounded memory; `add` may run in threads."""

    def __init__(self, library: ctypes.CDLL, limit_bytes: int) -> None:
        """Start with an empty table of at most `limit_bytes` (with its entries)."""
        self._library = library
        self._handle = library.openqwen_counter_new(_address(character_kinds()), limit_bytes)

    def add(self, group: int, text: bytes, count: int) -> None:
        """Count the pieces of one text in valid UTF-8, `count` times."""
        self._library.openqwen_counter_add(self._handle, group, text, len(text), count)

    def finish(self) -> Pieces:
        """Return what was counted and free the table."""
        sizes = np.zeros(2, np.uint64)
        at = sizes.ctypes.data
        self._library.openqwen_counter_sizes(self._handle, at, at + 8)
        n, size = int(sizes[0]), int(sizes[1])
        pieces = Pieces(
            data=np.empty(size, np.uint8),
            starts=np.empty(n + 1, np.uint64),
            groups=np.empty(n, np.uint32),
            counts=np.empty(n, np.int64),
            halvings=np.empty(n, np.uint8),
        )
        arrays = (pieces.data, pieces.starts, pieces.groups, pieces.counts, pieces.halvings)
        self._library.openqwen_counter_export(self._handle, *map(_address, arrays))
        self._library.openqwen_counter_free(self._handle)
        self._handle = None
        return pieces


def native_extend(
    library: ctypes.CDLL,
    pieces: Pieces,
    weights: npt.NDArray[np.int64],
    base: list[bytes],
    wanted: int,
    limits: Limits,
    *,
    threads: int,
) -> Merges:
    """Learn up to `wanted` tokens; as `extend_slow.slow_extend`, which see."""
    base_data = np.frombuffer(b"".join(base), np.uint8)
    base_starts = np.cumsum([0, *map(len, base)]).astype(np.uint64)
    counts = pieces.times(weights)
    left, right = np.empty(wanted, np.uint32), np.empty(wanted, np.uint32)
    seen = np.empty(wanted, np.int64)
    arrays = map(_address, (pieces.data, pieces.starts))
    made = library.openqwen_extend(
        *arrays,
        len(pieces.counts),
        _address(weights),
        _address(counts),
        _address(base_data),
        _address(base_starts),
        len(base),
        wanted,
        limits.min_count,
        limits.max_characters,
        limits.max_ungapped,
        limits.max_han,
        _address(gapless_scripts()),
        threads,
        *map(_address, (left, right, seen)),
    )
    if made < 0:
        raise MemoryError("more than 4 G bytes of distinct text; lower extend.table_bytes")
    return [
        (int(a), int(b), int(n))
        for a, b, n in zip(left[:made], right[:made], seen[:made], strict=True)
    ]


def _address(array: Any) -> int:
    return int(array.ctypes.data)
