"""How many bands of how many rows: from the similarity that must be found (§2.1: MinHash and LSH).

bands, rows = choose_bands(0.7, num_permutations=128, min_recall=0.98)      # 25, 5
"""

from openqwen.data.config import MinHashConfig
from openqwen.data.kernels.ops import SketchPlan


def choose_bands(threshold: float, *, num_permutations: int, min_recall: float) -> tuple[int, int]:
    """Return bands and rows: the most selective banding that still proposes enough true pairs.

    A pair of similarity s shares a band of r rows with probability s^r, so one of b bands with
    1 - (1 - s^r)^b. More rows mean fewer pairs to verify; rows grow while that probability at
    s = threshold stays at least `min_recall`.

    Args:
        threshold: Jaccard similarity from which pairs must be found, 0 to 1.
        num_permutations: hash functions to share out; b·r is at most this.
        min_recall: share of pairs at the threshold that must be proposed, 0 to 1.
    """
    best = (num_permutations, 1)
    for rows in range(1, num_permutations + 1):
        bands = num_permutations // rows
        if 1 - (1 - threshold**rows) ** bands < min_recall:
            break
        best = (bands, rows)
    return best


def plan_for(config: MinHashConfig) -> SketchPlan:
    """Return how documents are sketched under these settings."""
    bands, rows = choose_bands(
        config.threshold, num_permutations=config.num_permutations, min_recall=config.min_recall
    )
    return SketchPlan.of(config.ngram, config.num_permutations, bands, rows)
