"""Documents that share a band: the pairs to be verified.

    left, right = candidate_pairs(keys, documents, near)     # each pair once, left < right

Of a large bucket (one template's pages, say) not all pairs are taken: some documents lead, each
near none of the leaders before it, and all are compared with the leaders.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from openqwen.data.dedup.ragged import Places
from openqwen.data.shingles import Hashes

MAX_BUCKET = 32  # documents of a bucket that are all compared with each other
PENDING_PAIRS = 1 << 20  # found before they are made unique: many bands propose the same pair
MAX_LEADERS = 64  # documents of a larger one that all others are compared with, at most

# which of the documents `others` are near `one`
Near = Callable[[int, Places], NDArray[np.bool_]]


def candidate_pairs(
    keys: Hashes, documents: Places, order: Callable[[Places], Places], near: Near
) -> tuple[Places, Places]:
    """Return the pairs that some key proposes, each once, sorted.

    Args:
        keys: band keys, one an entry.
        documents: the document of each entry.
        order: sorts documents so that the files' order doesn't matter.
        near: compares one document with others; asked in large buckets only.
    """
    by_key = np.argsort(keys, kind="stable")
    sorted_keys, sorted_documents = keys[by_key], documents[by_key]
    edges = np.flatnonzero(sorted_keys[1:] != sorted_keys[:-1]) + 1
    starts = np.concatenate([[0], edges]) if len(keys) else edges
    sizes = np.diff(starts, append=len(keys))
    found = _Found()
    for size in np.unique(sizes[sizes > 1]).tolist():
        firsts = starts[sizes == size]
        if size <= MAX_BUCKET:
            one, other = np.triu_indices(size, k=1)
            at_once = max(1, PENDING_PAIRS // len(one))
            for begin in range(0, len(firsts), at_once):
                chosen = firsts[begin : begin + at_once, None] + np.arange(size)
                buckets = sorted_documents[chosen]
                found.add(buckets[:, one].ravel(), buckets[:, other].ravel())
        else:
            for first in firsts.tolist():
                bucket = sorted_documents[first : first + size]
                found.add(*_led_pairs(order(np.unique(bucket)), near))
    return found.pairs()


class _Found:
    """Pairs as they are found; most come once a band, so they are made unique now and then."""

    def __init__(self) -> None:
        self.left = self.right = np.empty(0, np.int64)
        self.waiting: list[tuple[Places, Places]] = []
        self.num_waiting = 0

    def add(self, one: Places, other: Places) -> None:
        self.waiting.append((np.minimum(one, other), np.maximum(one, other)))
        self.num_waiting += len(one)
        if self.num_waiting > max(PENDING_PAIRS, len(self.left)):
            self.pairs()

    def pairs(self) -> tuple[Places, Places]:
        """Return the pairs so far, sorted, each once."""
        left = np.concatenate([self.left, *(pair[0] for pair in self.waiting)])
        right = np.concatenate([self.right, *(pair[1] for pair in self.waiting)])
        self.waiting, self.num_waiting = [], 0
        self.left, self.right = unique_pairs(left, right)
        return self.left, self.right


def unique_pairs(left: Places, right: Places) -> tuple[Places, Places]:
    """Return pairs sorted by left, then right, each once; those of a document with itself go."""
    differ = left != right
    left, right = left[differ], right[differ]
    if len(left) and right.max() < 1 << 32:  # left is smaller
        packed = np.unique((left.astype(np.uint64) << np.uint64(32)) | right.astype(np.uint64))
        return (packed >> np.uint64(32)).astype(np.int64), (packed & np.uint64(0xFFFFFFFF)).astype(
            np.int64
        )
    by_left = np.lexsort((right, left))
    left, right = left[by_left], right[by_left]
    is_first = np.ones(len(left), dtype=bool)
    is_first[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return left[is_first], right[is_first]


def _led_pairs(bucket: Places, near: Near) -> tuple[Places, Places]:
    """Return the pairs of leader and document that are near each other.

    The first document leads, then the first that is near no leader yet, and so on.
    """
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    is_free = np.ones(len(bucket), dtype=bool)
    for _ in range(MAX_LEADERS):
        leader = int(np.argmax(is_free))
        if not is_free[leader]:
            break
        is_near = near(int(bucket[leader]), bucket)
        is_near[leader] = False
        found = bucket[is_near]
        lefts.append(np.full(len(found), bucket[leader]))
        rights.append(found)
        is_free &= ~is_near
        is_free[leader] = False
    return np.concatenate(lefts), np.concatenate(rights)
