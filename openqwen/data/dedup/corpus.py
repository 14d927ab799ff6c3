"""The documents of many parts, numbered through: earlier crawls first, then this one.

    corpus = Corpus(index_parts, parts)
    corpus.ids(documents), corpus.facts(documents)["chars"], corpus.similarity(left, right)

Reads go file by file, row by row upwards; only what is asked for is held.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqwen.data.dedup.ragged import Places
from openqwen.data.dedup.sketches import FACTS, SketchPart
from openqwen.data.kernels.ops import compare_pairs
from openqwen.data.shingles import Shingles

OPEN_PARTS = 64  # whose ends of rows are kept in memory
COMPARE_BYTES = 64_000_000  # of shingles held to compare pairs


class Corpus:
    """Documents by number; a number is good for one list of parts only.

    Attributes:
        bases: number of each part's first document; at the end that of the whole.
        num_old: documents of earlier crawls; their numbers come first.
    """

    def __init__(self, old_parts: Sequence[Path], new_parts: Sequence[Path]) -> None:
        """Open the parts."""
        self.folders = [*old_parts, *new_parts]
        counts = [SketchPart(folder).count for folder in self.folders]
        self.bases = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.num_old = int(self.bases[len(old_parts)])
        self.part = lru_cache(OPEN_PARTS)(lambda place: SketchPart(self.folders[place]))

    def __len__(self) -> int:
        """Return the number of documents."""
        return int(self.bases[-1])

    def facts(self, documents: Places) -> NDArray[np.void]:
        """Return the facts of documents, in their order."""
        found = np.empty(len(documents), dtype=FACTS)
        for place, rows, where in self._by_part(documents):
            path = self.folders[place] / "facts.rows"
            found[where] = np.memmap(path, dtype=FACTS, mode="r")[rows]
        return found

    def ids(self, documents: Places) -> list[str]:
        """Return the ids of documents, in their order."""
        found: list[str] = [""] * len(documents)
        for place, rows, where in self._by_part(documents):
            wanted, back = np.unique(rows, return_inverse=True)
            ids = self.part(place).ids(wanted)
            for at, name in zip(where.tolist(), back.tolist(), strict=True):
                found[at] = ids[name]
        return found

    def shingles(self, documents: Places) -> tuple[Shingles, Places, Places]:
        """Return the shingles of ascending documents, and where each one's start and end."""
        values: list[Shingles] = [np.empty(0, dtype=np.uint32)]
        starts = np.zeros(len(documents), dtype=np.int64)
        ends = np.zeros(len(documents), dtype=np.int64)
        total = 0
        for place, rows, where in self._by_part(documents):
            read, begin, end = self.part(place).shingles.read(rows)
            starts[where], ends[where] = begin + total, end + total
            values.append(read)
            total += len(read)
        return np.concatenate(values), starts, ends

    def similarity(self, left: Places, right: Places) -> NDArray[np.float64]:
        """Return the Jaccard similarity of each pair of documents; pairs sorted by `left`."""
        found = np.empty(len(left), dtype=np.float64)
        for chunk in self._chunks(left, right):
            documents, places = np.unique(
                np.concatenate([left[chunk], right[chunk]]), return_inverse=True
            )
            shared, united = compare_pairs(*self.shingles(documents), *np.split(places, 2))
            found[chunk] = shared / np.maximum(united, 1)
        return found

    def near(self, document: int, others: Places, threshold: float) -> NDArray[np.bool_]:
        """Return which of the others are near one document."""
        left = np.full(len(others), document, dtype=np.int64)
        return self.similarity(left, others) >= threshold

    def _chunks(self, left: Places, right: Places) -> Iterator[slice]:
        """Yield runs of pairs whose shingles fit into memory, at least one pair each."""
        sizes = self._sizes(right)
        is_new = np.ones(len(left), dtype=bool)
        is_new[1:] = left[1:] != left[:-1]
        sizes[is_new] += self._sizes(left[is_new])
        total = np.cumsum(sizes)
        start = 0
        while start < len(left):
            before = total[start - 1] if start else 0
            end = int(np.searchsorted(total, before + COMPARE_BYTES // 4, side="right"))
            yield slice(start, max(end, start + 1))
            start = max(end, start + 1)

    def _sizes(self, documents: Places) -> Places:
        sizes = np.empty(len(documents), dtype=np.int64)
        for place, rows, where in self._by_part(documents):
            ends = self.part(place).shingles.ends
            sizes[where] = ends[rows] - np.where(rows > 0, ends[rows - 1], 0)
        return sizes

    def _by_part(self, documents: Places) -> Iterator[tuple[int, Places, Places]]:
        """Yield part, rows and their places in `documents`, part after part."""
        parts = np.searchsorted(self.bases, documents, side="right") - 1
        order = np.argsort(parts, kind="stable")
        edges = [*np.flatnonzero(np.diff(parts[order], prepend=-1)).tolist(), len(order)]
        for start, end in pairwise(edges):
            where = order[start:end]
            place = int(parts[where[0]])
            yield place, documents[where] - self.bases[place], where


class DropFiles:
    """Documents that an earlier phase dropped: (dropped, survivor) rows, sorted, in some files."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Open the files; they are read where asked."""
        self.tables: list[NDArray[Any]] = [np.load(path, mmap_mode="r") for path in paths]

    def dropped(self, first: int, count: int) -> NDArray[np.bool_]:
        """Return (count,) which of the documents from `first` on were dropped."""
        found = np.zeros(count, dtype=bool)
        for table in self.tables:
            start, end = np.searchsorted(table[:, 0], [first, first + count])
            found[table[start:end, 0] - first] = True
        return found

    def rows(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the rows of the documents from `first` on."""
        empty = np.empty((0, 2), dtype=np.int64)
        ranges = [(t, np.searchsorted(t[:, 0], [first, first + count])) for t in self.tables]
        return np.concatenate([empty, *(t[start:end] for t, (start, end) in ranges)])

    def follow(self, documents: Places) -> Places:
        """Return the survivor of each document that was dropped, other documents as they are."""
        found = documents.copy()
        for table in self.tables:
            if len(table):
                places = np.minimum(np.searchsorted(table[:, 0], documents), len(table) - 1)
                is_there = table[places, 0] == documents
                found[is_there] = table[places[is_there], 1]
        return found


def save_drops(path: Path, dropped: Places, survivors: Places) -> None:
    """Write (dropped, survivor) rows sorted by the dropped document."""
    order = np.argsort(dropped, kind="stable")
    np.save(path, np.stack([dropped[order], survivors[order]], axis=1))
