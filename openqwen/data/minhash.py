"""Near-duplicates: MinHash signatures, banding, true Jaccard, clusters, one survivor each (§2.1).

    bands, rows = choose_bands(0.7, num_permutations=128, min_recall=0.98)      # 25, 5
    for group in find_duplicates(shingle_sets, config): ...

Banding proposes pairs; each is verified by the Jaccard similarity of the whole shingle sets, so no
pair below the threshold is ever merged by chance. Of a cluster the longest text survives, of equals
the one with the smallest id, whatever the order of the input.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openqwen.core.documents import Document
from openqwen.core.ngrams import units
from openqwen.data.config import MinHashConfig
from openqwen.data.shingles import Hashes, UnitHasher, jaccard, mix, shingle_set
from openqwen.data.steps import Outcome, Rejected

Signature = NDArray[np.uint32]

EMPTY = np.uint32(0xFFFFFFFF)
CHUNK_SHINGLES = 4096  # hashed at once: bounds the memory of a long text
MAX_BUCKET_PAIRS = 32  # a larger bucket is compared through its clusters' first members


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


class MinHasher:
    """Signatures whose share of equal places estimates the Jaccard similarity of two sets.

    The estimate's standard deviation is sqrt(J(1 - J) / num_permutations).
    """

    def __init__(self, num_permutations: int) -> None:
        """Draw the hash functions: the same ones for every corpus, so signatures compare."""
        draw = np.random.Generator(np.random.PCG64(0x5EED))
        high = np.iinfo(np.uint64).max
        size = (num_permutations, 1)
        self.factors_P1 = draw.integers(0, high, size, np.uint64, endpoint=True) | np.uint64(1)
        self.offsets_P1 = draw.integers(0, high, size, np.uint64, endpoint=True)

    def __call__(self, shingles_N: Hashes) -> Signature:
        """Return the (P,) uint32 signature of a set; all ones for the empty set."""
        lowest_P = np.full(len(self.factors_P1), EMPTY, dtype=np.uint32)
        for start in range(0, len(shingles_N), CHUNK_SHINGLES):
            chunk_N = shingles_N[start : start + CHUNK_SHINGLES]
            hashed_PN = (self.factors_P1 * chunk_N + self.offsets_P1) >> np.uint64(32)
            np.minimum(lowest_P, hashed_PN.min(axis=1).astype(np.uint32), out=lowest_P)
        return lowest_P


@dataclass(slots=True)
class Clusters:
    """Disjoint sets over 0 … count - 1."""

    parent: list[int]

    @classmethod
    def of(cls, count: int) -> "Clusters":
        """Return `count` sets of one."""
        return cls(list(range(count)))

    def find(self, item: int) -> int:
        """Return the representative of an item's set: its smallest member."""
        root = item
        while self.parent[root] != root:
            root = self.parent[root]
        while self.parent[item] != root:
            self.parent[item], item = root, self.parent[item]
        return root

    def join(self, one: int, other: int) -> None:
        """Make one set of two."""
        low, high = sorted((self.find(one), self.find(other)))
        self.parent[high] = low


def cluster(sets: list[Hashes], config: MinHashConfig) -> Clusters:
    """Return clusters of sets linked by pairs at or above the threshold.

    Args:
        sets: sorted shingle sets, in an order that does not depend on the input's; empty ones stay
            alone.
        config: threshold, hash functions, recall.
    """
    bands, rows = choose_bands(
        config.threshold, num_permutations=config.num_permutations, min_recall=config.min_recall
    )
    hasher = MinHasher(config.num_permutations)
    signatures_SP = np.empty((len(sets), config.num_permutations), dtype=np.uint32)
    for place, shingles_N in enumerate(sets):
        signatures_SP[place] = hasher(shingles_N)
    filled_S = np.array([len(s) > 0 for s in sets], dtype=bool)
    clusters = Clusters.of(len(sets))
    checked: set[tuple[int, int]] = set()
    for band in range(bands):
        for bucket in _buckets(signatures_SP[:, band * rows : (band + 1) * rows], filled_S):
            _link(bucket, sets, clusters, checked, config.threshold)
    return clusters


def _buckets(rows_SR: Signature, filled_S: NDArray[np.bool_]) -> Iterator[list[int]]:
    """Yield the places that agree in all rows of a band, two or more together, ascending."""
    key_S = np.zeros(len(rows_SR), dtype=np.uint64)
    for row in range(rows_SR.shape[1]):
        key_S = mix(key_S ^ rows_SR[:, row].astype(np.uint64)) + np.uint64(row + 1)
    places_F = np.flatnonzero(filled_S)
    order_F = places_F[np.argsort(key_S[places_F], kind="stable")]
    sorted_F = key_S[order_F]
    edges = np.flatnonzero(sorted_F[1:] != sorted_F[:-1]) + 1
    for bucket in np.split(order_F, edges):
        if len(bucket) > 1:
            yield bucket.tolist()


def _link(
    bucket: list[int],
    sets: list[Hashes],
    clusters: Clusters,
    checked: set[tuple[int, int]],
    threshold: float,
) -> None:
    """Join the verified pairs of a bucket, each pair looked at once over all bands.

    In a bucket above MAX_BUCKET_PAIRS members each is compared with one member of every cluster met
    so far, not with all: such buckets hold many copies of few texts.
    """
    seen: list[int] = []
    for item in bucket:
        is_new = True
        for other in seen:
            if clusters.find(item) == clusters.find(other):
                is_new = False
                continue
            if (other, item) in checked:
                continue
            checked.add((other, item))
            if _are_similar(sets[other], sets[item], threshold):
                clusters.join(other, item)
                is_new = False
        if is_new or len(bucket) <= MAX_BUCKET_PAIRS:
            seen.append(item)


def _are_similar(one: Hashes, other: Hashes, threshold: float) -> bool:
    """Return whether two sets reach the threshold; sizes too far apart can't."""
    small, large = sorted((len(one), len(other)))
    return small >= threshold * large and jaccard(one, other) >= threshold


def drop_near_duplicates(config: MinHashConfig, documents: Iterable[Document]) -> Iterator[Outcome]:
    """Keep one document of each cluster of near-duplicates; conversations and code too.

    A rejected one's score is its Jaccard similarity to the survivor, which its detail names. (It
    may lie below the threshold: two ends of a chain of twins.)
    """
    kept = list(documents)
    hasher = UnitHasher()
    shingles = [shingle_set(hasher(units(d.text)), config.ngram) for d in kept]
    by_id = sorted(range(len(kept)), key=lambda place: kept[place].id)
    clusters = cluster([shingles[place] for place in by_id], config)
    survivors: dict[int, int] = {}
    root_of = {place: clusters.find(rank) for rank, place in enumerate(by_id)}
    for place in by_id:
        best = survivors.setdefault(root_of[place], place)
        if len(kept[place].text) > len(kept[best].text):
            survivors[root_of[place]] = place
    for place, document in enumerate(kept):
        survivor = survivors[root_of[place]]
        if survivor == place:
            yield document
        else:
            score = jaccard(shingles[place], shingles[survivor])
            detail = f"Jaccard {score:.3f} to {kept[survivor].id}"
            yield Rejected(document, "near duplicate", score, detail)
