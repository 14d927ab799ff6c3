"""Which script a text is written in: letters counted by their code points, without a regex.

    script, share = main_script("Мы едем домой")      # ("Cyrl", 1.0)

A script that (nearly) one language owns goes by that language's code, the others by their ISO 15924
names, of four letters. An ideograph or a syllable sign says as much as three letters. A letter
outside Latin counts for one and a half, since names and terms stand in Latin letters everywhere.
"""

import re
from functools import cache
from typing import Any

import numpy as np

BLOCK_BITS = 5  # code points are looked up in blocks of 32, so that the table stays small
HALVES = 2  # weights are in half letters
LATIN_WEIGHT, OTHER_WEIGHT, IDEOGRAPH_WEIGHT = 2, 3, 6
MIN_KANA = 0.05  # share of Kana from which Han is Japanese
LATIN = "Latn"
IDEOGRAPHIC = ("zh", "ja", "ko")

# script -> ranges of code points; ends lie on blocks, so signs between letters may be among them
RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    LATIN: ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)),
    "Cyrl": ((0x400, 0x52F),),
    "Arab": ((0x620, 0x6FF), (0x760, 0x77F), (0xFB60, 0xFDFF), (0xFE80, 0xFEFF)),
    "Hebr": ((0x5A0, 0x5FF),),
    "Deva": ((0x900, 0x97F),),
    "Beng": ((0x980, 0x9FF),),
    "Ethi": ((0x1200, 0x137F),),
    "el": ((0x380, 0x3FF), (0x1F00, 0x1FFF)),
    "hy": ((0x540, 0x57F),),
    "ka": ((0x10A0, 0x10FF),),
    "pa": ((0xA00, 0xA7F),),
    "gu": ((0xA80, 0xAFF),),
    "or": ((0xB00, 0xB7F),),
    "ta": ((0xB80, 0xBFF),),
    "te": ((0xC00, 0xC7F),),
    "kn": ((0xC80, 0xCFF),),
    "ml": ((0xD00, 0xD7F),),
    "si": ((0xD80, 0xDFF),),
    "th": ((0xE00, 0xE7F),),
    "lo": ((0xE80, 0xEFF),),
    "bo": ((0xF00, 0xFFF),),
    "my": ((0x1000, 0x109F),),
    "km": ((0x1780, 0x17FF),),
    "ko": ((0x1100, 0x11FF), (0xAC00, 0xD7AF)),
    "ja": ((0x3040, 0x30FF),),
    "zh": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
}
# what may stand in a text all in Latin letters; looked for first, since most texts are
_BEYOND_LATIN = re.compile(r"[^\x00-\u024f\u1e00-\u1eff\u2000-\u206f\u20a0-\u22ff]")
_NAMES = ("", *RANGES)
_HAN, _KANA = _NAMES.index("zh"), _NAMES.index("ja")


@cache
def _tables() -> tuple[Any, Any]:
    """Return the script's number of each block of code points, and each script's weight."""
    numbers = np.zeros(0x110000 >> BLOCK_BITS, np.uint8)
    for number, ranges in enumerate(RANGES.values(), start=1):
        for first, last in ranges:
            numbers[first >> BLOCK_BITS : (last >> BLOCK_BITS) + 1] = number
    weights = {LATIN: LATIN_WEIGHT} | dict.fromkeys(IDEOGRAPHIC, IDEOGRAPH_WEIGHT)
    return numbers, np.array([0, *(weights.get(name, OTHER_WEIGHT) for name in RANGES)])


def main_script(text: str) -> tuple[str, float, int]:
    """Return the script of most letters, its share of them, and how many there are, as weighted.

    Han with at least 5 % Kana is "ja", else "zh". Without letters the script is "".
    """
    if text.isascii() or not _BEYOND_LATIN.search(text):
        letters = len(text) - text.count(" ")
        return (LATIN, 1.0, letters) if letters else ("", 0.0, 0)
    numbers, weights = _tables()
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(numbers[points >> BLOCK_BITS], minlength=len(_NAMES)) * weights
    if counts[_KANA] > MIN_KANA * (counts[_HAN] + counts[_KANA]):
        counts[_KANA] += counts[_HAN]
        counts[_HAN] = 0
    total, best = int(counts.sum()), int(counts.argmax())
    return (_NAMES[best], int(counts[best]) / total, total // HALVES) if total else ("", 0.0, 0)
