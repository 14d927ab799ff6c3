"""Which merge makes a token, decided for a whole vocabulary at once.

    makes_M = which_happen(left_M, right_M, made_M, lengths_N)

A merge of two parts happens only where no earlier one would have joined bytes across their
boundary. That is seen by undoing, latest first, the merges on both sides of the boundary. A token
has at most one merge that happens, so ranks with merges listed in their order, and ranks alone (any
two parts that join to a token), give the same ids if all tokens' own merges are in the list.
"""

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


def which_happen(
    left_M: Places, right_M: Places, made_M: Places, lengths_N: Places
) -> NDArray[np.bool_]:
    """Return for each of M candidates whether byte-level BPE ever makes that merge.

    Args:
        left_M: the left parts, as places in the order of ranks.
        right_M: the right parts.
        made_M: what they join to.
        lengths_N: bytes of the token at each place.
    """
    happens_M = np.zeros(len(made_M), dtype=np.bool_)
    if not len(made_M):
        return happens_M
    there_M = np.ones(len(made_M), dtype=np.bool_)
    tables = _Tables(left_M, right_M, made_M, lengths_N)
    for part_M in (left_M, right_M):
        there_M &= (part_M < made_M) | (lengths_N[part_M] == 1)
    sizes_M = lengths_N[made_M]
    order_M = np.argsort(sizes_M, kind="stable")
    starts = np.flatnonzero(np.diff(sizes_M[order_M], prepend=-1))
    for rows in np.split(order_M, starts[1:]):  # parts are shorter than what they make
        rows = rows[there_M[rows]]
        good = rows[tables.stands(left_M[rows], right_M[rows])]
        happens_M[good] = True
        tables.add(left_M[good], right_M[good], made_M[good])
    return happens_M


class _Tables:
    """The merges decided so far: how each token comes apart, and what two tokens join to."""

    def __init__(self, left_M: Places, right_M: Places, made_M: Places, lengths_N: Places) -> None:
        self.size = len(lengths_N)
        self.first_N = np.arange(self.size)  # a token that was not merged is its own first part
        self.last_N = np.arange(self.size)
        self.reached_N = lengths_N == 1
        keys_M = left_M * self.size + right_M
        order_M = np.argsort(keys_M, kind="stable")
        self.keys_M, self.made_M = keys_M[order_M], made_M[order_M]

    def add(self, left_G: Places, right_G: Places, made_G: Places) -> None:
        self.first_N[made_G], self.last_N[made_G] = left_G, right_G
        self.reached_N[made_G] = True

    def joined(self, left_A: Places, right_A: Places) -> Places:
        """Return what each two tokens join to, or `size` where no candidate joins them."""
        keys_A = left_A * self.size + right_A
        at_A = np.minimum(np.searchsorted(self.keys_M, keys_A), len(self.keys_M) - 1)
        return np.where(self.keys_M[at_A] == keys_A, self.made_M[at_A], self.size)

    def stands(self, left_R: Places, right_R: Places) -> NDArray[np.bool_]:
        """Return whether no merge before their own crosses the boundary of two tokens."""
        stands_R: NDArray[np.bool_] = self.reached_N[left_R] & self.reached_N[right_R]
        rows = np.flatnonzero(stands_R)
        left, right = left_R[rows], right_R[rows]
        while len(rows):
            # undo the later of the two tokens' merges; of equal ranks the left one came first
            inner_left, inner_right = self.last_N[left], self.first_N[right]
            left_whole, right_whole = inner_left == left, inner_right == right
            undo_left = ~left_whole & ((left > right) | right_whole)
            limit = np.where(undo_left, left, right + 1)
            left = np.where(undo_left, inner_left, left)
            right = np.where(undo_left, right, inner_right)
            fine = left_whole & right_whole
            going = np.flatnonzero(~fine)
            fine[going] = self.joined(left[going], right[going]) >= limit[going]
            stands_R[rows[~fine]] = False
            going = going[fine[going]]
            rows, left, right = rows[going], left[going], right[going]
        return stands_R
