"""From verified pairs to clusters, and of each the document that stays.

nodes, roots = components(left, right)              # who hangs together
survivors = pick_survivors(roots, is_old, chars, ids)
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from openqwen.data.dedup.ragged import Places


def components(left: Places, right: Places) -> tuple[Places, Places]:
    """Return the documents that stand in pairs, ascending, and of each the smallest it hangs on to.

    Labels fall along the pairs to their neighbours' smallest and are short-cut to the label's own
    label until nothing changes: some rounds of vector operations, also for long chains.
    """
    nodes = np.union1d(left, right)
    one, other = np.searchsorted(nodes, left), np.searchsorted(nodes, right)
    label_N = np.arange(len(nodes))
    while True:
        low = np.minimum(label_N[one], label_N[other])
        before_N = label_N.copy()
        # hook the trees of both ends onto the smaller label
        np.minimum.at(label_N, label_N[one], low)
        np.minimum.at(label_N, label_N[other], low)
        label_N = label_N[label_N]
        while not np.array_equal(label_N, label_N[label_N]):
            label_N = label_N[label_N]
        if np.array_equal(label_N, before_N):
            return nodes, nodes[label_N]


def pick_survivors(
    groups: NDArray[np.generic],
    is_old: NDArray[np.bool_],
    chars: Places,
    ids_of: Callable[[Places], list[str]],
) -> Places:
    """Return for each document the place of the one that stays of its group.

    Of a group one from an earlier crawl stays, of those the longest, of those the one with the
    smallest id, of those the first.

    Args:
        groups: (N,) which group each document is of.
        is_old: (N,) whether it comes from an earlier crawl.
        chars: (N,) length.
        ids_of: returns the ids of places (ascending); asked for those that tie only.
    """
    count = len(groups)
    places = np.arange(count)
    order = np.lexsort((places, -chars, ~is_old, groups))
    same = np.zeros(count, dtype=bool)  # as good as the one before
    if count:
        ranked = groups[order], is_old[order], chars[order]
        same[1:] = np.logical_and.reduce([column[1:] == column[:-1] for column in ranked])
        starts = np.ones(count, dtype=bool)
        starts[1:] = ranked[0][1:] != ranked[0][:-1]
    else:
        starts = same
    group_of = np.cumsum(starts) - 1
    firsts = np.flatnonzero(starts)
    best = order[firsts]
    # those that tie with their group's first: an unbroken run of `same` behind it
    run_of = np.cumsum(~same) - 1
    ties = run_of == run_of[firsts][group_of] if count else same
    tied = np.flatnonzero(ties & (np.bincount(group_of[ties], minlength=len(firsts))[group_of] > 1))
    if len(tied):
        wanted = np.sort(order[tied])
        id_at = dict(zip(wanted.tolist(), ids_of(wanted), strict=True))
        least: dict[int, tuple[str, int]] = {}
        for group, place in zip(group_of[tied].tolist(), order[tied].tolist(), strict=True):
            key = (id_at[place], place)
            least[group] = min(least.get(group, key), key)
        for group, (_, place) in least.items():
            best[group] = place
    survivors = np.empty(count, dtype=np.int64)
    survivors[order] = best[group_of]
    return survivors
