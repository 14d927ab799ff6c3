"""Modified Kneser-Ney smoothing of n-gram counts, interpolated (Chen & Goodman 1998, §3).

    levels = estimate(counts, min_counts=(1, 1, 2))     # levels[n - 1].log_probs_G, .log_backoffs_G

    p(w | h) = max(a(hw) - D(a), 0) / a(h·) + g(h) p(w | h')

a is the count for the longest n-grams and else the number of different units before it; h' is h
without its first unit; D is one of three discounts, from the counts of counts; g(h) is what the
discounts and the pruned n-grams leave, so that every context sums to 1 (Heafield et al. 2013, §3).
Below single units stands the uniform distribution over all units seen and one unseen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openqwen.data.scores.ngram_counts import Counts
from openqwen.data.scores.unit_batch import BEGINNING
from openqwen.data.shingles import Hashes, ngram_hashes

Floats = NDArray[np.float64]

# where a small corpus gives no usable counts of counts; KenLM's --discount_fallback
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Level:
    """The n-grams of one length that were kept, sorted by key; logarithms to base 2."""

    keys_G: Hashes
    log_probs_G: Floats  # of the last unit after the others
    log_backoffs_G: Floats  # g of the n-gram as a context; 0 where nothing follows it


def estimate(counts: Sequence[Counts], min_counts: Sequence[int]) -> tuple[list[Level], float]:
    """Return the smoothed n-grams of each length, and the log probability of an unseen unit.

    Args:
        counts: of n-grams of 1 … N units; at least one unit.
        min_counts: how often an n-gram of each length must stand to be kept; must not fall, so
            that the parts of a kept n-gram are kept.
    """
    assert len(counts[0].keys_G) > 1, "something besides the beginning was counted"
    assert list(min_counts) == sorted(min_counts), "parts of a kept n-gram are kept"
    levels: list[Level] = []
    lower = 1.0 / len(counts[0].keys_G)  # units seen, less the beginning, and one unseen
    lower_probs: Floats = np.full(len(counts[0].keys_G), lower)
    unseen = 0.0
    kept_before = np.zeros(0, dtype=bool)
    for n, level in enumerate(counts, start=1):
        adjusted = _adjusted(level, counts[n] if n < len(counts) else None, is_unit=n == 1)
        probs, gaps, kept = _discounted(level, adjusted, min_counts[n - 1])
        if n == 1:
            places = np.zeros(len(level.keys_G), dtype=np.int64)
            unseen = float(gaps[0]) * lower
        else:
            shorter = counts[n - 2]
            places = np.searchsorted(shorter.keys_G, level.prefixes_G)
            lower_probs = lower_probs[np.searchsorted(shorter.keys_G, level.suffixes_G)]
            backoffs = np.ones(len(shorter.keys_G))
            used = np.unique(places)
            backoffs[used] = gaps
            levels[-1].log_backoffs_G[:] = np.log2(backoffs[kept_before])
            spread = np.empty(len(shorter.keys_G))
            spread[used] = gaps
            gaps = spread
        probs += gaps[places] * lower_probs
        lower_probs, kept_before = probs, kept
        levels.append(Level(level.keys_G[kept], np.log2(probs[kept]), np.zeros(int(kept.sum()))))
    return levels, float(np.log2(unseen))


def _adjusted(level: Counts, longer: Counts | None, *, is_unit: bool) -> Floats:
    """Return a of each n-gram: different units before it, or its count where none can be.

    Only n-grams at the beginning of a text have none; the beginning itself is never predicted.
    """
    adjusted = level.counts_G.astype(np.float64)
    if longer is not None and len(longer.keys_G):
        suffixes, numbers = np.unique(longer.suffixes_G, return_counts=True)
        adjusted[np.searchsorted(level.keys_G, suffixes)] = numbers
    if is_unit:
        beginning = ngram_hashes(np.array([BEGINNING]), 1)
        adjusted[level.keys_G == beginning] = 0.0
    return adjusted


def _discounted(
    level: Counts, adjusted: Floats, min_count: int
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return each n-gram's own share of its context, each context's gap, and what is kept.

    Contexts are in the order of their keys. The shares of n-grams that are not kept are 0.
    """
    _, contexts = np.unique(level.prefixes_G, return_inverse=True)
    totals = np.bincount(contexts, adjusted)
    kept = level.counts_G >= min_count
    discounts = _discounts(adjusted)[np.minimum(adjusted, 3).astype(np.int64)]
    shares = np.where(kept, adjusted - discounts, 0.0) / totals[contexts]
    return shares, np.maximum(1.0 - np.bincount(contexts, shares), 1e-9), kept


def _discounts(adjusted: Floats) -> Floats:
    """Return D for counts of 0, 1, 2, and 3 or more."""
    n1, n2, n3, n4 = (float(np.count_nonzero(adjusted == i)) for i in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 < d < i for i, d in enumerate(found, start=1)):
            return np.array([0.0, *found])
    return np.array([0.0, *FALLBACK_DISCOUNTS])
