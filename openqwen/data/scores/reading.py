"""Documents as the scorers see them, prepared once for all of them.

    readings = Reader()(["今天天气很好。"], "zh")
    readings.units                  # a number a unit: characters for zh, ja and th, words elsewhere
    readings.form_DM                # shares of signs, digits, ended lines …, whatever the language

Fenced code is left out; of a very long text four slices are read, so that memory stays bounded.
"""

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openqwen.core.ngrams import CHARACTER_LANGUAGES, units
from openqwen.data.kernels.ops import hash_units
from openqwen.data.language.identify import without_code
from openqwen.data.scores.unit_batch import UnitBatch
from openqwen.data.shingles import Hashes, UnitHasher, ngram_hashes

MAX_CHARS = 200_000  # of a document that are read
SLICES = 4  # of a longer one, evenly spaced
PAIR_UNITS = 1000  # at a text's start, in which repetition is looked for

END, SIGN, DIGIT, UPPER, LETTER, SPACE, NEWLINE, OTHER = range(8)
CLASSES = 8
_ENDS = ".!?:;…\"'”’»)。．｡！？：；，、」』）】》〉।؟۔"  # what a line of prose ends in
FORM_NAMES = (
    "mean line length", "ended lines", "signs", "digits", "upper case", "ends", "spaces",
    "other characters", "different pairs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Readings:
    """Texts of one language, read."""

    texts: list[str]  # what was read of each
    by_characters: bool  # whether a unit is a character
    units: UnitBatch
    form_DM: NDArray[np.float64]  # nine measures of each text's form, named by FORM_NAMES

    def __len__(self) -> int:
        return len(self.texts)


class Reader:
    """Reads texts; remembers the numbers of words where the C++ kernels are not there."""

    def __init__(self) -> None:
        """Start with nothing remembered."""
        self.hasher = UnitHasher()

    def __call__(self, texts: Sequence[str], language: str) -> Readings:
        """Return texts read as ones of their language (ISO 639-1); at least one text."""
        read = [_bounded(without_code(text)) for text in texts]
        batch = UnitBatch.of([self.hashes(text) for text in read])
        return Readings(read, language in CHARACTER_LANGUAGES, batch, _form(read, batch))

    def hashes(self, text: str) -> Hashes:
        """Return (N,) the numbers of a text's units."""
        found = hash_units(text)
        return self.hasher(units(text)) if found is None else found


def unit_fingerprint() -> str:
    """Return what changes when texts are cut or numbered differently than they were."""
    hashes_N = Reader().hashes("Two words, 三个字 and ñandú 2026.")
    return f"{int(ngram_hashes(hashes_N, len(hashes_N))[0]):016x}"


def _bounded(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    length = MAX_CHARS // SLICES
    starts = [i * (len(text) - length) // (SLICES - 1) for i in range(SLICES)]
    return "\n".join(text[start : start + length] for start in starts)


def _form(texts: list[str], units: UnitBatch) -> NDArray[np.float64]:
    """Return (D, 9) measures; the first is a logarithm of characters, base 2.

    Ended lines are a share of lines that are not blank, different pairs of units one of all pairs
    at the text's start, the others shares of all characters but line ends.
    """
    joined = "\n".join([*texts, ""])  # every line ends in a line end
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    kinds = _class_table()[np.minimum(codes, 0xFFFF)]
    ends = np.cumsum([len(text) + 1 for text in texts])
    starts = ends - [len(text) + 1 for text in texts]
    counts = np.array(
        [
            np.bincount(kinds[start:end], minlength=CLASSES)
            for start, end in zip(starts, ends, strict=True)
        ],
        dtype=np.float64,
    )
    breaks = np.flatnonzero(kinds == NEWLINE)
    last = kinds[breaks - 1]  # of the very first character the last, a line end
    filled = (last != NEWLINE) & (last != SPACE)
    owners = np.searchsorted(ends, breaks, side="right")
    lines_D = np.maximum(1, np.bincount(owners[filled], minlength=len(texts)))
    ended_D = np.bincount(owners[filled & (last == END)], minlength=len(texts)) / lines_D
    chars_D = np.maximum(1.0, counts.sum(axis=1) - counts[:, NEWLINE])
    shares = counts[:, [SIGN, DIGIT, UPPER, END, SPACE, OTHER]] / chars_D[:, None]
    length_D = np.log2(chars_D / lines_D)
    return np.column_stack([length_D, ended_D, shares, _different_pairs(units)])


def _different_pairs(units: UnitBatch) -> list[float]:
    pairs_N = units.ngrams(2)
    shares: list[float] = []
    for start, length in zip(units.starts_D.tolist(), units.lengths_D.tolist(), strict=True):
        pairs = np.sort(pairs_N[start + 1 : start + min(length, PAIR_UNITS)])
        different = int(np.count_nonzero(pairs[1:] != pairs[:-1])) + (len(pairs) > 0)
        shares.append(different / max(1, len(pairs)))
    return shares


@functools.cache
def _class_table() -> NDArray[np.uint8]:
    """Return (65536,) the class of each character of the basic plane."""
    table = np.full(1 << 16, OTHER, dtype=np.uint8)
    by_category = {"L": LETTER, "M": LETTER, "N": DIGIT, "P": SIGN, "S": SIGN, "Z": SPACE}
    for code in range(1 << 16):
        category = unicodedata.category(chr(code))
        table[code] = UPPER if category in ("Lu", "Lt") else by_category.get(category[0], OTHER)
    table[[ord(sign) for sign in _ENDS]] = END
    table[ord("\n")] = NEWLINE
    table[ord("\t")] = SPACE
    return table
