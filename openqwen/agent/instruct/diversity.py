"""New samples must differ from all before: Rouge-L of instructions, 5-grams of whole samples.

    pool = RougePool()
    pool.add("seed_task_8", "Write a poem about summer.")
    pool.nearest("Write a poem about winter.", above=0.7)      # (0.8, "seed_task_8")
    rouge_l(units("a b c"), units("a c"))                       # 0.8

Units are words, characters where a language writes no gaps, so that Chinese counts.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from openqwen.core.ngrams import lcs_length, units
from openqwen.data.shingles import ngram_hashes, unit_hashes

SHINGLE = 5


def rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    """Return Rouge-L's F1 (Lin 2004): 2 · LCS over both lengths; 0 where one is empty."""
    if not one or not other:
        return 0.0
    return 2 * lcs_length(one, other) / (len(one) + len(other))


class RougePool:
    """Instructions to compare new ones with.

    Two bounds come first, since neither needs the subsequence: it is no longer than the shorter
    text, nor than what both share as bags of units.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._ids: list[str] = []
        self._units: list[list[str]] = []
        self._bags: list[Counter[str]] = []
        self.num_compared = 0  # pairs that the bounds let through

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, id: str, text: str) -> None:
        """Take in one text."""
        found = units(text)
        self._ids.append(id)
        self._units.append(found)
        self._bags.append(Counter(found))

    def nearest(self, text: str, *, above: float) -> tuple[float, str] | None:
        """Return the highest Rouge-L above a limit and whose it is; None where there is none."""
        own = units(text)
        bag = Counter(own)
        best, whose = above, None
        for id, other, other_bag in zip(self._ids, self._units, self._bags, strict=True):
            total = len(own) + len(other)
            if total == 0 or 2 * min(len(own), len(other)) <= best * total:
                continue
            if 2 * sum((bag & other_bag).values()) <= best * total:
                continue
            self.num_compared += 1
            score = rouge_l(own, other)
            if score > best:
                best, whose = score, id
        return None if whose is None else (best, whose)


class ShinglePool:
    """Whole samples as sets of 5-grams; finds the nearest by Jaccard similarity, exactly."""

    def __init__(self) -> None:
        """Begin with none."""
        self._ids: list[str] = []
        self._sizes: list[int] = []
        self._holders: dict[int, list[int]] = defaultdict(list)

    def add(self, id: str, text: str) -> None:
        """Take in one text."""
        found = _shingles(text)
        for number in found:
            self._holders[number].append(len(self._ids))
        self._ids.append(id)
        self._sizes.append(len(found))

    def nearest(self, text: str) -> tuple[float, str]:
        """Return the highest similarity and whose it is; (0.0, "") where nothing is shared."""
        own = _shingles(text)
        shared: Counter[int] = Counter()
        for number in own:
            shared.update(self._holders.get(number, ()))
        best, whose = 0.0, ""
        for place, count in shared.items():
            score = count / (len(own) + self._sizes[place] - count)
            if score > best:
                best, whose = score, self._ids[place]
        return best, whose


def _shingles(text: str) -> list[int]:
    """Return the different 5-grams of a text as numbers; a shorter text is one by itself."""
    hashes_N = unit_hashes(text)
    grams = ngram_hashes(hashes_N, min(SHINGLE, max(len(hashes_N), 1)))
    found: list[int] = np.unique(grams).tolist()
    return found
