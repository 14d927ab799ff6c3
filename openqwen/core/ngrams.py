"""Units and n-grams fair to every language: words, or characters where words have no gaps.

    units("The cat sat.", "en")   # ["the", "cat", "sat"]
    units("猫坐下了。", "zh")        # ["猫", "坐", "下", "了"]

Near-duplicates use 5-grams of these units, decontamination 13-grams, Rouge-L their order.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TypeVar

CHARACTER_LANGUAGES = frozenset({"zh", "ja", "th"})
# scripts written without gaps: Han, Kana, Thai
_GAPLESS = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNIT = re.compile(rf"[{_GAPLESS}]|[^\W_{_GAPLESS}]+")
Item = TypeVar("Item")
_WORD = re.compile(r"[^\W_]+")


def units(text: str, language: str | None = None) -> list[str]:
    """Return the lower-cased units of a text, punctuation and spaces left out.

    Args:
        text: any text.
        language: ISO 639-1 code; for Chinese, Japanese and Thai each character is a unit (Latin
            words inside such text stay words), for others each word. None goes by script, which
            differs only where another language quotes one of the three.
    """
    pattern = _UNIT if language is None or language in CHARACTER_LANGUAGES else _WORD
    return pattern.findall(text.lower())


def unit_spans(text: str) -> list[tuple[int, int]]:
    """Return each unit's place in the text: its first character, and the one after its last.

    Lower-casing may lengthen a text (a dotted capital I); places are the original's all the same.
    """
    lower = text.lower()
    spans = [found.span() for found in _UNIT.finditer(lower)]
    if len(lower) == len(text):
        return spans
    original = [place for place, letter in enumerate(text) for _ in letter.lower()]
    return [(original[start], original[end - 1] + 1) for start, end in spans]


def ngrams(items: Sequence[Item], n: int) -> Iterator[tuple[Item, ...]]:
    """Yield every run of `n` consecutive items; nothing where there are fewer than `n`."""
    return zip(*(items[i:] for i in range(n)), strict=False)


def lcs_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Bit-parallel (Hyyrö 2004): one long integer holds a row of the table, so a comparison costs as
    many integer steps as `other` has units.
    """
    places: dict[str, int] = defaultdict(int)
    for place, unit in enumerate(one):
        places[unit] |= 1 << place
    full = (1 << len(one)) - 1
    row = full
    for unit in other:
        matched = row & places.get(unit, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(one) - row.bit_count()
