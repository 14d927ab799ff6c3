"""Decontamination: no document may share a 13-gram with a benchmark's test (§2.1, seed).

    index = BenchmarkIndex(read_benchmarks(folder), config)
    for overlap in index.overlaps(units, hashes): ...

N-grams are of words, or of characters where a language writes no gaps, so a Chinese test is found
in Chinese text as an English one in English, whatever language the document is taken for. Numbers
point at candidates; what is reported was compared unit by unit.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.core.ngrams import units
from openqwen.data.config import DecontaminateConfig
from openqwen.data.shingles import Hashes, UnitHasher, ngram_hashes
from openqwen.data.steps import Outcome, Rejected

Indices = NDArray[np.int32]

MAX_ITEMS = 5  # test items reported for one document
MASK_SLOTS = 8  # of the table looked up before searching, for each n-gram in it
CONTEXT_CHARS = 200  # of the document, on each side of the overlap


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One question of a benchmark with its answer."""

    benchmark: str
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """An n-gram that a document shares with a test item."""

    item: BenchmarkItem
    ngram: tuple[str, ...]


class _Table:
    """All n-grams of one length: their numbers, sorted, and the item and place each stands at."""

    def __init__(self, hashes_G: Hashes, items_G: Indices, places_G: Indices) -> None:
        order_G = np.argsort(hashes_G, kind="stable")
        self.hashes, self.items, self.places = (
            hashes_G[order_G],
            items_G[order_G],
            places_G[order_G],
        )
        bits = max(16, (MASK_SLOTS * len(hashes_G)).bit_length())
        self.shift = np.uint64(64 - bits)
        self.mask = np.zeros(1 << bits, dtype=bool)
        self.mask[hashes_G >> self.shift] = True

    def find(self, grams_N: Hashes) -> Iterator[tuple[int, int, int]]:
        """Yield place in the text, item and place in the item for each number in the table."""
        maybe = np.flatnonzero(self.mask[grams_N >> self.shift])
        first = np.searchsorted(self.hashes, grams_N[maybe], side="left")
        after = np.searchsorted(self.hashes, grams_N[maybe], side="right")
        for start, low, high in zip(maybe.tolist(), first.tolist(), after.tolist(), strict=True):
            for row in range(low, high):
                yield start, int(self.items[row]), int(self.places[row])


def read_benchmarks(folder: Path) -> list[BenchmarkItem]:
    """Read the items of every `*.jsonl` in a folder, in order of name and row.

    Raises:
        UserError: if a row is not a JSON object with "id" and "text".
    """
    items = []
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    row = json.loads(line)
                    items.append(BenchmarkItem(path.stem, str(row["id"]), str(row["text"])))
                except (ValueError, KeyError, TypeError):
                    raise UserError(
                        f"{path}:{number}: not a JSON object with id and text"
                    ) from None
    return items


class BenchmarkIndex:
    """The n-grams of all test items, ready to be looked for."""

    def __init__(self, items: list[BenchmarkItem], config: DecontaminateConfig, hasher: UnitHasher):
        """Index the items; those too short to be told from common phrases are left out.

        Args:
            items: test items.
            config: the n-gram's length, and the fewest units of a shorter item, matched whole.
            hasher: the numbers of units, the same as for documents.
        """
        self.items = items
        self.min_words = config.min_words
        self.units = [units(item.text) for item in items]
        owners: dict[int, list[int]] = {}
        for place, words in enumerate(self.units):
            if len(words) >= config.min_units:
                owners.setdefault(min(len(words), config.ngram), []).append(place)
        self.tables = {n: self._table(n, owned, hasher) for n, owned in sorted(owners.items())}

    def _table(self, n: int, owned: list[int], hasher: UnitHasher) -> _Table:
        grams = [ngram_hashes(hasher(self.units[place]), n) for place in owned]
        hashes_G = np.concatenate(grams)
        items_G = np.repeat(np.array(owned, dtype=np.int32), [len(g) for g in grams])
        places_G = np.concatenate([np.arange(len(g), dtype=np.int32) for g in grams])
        return _Table(hashes_G, items_G, places_G)

    def overlaps(self, words: list[str], hashes_N: Hashes) -> Iterator[Overlap]:
        """Yield each test item that a text overlaps with, once, with the first n-gram shared.

        Args:
            words: the text's units.
            hashes_N: their numbers.
        """
        seen: set[int] = set()
        for n, table in self.tables.items():
            for start, item, place in table.find(ngram_hashes(hashes_N, n)):
                ngram = tuple(words[start : start + n])
                if item in seen or tuple(self.units[item][place : place + n]) != ngram:
                    continue
                if sum(not unit.isnumeric() for unit in ngram) >= self.min_words:
                    seen.add(item)
                    yield Overlap(self.items[item], ngram)


class Decontaminate:
    """The step; `report` then holds every overlap with both texts."""

    def __init__(self, config: DecontaminateConfig, items: list[BenchmarkItem]) -> None:
        """Index the test items."""
        self.config = config
        self.hasher = UnitHasher()
        self.index = BenchmarkIndex(items, config, self.hasher)
        self.report: list[dict[str, Any]] = []

    def __call__(self, documents: Iterable[Document]) -> Iterator[Outcome]:
        """Reject documents that overlap with a test item, or only report them, as configured."""
        for document in documents:
            words = units(document.text)
            overlaps = list(self.index.overlaps(words, self.hasher(words)))
            if not overlaps:
                yield document
                continue
            self.report.append(_describe(document, overlaps))
            first = overlaps[0]
            detail = f"{first.item.benchmark} {first.item.id}: “{' '.join(first.ngram)}”"
            if self.config.action == "drop":
                yield Rejected(document, f"overlaps {first.item.benchmark}", len(overlaps), detail)
            else:
                yield document


def _describe(document: Document, overlaps: list[Overlap]) -> dict[str, Any]:
    """Return a document's overlaps as JSON, with both texts."""
    return {
        "id": document.id,
        "source": document.source,
        "url": document.url,
        "num_items": len(overlaps),
        "overlaps": [
            {
                "benchmark": overlap.item.benchmark,
                "item": overlap.item.id,
                "ngram": " ".join(overlap.ngram),
                "document_text": _surroundings(document.text, overlap.ngram),
                "item_text": overlap.item.text,
            }
            for overlap in overlaps[:MAX_ITEMS]
        ],
    }


def _surroundings(text: str, ngram: tuple[str, ...]) -> str:
    """Return the part of a text around an n-gram of its units."""
    found = re.search(r"[\W_]*".join(map(re.escape, ngram)), text, re.IGNORECASE)
    if found is None:  # lower-casing changed a letter's length; the n-gram itself still stands
        return text[: 2 * CONTEXT_CHARS]
    return text[max(0, found.start() - CONTEXT_CHARS) : found.end() + CONTEXT_CHARS]
