"""The n-grams of all benchmark items, and where a text shares them.

    index = BenchmarkIndex.build(items, config)
    index.save(folder); index = BenchmarkIndex.open(folder)     # memory-mapped, shared by workers
    found = index.overlaps(text)                                # None where nothing is shared

N-grams are of words, or of characters where a language writes no gaps, so a Chinese test is found
in Chinese text as an English one in English, whatever language the document is taken for. Numbers
point at candidates; what is reported was compared unit by unit.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, empty_directory, read_json, write_json
from openqwen.core.ngrams import units
from openqwen.data.contamination.config import DecontaminateConfig
from openqwen.data.contamination.gram_table import GramTable, map_array
from openqwen.data.kernels.ops import hash_units
from openqwen.data.shingles import Hashes, UnitHasher, ngram_hashes

CACHED_SEGMENTS = 4096  # whose units are remembered; matches come in runs of one segment
SURE_CHARS = 400  # a text of this length is never matched as a whole
FIRST_GAPLESS = "\u0e00"  # of the scripts whose single characters are units
SEAM = "zqx7seam4jvk"  # a unit between texts that are hashed together
SEAM_TEXT = f"\n{SEAM}\n"
META, ITEMS, ENDS, OWNERS = "index.json", "items.jsonl", "ends.npy", "owners.npy"
PROBE = "numbers of units differ between versions, and an index by others finds nothing"


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One question of a benchmark; `views` are other forms of its text, and parts of it."""

    benchmark: str
    id: str
    text: str
    views: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """Return all texts to look for."""
        return (self.text, *self.views)


@dataclass(frozen=True, slots=True)
class Overlap:
    """The longest run of units that a text shares with an item.

    Attributes:
        item: the item.
        view: which of its texts.
        start: first unit of the run in the text.
        end: the unit after its last.
        place: first unit of the run in the item's text.
    """

    item: BenchmarkItem
    view: int
    start: int
    end: int
    place: int

    @property
    def num_units(self) -> int:
        """Return the run's length."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Found:
    """What one text shares with the benchmarks.

    Attributes:
        words: the text's units.
        overlaps: one for each item, the longest first.
        spans: runs of units that any item shares, merged, in order: what would have to go.
        grams: numbers of the n-grams shared, each once.
    """

    words: list[str]
    overlaps: list[Overlap]
    spans: list[tuple[int, int]]
    grams: Hashes


@dataclass(frozen=True, slots=True)
class Hits:
    """The n-grams of one text that are in a table, not compared yet.

    Attributes:
        n: their length.
        table: the table.
        places_H: their first units.
        grams_H: their numbers.
        grams_M: numbers of the text's n-grams, from its first on.
    """

    n: int
    table: GramTable
    places_H: NDArray[np.int64]
    grams_H: Hashes
    grams_M: Hashes


class BenchmarkIndex:
    """All items and the tables of their n-grams."""

    def __init__(
        self,
        items: Sequence[BenchmarkItem],
        owners_S2: NDArray[np.int32],
        tables: dict[int, GramTable],
        config: DecontaminateConfig,
    ) -> None:
        """Hold what `build` or `open` made.

        Args:
            items: in memory or in a file.
            owners_S2: (S, 2) int32, item and view of each segment (a text to look for).
            tables: length of an n-gram -> table of segments and places.
            config: the same as when it was built.
        """
        self.items, self.owners, self.tables, self.config = items, owners_S2, tables, config
        self.hash_units = UnitNumbers()
        self.seam = self.hash_units(SEAM)[0]
        self.segment_units = lru_cache(CACHED_SEGMENTS)(self._segment_units)

    @classmethod
    def build(cls, items: Sequence[BenchmarkItem], config: DecontaminateConfig) -> Self:
        """Index items; texts too short to be told from common phrases are left out.

        Args:
            items: test items.
            config: the n-gram's length, the fewest units of a shorter text, matched whole, and how
                many items may share an n-gram.
        """
        numbers_of = UnitNumbers()
        full: list[tuple[int, int, Hashes]] = []
        short: list[tuple[int, int, Hashes]] = []
        for number, item in enumerate(items):
            for view, text in enumerate(item.texts):
                if view and len(text) > SURE_CHARS and text in item.text:
                    continue  # its n-grams are the whole text's
                hashes = numbers_of(text)
                if len(hashes) >= config.min_units:
                    kind = full if len(hashes) >= config.ngram else short
                    kind.append((number, view, hashes))
        owners = [(number, view) for number, view, _ in full + short]
        owners_S2 = np.array(owners, dtype=np.int32).reshape(-1, 2)
        owner_S, first_short = owners_S2[:, 0], len(full)
        limit, tables = config.max_items, {}
        if full:
            segments = [hashes for _, _, hashes in full]
            tables[config.ngram] = GramTable.of(
                segments, owner_S[:first_short], config.ngram, limit
            )
        if short:  # found by their first units, then compared whole
            heads = [hashes[: config.min_units] for _, _, hashes in short]
            table = GramTable.of(heads, owner_S[first_short:], config.min_units, limit)
            tables[config.min_units] = table.moved(first_short)
        return cls(items, owners_S2, tables, config)

    def save(self, folder: Path) -> None:
        """Write the index into a folder of its own, emptied before."""
        empty_directory(folder)
        ends, end = [], 0
        with atomic_path(folder / ITEMS) as path, path.open("wb") as file:
            for item in self.items:
                row = [item.benchmark, item.id, item.text, item.views]
                end += file.write(json.dumps(row, ensure_ascii=True).encode() + b"\n")
                ends.append(end)
        np.save(folder / ENDS, np.array(ends, dtype=np.int64))
        np.save(folder / OWNERS, self.owners)
        for n, table in self.tables.items():
            table.save(folder / str(n))
        facts = {"probe": _probe(), "tables": list(self.tables)}
        write_json(folder / META, facts | {"config": self.config.model_dump()})

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a saved index; its arrays stay in the file and are shared between processes.

        Raises:
            UserError: if there is none, or another version of openqwen wrote it.
        """
        facts = read_json(folder / META)
        if facts.get("probe") != _probe():
            raise UserError(f"{folder} was written by another version of openqwen; build it again")
        tables = {int(n): GramTable.open(folder / str(n)) for n in facts["tables"]}
        items = _ItemFile(folder / ITEMS, np.load(folder / ENDS))
        owners = map_array(folder / OWNERS)
        return cls(items, owners, tables, DecontaminateConfig(**facts["config"]))

    def findable(self) -> NDArray[np.int64]:
        """Return the items that are looked for; others are too short, or boilerplate."""
        segments = [np.unique(table.segments_G) for table in self.tables.values()]
        found = self.owners[np.concatenate([*segments, np.empty(0, np.int32)]), 0]
        return np.unique(found).astype(np.int64)

    def overlaps(self, text: str, *, ignored: Hashes | None = None) -> Found | None:
        """Return what a text shares with the items; None where that is nothing."""
        return self.overlaps_of([text], ignored=ignored)[0]

    def overlaps_of(
        self, texts: Sequence[str], *, ignored: Hashes | None = None
    ) -> list[Found | None]:
        """Return what each of some texts shares with the items; None where that is nothing.

        Many short texts at once are several times as fast as one after the other.

        Args:
            texts: documents' texts.
            ignored: sorted numbers of n-grams that count for nothing.
        """
        if not texts:
            return []
        hashes_N = self.hash_units(SEAM_TEXT.join(texts))
        seams = np.flatnonzero(hashes_N == self.seam)
        if len(seams) != len(texts) - 1:  # a text holds the seam itself
            singles = [self.hash_units(text) for text in texts]
            return [
                self._found(text, self._hits(hashes, ignored).get(0, []))
                for text, hashes in zip(texts, singles, strict=True)
            ]
        hits = self._hits(hashes_N, ignored, seams)
        return [self._found(text, hits[n]) if n in hits else None for n, text in enumerate(texts)]

    def _hits(
        self, hashes_N: Hashes, ignored: Hashes | None, seams: NDArray[np.int64] | None = None
    ) -> dict[int, list[Hits]]:
        """Return the n-grams of texts in a row that are in the tables, by the text's number."""
        seams = np.empty(0, dtype=np.int64) if seams is None else seams
        starts = np.concatenate([[0], seams + 1])
        found: dict[int, list[Hits]] = {}
        for n, table in self.tables.items():
            grams_M = ngram_hashes(hashes_N, n)
            hits_H = table.find(grams_M)
            if ignored is not None:
                hits_H = hits_H[~np.isin(grams_M[hits_H], ignored)]
            text_H = np.searchsorted(seams, hits_H)
            for number in np.unique(text_H).tolist():
                own_H = hits_H[text_H == number]
                start = int(starts[number])
                hits = Hits(n, table, own_H - start, grams_M[own_H], grams_M[start:])
                found.setdefault(number, []).append(hits)
        return found

    def _found(self, text: str, hits: list[Hits]) -> Found | None:
        """Return what is left of the hits of a text when they are compared unit by unit."""
        words = units(text) if hits else []
        found = [one for of_table in hits for one in self._runs(words, of_table)]
        if not found:
            return None
        longest: dict[tuple[str, str], Overlap] = {}
        for run, _ in found:
            key = (run.item.benchmark, run.item.id)
            if key not in longest or run.num_units > longest[key].num_units:
                longest[key] = run
        ordered = sorted(longest.values(), key=lambda run: (-run.num_units, run.start))
        spans = merge_spans((run.start, run.end) for run, _ in found)
        return Found(words, ordered, spans, np.unique(np.concatenate([g for _, g in found])))

    def _runs(self, words: Sequence[str], hits: Hits) -> Iterator[tuple[Overlap, Hashes]]:
        """Yield maximal shared runs, compared unit by unit, with the numbers of their n-grams."""
        n = hits.n
        reached: dict[tuple[int, int], int] = {}  # segment and shift -> where its last run ended
        rows = hits.table.rows(hits.grams_H)
        for start, (segments, places) in zip(hits.places_H.tolist(), rows, strict=True):
            for segment, place in zip(segments.tolist(), places.tolist(), strict=True):
                key = (segment, start - place)
                if reached.get(key, -1) >= start + n:
                    continue
                own = self.segment_units(segment)
                end = start + (n if len(own) >= self.config.ngram else len(own))
                here = tuple(words[start:end])
                if here != own[place : place + end - start] or self._says_little(here):
                    continue
                low, high = _extended(words, own, start, end, place)
                reached[key] = high
                number, view = self.owners[segment].tolist()
                run = Overlap(self.items[number], view, low, high, place - (start - low))
                yield run, np.unique(hits.grams_M[start : high - n + 1])

    def _says_little(self, words: Sequence[str]) -> bool:
        """Return whether a run has too few different words (see `is_word`)."""
        return sum(is_word(word) for word in set(words)) < self.config.min_words

    def _segment_units(self, segment: int) -> tuple[str, ...]:
        number, view = self.owners[segment].tolist()
        return tuple(units(self.items[number].texts[view]))


def is_word(unit: str) -> bool:
    """Return whether a unit is more than a number, a letter or a sign of a formula."""
    return not unit.isnumeric() and (len(unit) > 1 or unit >= FIRST_GAPLESS)


def _extended(
    words: Sequence[str], own: Sequence[str], start: int, end: int, place: int
) -> tuple[int, int]:
    """Return the longest run of equal units around one that is known, as places in `words`."""
    shift = place - start
    while start > 0 and start + shift > 0 and words[start - 1] == own[start + shift - 1]:
        start -= 1
    while end < len(words) and end + shift < len(own) and words[end] == own[end + shift]:
        end += 1
    return start, end


def merge_spans(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans in order, those that touch or overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _probe() -> int:
    """Return a number that changes with the way units get theirs."""
    return int(ngram_hashes(UnitNumbers()(PROBE), 8)[0])


class UnitNumbers:
    """The numbers of a text's units, from C++ where it is; else words are remembered."""

    def __init__(self) -> None:
        """Start with nothing remembered."""
        self.hasher = UnitHasher()

    def __call__(self, text: str) -> Hashes:
        """Return (N,) numbers, one a unit."""
        found = hash_units(text)
        return self.hasher(units(text)) if found is None else found


class _ItemFile(Sequence[BenchmarkItem]):
    """The items of a saved index, read one at a time."""

    def __init__(self, path: Path, ends_I: NDArray[np.int64]) -> None:
        self.lines = (
            np.memmap(path, dtype=np.uint8, mode="r") if len(ends_I) else np.empty(0, np.uint8)
        )
        self.ends = ends_I

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: Any) -> Any:
        start = int(self.ends[place - 1]) if place else 0
        benchmark, id, text, views = json.loads(self.lines[start : int(self.ends[place])].tobytes())
        return BenchmarkItem(benchmark, id, text, tuple(views))
