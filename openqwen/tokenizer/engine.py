"""Ordinary text to ids: by our compiled encoder where it runs, else by tiktoken; equal ids.

    engine = open_engine(ranks, pattern)
    engine.encode("Hello")
    engine.encode_batch(["Hello", "世界"])       # in parallel

The compiled encoder knows the split patterns of SCANNED. It takes from tiktoken's regex engine
what is a letter, a number and white space; the table is made, and both engines are held against
each other, once for each build of the encoder and release of tiktoken.
"""

import ctypes
import functools
import itertools
import weakref
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from openqwen.core.compiled import CompiledSource, open_library
from openqwen.core.files import atomic_path
from openqwen.core.log import warn
from openqwen.core.runtime import cache_directory, count_processors
from openqwen.tokenizer.text import without_surrogates
from openqwen.tokenizer.vocabulary import LLAMA3_PATTERN, QWEN_PATTERN

SCANNED = {QWEN_PATTERN: 1, LLAMA3_PATTERN: 3}  # pattern -> digits that stay together
SOURCE = CompiledSource(
    "tokenizer",
    Path(__file__).parent,
    ("encode.cpp",),
    ("bpe.h",),
    flags=("-O3", "-march=native", "-std=c++17", "-pthread"),
    link_flags=("-pthread",),
)

_NUM_POINTS = 0x110000  # code points of Unicode
_KINDS = ((1, r"\p{L}+"), (2, r"\p{N}+"), (3, r"\s+"), (4, r"[\r\n]+"))  # as in bpe.h
_MAX_ID = 2**23  # a rank and a place share 32 bits in bpe.h


class Engine(Protocol):
    """Ids of texts in which nothing is a control token, and bytes of any ids.

    No text has a longer run of white space than MAX_SPACE_RUN, which one engine could not hold.
    `name` tells people which engine it is.
    """

    name: str

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; a lone surrogate counts as U+FFFD."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, encoded on all processors."""
        ...

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of the tokens; KeyError or OverflowError where an id has none."""
        ...


def open_engine(ranks: Mapping[bytes, int], controls: Mapping[str, int], pattern: str) -> Engine:
    """Return the fastest engine that is exact for this vocabulary on this machine."""
    why_not = ""
    if pattern not in SCANNED:
        why_not = "the compiled encoder knows other split patterns"
    elif not all(bytes([value]) in ranks for value in range(256)):
        why_not = "the compiled encoder needs all 256 bytes"
    elif not all(0 <= i < _MAX_ID for i in itertools.chain(ranks.values(), controls.values())):
        why_not = "ids too high for the compiled encoder"
    else:
        library, why_not = open_library(SOURCE)
        if library is not None and (kinds := _checked_kinds(library)) is not None:
            return CompiledEngine(library, ranks, controls, SCANNED[pattern], kinds)
    return TiktokenEngine(ranks, controls, pattern, why_not or "the compiled encoder differs")


class TiktokenEngine:
    """tiktoken's own encoder; any pattern."""

    def __init__(
        self, ranks: Mapping[bytes, int], controls: Mapping[str, int], pattern: str, why: str
    ) -> None:
        """Build it; `why` tells people why it is this one."""
        import tiktoken

        self.name = f"tiktoken {version('tiktoken')} ({why})"
        self._encoding = tiktoken.Encoding(
            "openqwen", pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens=dict(controls)
        )

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return list(self._encoding.encode_ordinary(text))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, encoded on all processors."""
        return list(
            self._encoding.encode_ordinary_batch(list(texts), num_threads=count_processors())
        )

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of the tokens."""
        return bytes(self._encoding.decode_bytes(ids))


class CompiledEngine:
    """encode.cpp through ctypes; the interpreter's lock is free while it encodes."""

    name = "openqwen's compiled encoder"

    def __init__(
        self,
        library: ctypes.CDLL,
        ranks: Mapping[bytes, int],
        controls: Mapping[str, int],
        digits: int,
        kinds: bytes,
    ) -> None:
        """Build it.

        Args:
            library: encode.cpp.
            ranks: token bytes -> id, all 256 bytes among them.
            controls: control token -> id; these and the ranks' below _MAX_ID.
            digits: how many of a run stay together in a piece.
            kinds: what each code point is, as in bpe.h.
        """
        tokens = [*ranks, *(name.encode() for name in controls)]
        sizes = np.fromiter(map(len, tokens), np.uint32, len(tokens))
        ids = np.fromiter([*ranks.values(), *controls.values()], np.uint32, len(tokens))
        functions = ctypes.PyDLL(library._name)  # they work on Python's own objects
        pointer, size, object_ = ctypes.c_void_p, ctypes.c_size_t, ctypes.py_object
        make = functions.openqwen_encoder
        make.argtypes = (ctypes.c_char_p, pointer, pointer, size, size, ctypes.c_char_p, size)
        make.restype = pointer
        self._handle = ctypes.c_void_p(
            make(
                b"".join(tokens),
                sizes.ctypes.data,
                ids.ctypes.data,
                len(ranks),
                len(tokens),
                kinds,
                digits,
            )
        )
        weakref.finalize(self, functions.openqwen_encoder_free, self._handle)
        self._encode = functions.openqwen_encode
        self._encode.argtypes, self._encode.restype = (pointer, object_), object_
        self._encode_batch = functions.openqwen_encode_batch
        self._encode_batch.argtypes, self._encode_batch.restype = (pointer, object_, size), object_
        self._decode = functions.openqwen_decode
        self._decode.argtypes, self._decode.restype = (pointer, object_), object_

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text."""
        try:
            ids: list[int] = self._encode(self._handle, text)
        except UnicodeEncodeError:
            ids = self._encode(self._handle, without_surrogates(text))
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, encoded on all processors."""
        threads = count_processors()
        try:
            ids: list[list[int]] = self._encode_batch(self._handle, list(texts), threads)
        except UnicodeEncodeError:
            ids = self._encode_batch(self._handle, list(map(without_surrogates, texts)), threads)
        return ids

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of the tokens."""
        data: bytes = self._decode(self._handle, ids if isinstance(ids, list) else list(ids))
        return data


def fault_of_pattern(pattern: str) -> str:
    """Return in a line what keeps tiktoken from splitting by this regex; empty if nothing does."""
    single = {bytes([value]): value for value in range(256)}
    try:
        TiktokenEngine(single, {}, pattern, "").encode("a 1")
    except ValueError as error:
        return str(error).strip().splitlines()[0]
    return ""


def character_kinds() -> bytes:
    """Return what each code point is to tiktoken's regex engine: 0 other, else as in _KINDS."""
    import tiktoken

    points = np.arange(_NUM_POINTS, dtype=np.uint32)
    kinds = np.zeros(_NUM_POINTS, np.uint8)
    surrogates = (points >= 0xD800) & (points < 0xE000)
    every = points[~surrogates].tobytes().decode("utf-32-le")
    single = {bytes([value]): value for value in range(256)}
    for kind, pattern in _KINDS:  # what the pattern does not match is no token
        matcher = tiktoken.Encoding(
            "kinds", pat_str=pattern, mergeable_ranks=single, special_tokens={}
        )
        matched = bytes(matcher.encode_ordinary(every)).decode()
        kinds[np.frombuffer(matched.encode("utf-32-le"), np.uint32)] = kind
    return kinds.tobytes()


@functools.cache
def _checked_kinds(library: ctypes.CDLL) -> bytes | None:
    """Return the kinds of characters, or None where the engines differ.

    Kept in a file of the cache, which is only written once both engines gave the same ids.
    """
    name = f"characters_{SOURCE.identity()}_tiktoken_{version('tiktoken')}.bin"
    path = cache_directory() / "kernels" / name
    if path.is_file() and len(kinds := path.read_bytes()) == _NUM_POINTS:
        return kinds
    kinds = character_kinds()
    if broken := _difference(library, kinds):
        warn(f"the compiled encoder splits {broken!r} unlike tiktoken, which is used instead")
        return None
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(kinds)
    except OSError:
        pass  # made anew next time
    return kinds


def _difference(library: ctypes.CDLL, kinds: bytes) -> str | None:
    """Return a text for which the engines give other ids, None where there is none.

    Every pair of bytes is a token, in an order without order: what splits elsewhere, merges
    elsewhere.
    """
    ranks = {bytes([value]): value for value in range(256)}
    for i in range(2**16):
        pair = (i * 40_503 + 7) % 2**16
        ranks[pair.to_bytes(2, "big")] = 256 + i
    for pattern, digits in SCANNED.items():
        ours = CompiledEngine(library, ranks, {}, digits, kinds)
        reference = TiktokenEngine(ranks, {}, pattern, "")
        probes = list(_probes())
        both = zip(ours.encode_batch(probes), reference.encode_batch(probes), strict=True)
        for text, (got, wanted) in zip(probes, both, strict=True):
            if got != wanted:
                return text[:40]
    return None


def _probes() -> Iterator[str]:
    """Yield characters of all planes among letters, digits, signs and spaces, then mixtures."""
    for start in range(0, _NUM_POINTS, 0x1000):
        points = range(start, start + 0x1000, 1 if start < 0x1000 else 61)
        signs = [chr(i) for i in points if not 0xD800 <= i < 0xE000]
        yield "".join(f"a{c}b {c}1{c}!{c}\n{c}{c}  {c}'{c}" for c in signs)
    signs = [
        "a",
        "1",
        "'",
        "!",
        " ",
        "\t",
        "\r",
        "\n",
        "s",
        "ſ",
        "中",
        "٣",
        "\u0301",
        "\u3000",
        "\0",
    ]
    for size in (1, 2, 3):
        yield from map("".join, itertools.product(signs, repeat=size))
    yield from map("".join, itertools.product(signs[:8], repeat=4))
