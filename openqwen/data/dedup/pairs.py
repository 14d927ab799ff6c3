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
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for size in np.unique(sizes[sizes > 1]).tolist():
        buckets = sorted_documents[starts[sizes == size][:, None] + np.arange(size)]
        if size <= MAX_BUCKET:
            one, other = np.triu_indices(size, k=1)
            lefts.append(buckets[:, one].ravel())
            rights.append(buckets[:, other].ravel())
        else:
            for bucket in buckets:
                left, right = _led_pairs(order(np.unique(bucket)), near)
                lefts.append(left)
                rights.append(right)
    left, right = np.concatenate(lefts), np.concatenate(rights)
    return unique_pairs(np.minimum(left, right), np.maximum(left, right))


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
