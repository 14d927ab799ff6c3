"""How much of a text repeats itself: lines, paragraphs and n-grams (Gopher, table A1).

    next(find_repetition(text, measure_units(text.lower()), config, unit_scale=1), None)

Only what has been seen before counts: of a line that stands there twice, the second.
"""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from openqwen.data.rules.config import RepetitionRules
from openqwen.data.rules.findings import Finding
from openqwen.data.rules.unit_measures import Units, ngram_counts
from openqwen.data.shingles import Hashes, ngram_hashes

Lengths = NDArray[np.int32]

WINDOW_UNITS = 4096  # how far back n-grams are looked for

_PARAGRAPH_GAP = re.compile(r"\n\s*\n")


def find_repetition(
    text: str, units: Units, config: RepetitionRules, *, unit_scale: int
) -> Iterator[Finding]:
    """Yield the limits a text breaks: lines, paragraphs, n-grams.

    Args:
        text: prose without code blocks.
        units: its words or characters.
        config: limits, n-gram lengths in words.
        unit_scale: units that make a word: 1 for words, more for characters.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    paragraphs = [part.strip() for part in _PARAGRAPH_GAP.split(text) if part.strip()]
    for name, parts, max_share, max_chars in (
        ("lines", lines, config.max_duplicate_lines, config.max_duplicate_line_chars),
        (
            "paragraphs",
            paragraphs,
            config.max_duplicate_paragraphs,
            config.max_duplicate_paragraph_chars,
        ),
    ):
        share, chars = repeated_parts(parts)
        if share > max_share:
            yield Finding(f"repeated {name}", share, f"{share:.0%} of {name} were seen before")
        elif chars > max_chars:
            yield Finding(f"repeated {name}", chars, f"{chars:.0%} of text in such {name}")
    yield from _find_repeated_ngrams(units, config, unit_scale)


def repeated_parts(parts: list[str]) -> tuple[float, float]:
    """Return the share of parts seen before, and the share of characters in them."""
    counts = Counter(parts)
    total = sum(map(len, parts))
    if not total:
        return 0.0, 0.0
    again = {part: count - 1 for part, count in counts.items() if count > 1}
    chars = sum(len(part) * count for part, count in again.items())
    return sum(again.values()) / len(parts), chars / total


def _find_repeated_ngrams(
    units: Units, config: RepetitionRules, unit_scale: int
) -> Iterator[Finding]:
    # among characters a Latin word counts as one, lest quoted names outweigh the text
    lengths_N = units.lengths_N if unit_scale == 1 else np.ones(len(units), dtype=np.int32)
    top = {words * unit_scale: limit for words, limit in sorted(config.max_top_ngrams.items())}
    duplicate = {
        words * unit_scale: limit for words, limit in sorted(config.max_duplicate_ngrams.items())
    }
    shares = _shares(units.hashes_N, lengths_N, tuple(top), tuple(duplicate))
    for n, limit in top.items():
        share, place = next(shares)
        if share > limit and len(units) >= config.min_top_words * unit_scale:
            gram = " ".join(units.strings(place, place + n))
            yield Finding("one n-gram too often", share, f"{share:.0%} of text is “{gram}”")
    for n, limit in duplicate.items():
        share, _ = next(shares)
        if share > limit:
            detail = f"{share:.0%} of text in {n}-grams seen before"
            yield Finding("repeated n-grams", share, detail)


def _shares(
    hashes_N: Hashes, lengths_N: Lengths, top: tuple[int, ...], duplicate: tuple[int, ...]
) -> Iterator[tuple[float, int]]:
    """Yield share and place for each length of n-gram, by the C++ where there is one."""
    counts = ngram_counts(hashes_N, lengths_N, top=top, duplicate=duplicate)
    if counts is None:
        yield from (top_ngram_share(hashes_N, lengths_N, n) for n in top)
        yield from ((duplicate_ngram_share(hashes_N, lengths_N, n), 0) for n in duplicate)
        return
    total = int(lengths_N.sum())
    for n, (place, count) in zip(top, counts[0], strict=True):
        covered = count * int(lengths_N[place : place + n].sum()) if count > 1 else 0
        yield (covered / total if total else 0.0), place
    for covered in counts[1]:
        yield (covered / total if total else 0.0), 0


def top_ngram_share(hashes_N: Hashes, lengths_N: Lengths, n: int) -> tuple[float, int]:
    """Return the share of characters the most frequent n-gram covers, and where it first stands.

    An n-gram that stands only once covers nothing.
    """
    grams = ngram_hashes(hashes_N, n)
    if not len(grams):
        return 0.0, 0
    _, first_G, counts_G = np.unique(grams, return_index=True, return_counts=True)
    # of equally frequent ones the first in the text
    best = int(np.lexsort((first_G, -counts_G))[0])
    place, count = int(first_G[best]), int(counts_G[best])
    if count < 2:
        return 0.0, place
    return count * int(lengths_N[place : place + n].sum()) / int(lengths_N.sum()), place


def duplicate_ngram_share(hashes_N: Hashes, lengths_N: Lengths, n: int) -> float:
    """Return the share of characters in n-grams seen before; overlaps count once.

    "Before" reaches back WINDOW_UNITS at most: in a whole book nearly every phrase comes again.
    """
    total = int(lengths_N.sum())
    covered = 0
    for start in range(0, len(hashes_N), WINDOW_UNITS):
        window = slice(start, start + WINDOW_UNITS)
        covered += int(lengths_N[window][_seen_before(hashes_N[window], n)].sum())
    return covered / total if total else 0.0


def _seen_before(hashes_N: Hashes, n: int) -> NDArray[np.bool_]:
    """Return (N,) whether each unit lies in an n-gram that stood there before."""
    grams = ngram_hashes(hashes_N, n)
    again_G = np.ones(len(grams), dtype=bool)
    again_G[np.unique(grams, return_index=True)[1]] = False
    starts = np.flatnonzero(again_G)
    edges = np.zeros(len(hashes_N) + 1, dtype=np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + n, -1)
    return np.cumsum(edges[:-1]) > 0
