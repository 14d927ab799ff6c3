"""Holding the merges of a vocabulary file against its ids: only where both say the same is it ours.

    check_merges(tokens, ranks, merges, whole=False, path=path)

A `tokenizer.json` or a GGUF file lists merges. We encode by ranks alone, which joins any two parts
whose bytes are a token, the lowest id first. See merges.py for when that is the same.
"""

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from openqwen.core.errors import UserError
from openqwen.tokenizer.merges import which_happen
from openqwen.tokenizer.vocabulary import split_by_merges

Merges = Sequence[tuple[str, str]]


def check_merges(
    tokens: Mapping[str, int],
    ranks: Mapping[bytes, int],
    merges: Merges,
    *,
    whole: bool,
    path: Path,
) -> None:
    """Raise UserError unless ids alone give what the merges give.

    Args:
        tokens: token in letters -> id, control tokens apart.
        ranks: the same with bytes, in the same order.
        merges: left and right part of each.
        whole: whether pieces of text that are tokens become them without a merge.
        path: for messages.
    """
    made = list(map(tokens.get, map("".join, merges)))
    lefts = list(map(tokens.get, map(operator.itemgetter(0), merges)))
    rights = list(map(tokens.get, map(operator.itemgetter(1), merges)))
    for found in (made, lefts, rights):
        if None in found:
            left, right = merges[found.index(None)]
            raise UserError(f"{path}: merge {left!r} {right!r} makes no token of the vocabulary")
    ids = [token_id for token_id in made if token_id is not None]
    if not all(map(operator.le, ids, ids[1:])):
        at = next(i for i in range(1, len(ids)) if ids[i] < ids[i - 1])
        left, right = merges[at]
        raise UserError(
            f"{path}: merge {left!r} {right!r} comes after that of a higher id, so the ids are "
            "not ranks and this file can't be read"
        )
    _check_each_token(tokens, ranks, np.array([lefts, rights, made], np.int64), whole, path)


def _check_each_token(
    tokens: Mapping[str, int],
    ranks: Mapping[bytes, int],
    merges_3M: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    whole: bool,
    path: Path,
) -> None:
    """Raise UserError unless each token's merge in the order of ids is a listed one."""
    ids = np.fromiter(tokens.values(), np.int64, len(tokens))
    order = np.argsort(ids)
    left_M, right_M, made_M = np.searchsorted(ids[order], merges_3M)
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))[order]
    made = np.zeros(len(ids), dtype=np.bool_)
    made[made_M[which_happen(left_M, right_M, made_M, lengths)]] = True
    unmade = order[np.flatnonzero(~made & (lengths > 1))]
    if not len(unmade):
        return
    names, spelled = list(tokens), list(ranks)
    for i in unmade if whole else unmade[:1]:
        by_ids = len(split_by_merges(spelled[i], ranks, whole=True)) == 1
        if by_ids and len(np.unique(merges_3M, axis=1).T) == _count_splits(ranks):
            return  # every two tokens that join do so, as by ids
        if not whole or by_ids:
            how = "the order of ids would" if by_ids else f"{len(unmade)} such in all"
            raise UserError(f"{path}: no merge makes the token {names[i]!r} ({how})")


def _count_splits(ranks: Mapping[bytes, int]) -> int:
    """Return how many pairs of tokens join to a token."""
    return sum(
        token[:cut] in ranks and token[cut:] in ranks
        for token in ranks
        for cut in range(1, len(token))
    )
