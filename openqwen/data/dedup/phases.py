"""The tasks of deduplication: what a worker does with one partition of keys, pairs or parts.

    same_keys   documents of equal URL or equal text  → (dropped, survivor)
    pair_bands  documents that share a band           → candidate pairs
    verify      candidate pairs                       → pairs at or above the threshold
    cluster     all such pairs                        → (dropped, survivor)
    judge       one part                              → its verdicts

Every task takes the same list of parts; documents go by their numbers in it (corpus.py).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from openqwen.data.config import MinHashConfig
from openqwen.data.dedup.clusters import components, pick_survivors
from openqwen.data.dedup.corpus import Corpus, DropFiles, save_drops
from openqwen.data.dedup.key_runs import read_partition
from openqwen.data.dedup.pairs import candidate_pairs, unique_pairs
from openqwen.data.dedup.ragged import Places
from openqwen.data.dedup.verdicts import Reason, write_verdicts
from openqwen.data.shingles import Hashes

DROPS, PAIRS = "drops.npy", "pairs.npy"


class Common(TypedDict):
    """What every task takes: the parts, and the settings."""

    old_parts: list[str]
    new_parts: list[str]
    config: MinHashConfig


def same_keys(
    folder: Path,
    *,
    common: Common,
    name: str,
    partition: int,
    partitions: int,
    dropped: Sequence[str],
) -> dict[str, Any]:
    """Of the documents with one key keep one; those of earlier crawls are never dropped.

    Args:
        folder: where to write.
        common: parts and settings.
        name: "url", where the longest text stays, or "exact", where the smallest id does.
        partition: which share of the keys.
        partitions: how many there are.
        dropped: files of what earlier phases dropped.
    """
    corpus = _open(common)
    keys, documents = _entries(corpus, name, partition, partitions, dropped)
    order = np.argsort(keys, kind="stable")
    keys, documents = keys[order], documents[order]
    is_shared = np.zeros(len(keys), dtype=bool)
    is_shared[1:] = keys[1:] == keys[:-1]
    is_shared[:-1] |= is_shared[1:]
    keys, documents = keys[is_shared], documents[is_shared]
    facts = corpus.facts(documents)
    # the first half of a key chose the partition; documents are the same if the other half is too
    groups = np.unique(np.stack([keys, facts[f"{name}_low"]]), axis=1, return_inverse=True)[1]
    is_old = documents < corpus.num_old
    chars = facts["chars"] if name == "url" else np.zeros(len(documents), dtype=np.int64)
    survivors = pick_survivors(
        groups.ravel(), is_old, chars, lambda places: corpus.ids(documents[places])
    )
    goes = (survivors != np.arange(len(documents))) & ~is_old
    save_drops(folder / DROPS, documents[goes], documents[survivors[goes]])
    return {"dropped": int(goes.sum())}


def pair_bands(
    folder: Path, *, common: Common, partition: int, partitions: int, dropped: Sequence[str]
) -> dict[str, Any]:
    """Propose the pairs of documents that share a band of this partition."""
    corpus = _open(common)
    keys, documents = _entries(corpus, "bands", partition, partitions, dropped)

    def by_text(bucket: Places) -> Places:
        facts = corpus.facts(bucket)
        return bucket[np.lexsort((facts["exact_low"], facts["exact_high"]))]

    def near(one: int, others: Places) -> NDArray[np.bool_]:
        return corpus.near(one, others, common["config"].threshold)

    left, right = candidate_pairs(keys, documents, by_text, near)
    # two documents of earlier crawls: settled then
    is_open = right >= corpus.num_old
    pairs = np.stack([left[is_open], right[is_open]], axis=1)
    np.save(folder / PAIRS, pairs)
    return {"pairs": len(pairs)}


def verify(
    folder: Path, *, common: Common, first: int, last: int, pairs: Sequence[str]
) -> dict[str, Any]:
    """Keep the pairs whose shingles, as sets, are as similar as asked.

    Args:
        folder: where to write.
        common: parts and settings.
        first: the first document whose pairs are looked at: of a pair the smaller number counts.
        last: the document after the last one.
        pairs: files of candidate pairs.
    """
    corpus = _open(common)
    found = DropFiles(pairs).rows(first, last - first)
    left, right = unique_pairs(found[:, 0], found[:, 1])
    is_near = corpus.similarity(left, right) >= common["config"].threshold
    np.save(folder / PAIRS, np.stack([left[is_near], right[is_near]], axis=1))
    return {"compared": len(left), "near": int(is_near.sum())}


def cluster(folder: Path, *, common: Common, pairs: Sequence[str]) -> dict[str, Any]:
    """Of each cluster of documents that hang together keep one.

    Memory: some 100 bytes a document that has a twin.
    """
    corpus = _open(common)
    edges = np.concatenate([np.empty((0, 2), np.int64), *(np.load(path) for path in pairs)])
    documents, roots = components(edges[:, 0], edges[:, 1])
    is_old = documents < corpus.num_old
    survivors = pick_survivors(
        roots,
        is_old,
        corpus.facts(documents)["chars"],
        lambda places: corpus.ids(documents[places]),
    )
    goes = (survivors != np.arange(len(documents))) & ~is_old
    save_drops(folder / DROPS, documents[goes], documents[survivors[goes]])
    return {"clusters": len(np.unique(roots)), "dropped": int(goes.sum())}


def judge(
    folder: Path,
    *,
    common: Common,
    place: int,
    skip: frozenset[str],
    url: Sequence[str],
    exact: Sequence[str],
    near: Sequence[str],
) -> dict[str, Any]:
    """Write what becomes of each document of a part.

    Args:
        folder: where to write.
        common: parts and settings.
        place: the part's place among the new ones.
        skip: kinds of duplicates that stay.
        url: files of what `same_keys` dropped by URL.
        exact: files of what it dropped by text.
        near: files of what `cluster` dropped.
    """
    corpus = _open(common)
    place += len(common["old_parts"])
    first, last = corpus.bases[place : place + 2].tolist()
    count = last - first
    reasons = np.zeros(count, dtype=np.int8)
    survivors = np.arange(first, last)
    scores = np.ones(count)
    if "exact" not in skip:
        facts = corpus.part(place).facts()
        reasons[(facts["exact_high"] == 0) & (facts["exact_low"] == 0)] = Reason.NO_WORDS
    files = {Reason.SAME_URL: url, Reason.SAME_TEXT: exact, Reason.NEAR: near}
    opened = {reason: DropFiles(paths) for reason, paths in files.items()}
    for reason, drops in opened.items():
        rows = drops.rows(first, count)
        reasons[rows[:, 0] - first] = reason
        survivors[rows[:, 0] - first] = rows[:, 1]
    dropped = np.flatnonzero(reasons >= Reason.SAME_URL)
    scores[dropped] = corpus.similarity(dropped + first, survivors[dropped])
    scores[reasons == Reason.SAME_TEXT] = 1.0
    scores[reasons == Reason.NO_WORDS] = 0.0
    last_ones = survivors[dropped]
    for drops in opened.values():  # a survivor by URL may have gone by its text, and so on
        last_ones = drops.follow(last_ones)
    write_verdicts(
        folder,
        reasons,
        scores,
        corpus.ids(np.flatnonzero(reasons) + first),
        corpus.ids(survivors[dropped]),
        corpus.ids(last_ones),
    )
    return {"reasons": np.bincount(reasons, minlength=len(Reason)).tolist()}


def _open(common: Common) -> Corpus:
    return Corpus(list(map(Path, common["old_parts"])), list(map(Path, common["new_parts"])))


def _entries(
    corpus: Corpus, name: str, partition: int, partitions: int, dropped: Sequence[str]
) -> tuple[Hashes, Places]:
    """Return a partition's keys and documents, without those dropped before."""
    drops = DropFiles(dropped)

    def runs() -> Iterator[tuple[Hashes, Places]]:
        yield np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
        for place, part in enumerate(corpus.folders):
            first, last = corpus.bases[place : place + 2].tolist()
            gone = drops.dropped(first, last - first)
            for keys, rows in read_partition(
                part, name, partition=partition, partitions=partitions
            ):
                stays = ~gone[rows]
                yield keys[stays], rows[stays].astype(np.int64) + first

    keys, documents = zip(*runs(), strict=True)
    return np.concatenate(keys), np.concatenate(documents)
