"""What texts have in common at their beginnings, as trees of pieces that are computed once.

    roots = plant([Text(ids, continuation), ...], longest=1024, least_saved=32)

A text is what the model reads: context and continuation without its last token. Each node holds
tokens behind its parents' and says which of them predict whose next token. No torch.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Text:
    """What is read and what its last tokens should predict.

    Attributes:
        ids: at least as many as `targets`.
        targets: the token behind each of the last `len(targets)` ids.
    """

    ids: list[int]
    targets: list[int]


@dataclass(frozen=True)
class Target:
    """A token that a text expects behind one of a node's."""

    offset: int
    text: int
    token: int


@dataclass(eq=False)
class Node:
    """Tokens that all texts behind it begin with, after those of its parents.

    Attributes:
        ids: at least one.
        start: position of the first.
        parent: what stands before; None at the beginning of a text.
        children: what follows.
        targets: what is expected behind its tokens.
        kept: each layer's keys and values (K, T, E), while a child may need them.
        num_waiting: children whose whole trees are not computed.
    """

    ids: list[int]
    start: int
    parent: "Node | None" = None
    children: "list[Node]" = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    kept: list[tuple[object, object]] = field(default_factory=list)
    num_waiting: int = 0

    def path(self) -> "list[Node]":
        """Return the nodes before this one, from the beginning of the text on."""
        found, node = [], self.parent
        while node is not None:
            found.append(node)
            node = node.parent
        return found[::-1]

    def finish(self) -> int:
        """Count this node's tree as computed; return how many kept tokens are needed no more."""
        freed, node = 0, self
        while node.num_waiting == 0:
            if node.kept:
                freed += len(node.ids)
                node.kept = []
            if node.parent is None:
                break
            node = node.parent
            node.num_waiting -= 1
        return freed


def plant(texts: Sequence[Text], *, longest: int, least_saved: int) -> list[Node]:
    """Return the trees of all texts; every text's every target is in exactly one node.

    Args:
        texts: none of them empty.
        longest: tokens of a node.
        least_saved: a beginning becomes a node of its own where that saves so many tokens; else
            what follows holds it, each anew.
    """
    order = sorted(range(len(texts)), key=lambda i: texts[i].ids)
    common = _common_lengths([texts[i].ids for i in order])
    roots: list[Node] = []
    waiting: list[tuple[int, int, Node | None, int]] = [(0, len(order), None, 0)] if order else []
    while waiting:
        low, high, parent, start = waiting.pop()
        end = int(common[low : high - 1].min(initial=len(texts[order[low]].ids)))
        ended = low
        while ended < high and len(texts[order[ended]].ids) == end:
            ended += 1
        branches = _branches(common, ended, high, end)
        ways = len(branches) + (ended > low)
        is_shared = not branches or (end - start) * (ways - 1) >= least_saved
        if is_shared:
            parent = _add(roots, parent, texts, order[low:high], start, end, longest)
            start = end
        elif ended > low:
            _add(roots, parent, texts, order[low:ended], start, end, longest)
        waiting += [(first, last, parent, start) for first, last in reversed(branches)]
    return roots


def _common_lengths(rows: Sequence[list[int]]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Return how many tokens each row has in common with the next."""
    arrays = [np.array(row, dtype=np.int64) for row in rows]
    common = np.zeros(max(len(rows) - 1, 0), dtype=np.int64)
    for i, (one, other) in enumerate(itertools.pairwise(arrays)):
        length = min(len(one), len(other))
        differs = one[:length] != other[:length]
        common[i] = differs.argmax() if differs.any() else length
    return common


def _branches(
    common: "np.ndarray[tuple[int], np.dtype[np.int64]]", low: int, high: int, end: int
) -> list[tuple[int, int]]:
    """Return ranges of low … high-1 whose rows go on with the same token behind `end`."""
    if low == high:
        return []
    cuts = low + 1 + np.flatnonzero(common[low : high - 1] == end)
    edges = [low, *cuts.tolist(), high]
    return list(itertools.pairwise(edges))


def _add(
    roots: list[Node],
    parent: Node | None,
    texts: Sequence[Text],
    members: Sequence[int],
    start: int,
    end: int,
    longest: int,
) -> Node:
    """Append a node, or a chain, for tokens start … end-1 of `members`; return the last."""
    node = parent
    for begin in range(start, end, longest):
        stop = min(begin + longest, end)
        new = Node(texts[members[0]].ids[begin:stop], begin, node)
        for i in members:
            text = texts[i]
            first = len(text.ids) - len(text.targets)
            new.targets += [
                Target(place - begin, i, text.targets[place - first])
                for place in range(max(first, begin), min(stop, len(text.ids)))
            ]
        if node is None:
            roots.append(new)
        else:
            node.children.append(new)
            node.num_waiting += 1
        node = new
    assert node is not None, "a node has tokens"
    return node
