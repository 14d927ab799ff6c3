"""Decontamination: no document may share a 13-gram with a benchmark's test (§2.1, seed).

    step = Decontaminate(config, BenchmarkIndex.open(folder))      # or items: an index is built
    for outcome in step(documents): ...
    step.report                                # every overlap with both texts

Documents that overlap are dropped, or the overlap is cut out of them with 200 characters on each
side (GPT-3, appendix C), or they are only reported. A conversation is never cut inside a message:
it loses the exchange with the overlap and all that follows it, which answers to it, and stays only
if a whole exchange stands before.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from openqwen.core.documents import Document
from openqwen.core.ngrams import unit_spans
from openqwen.data.contamination.benchmark_files import read_benchmarks
from openqwen.data.contamination.benchmark_index import (
    BenchmarkIndex,
    BenchmarkItem,
    Found,
    Overlap,
    merge_spans,
)
from openqwen.data.contamination.config import DecontaminateConfig
from openqwen.data.shingles import Hashes
from openqwen.data.steps import Outcome, Rejected, batches

__all__ = ["BenchmarkItem", "Decontaminate", "read_benchmarks"]

BATCH_DOCUMENTS, BATCH_CHARS = 128, 200_000  # looked at together
EDGE_CHARS = 30  # looked through for a space, so that cutting tears no word
PIECE_GAP = "\n\n"


class Decontaminate:
    """The step; `report` then holds every overlap with both texts."""

    def __init__(
        self,
        config: DecontaminateConfig,
        benchmarks: BenchmarkIndex | Sequence[BenchmarkItem],
        *,
        ignored: Hashes | None = None,
    ) -> None:
        """Take an index, or build one of items.

        Args:
            config: what an overlap is and what is done about it.
            benchmarks: an index built with the same settings, or items.
            ignored: sorted numbers of n-grams that count for nothing (`config.max_documents`).
        """
        self.config, self.ignored = config, ignored
        if not isinstance(benchmarks, BenchmarkIndex):
            benchmarks = BenchmarkIndex.build(benchmarks, config)
        self.index = benchmarks
        self.report: list[dict[str, Any]] = []

    def __call__(self, documents: Iterable[Document]) -> Iterator[Outcome]:
        """Answer each document: as it is, without the overlap, or rejected."""
        for document, found in self._looked_at(documents):
            if found is None:
                yield document
                continue
            outcome, cuts = self._act(document, found)
            entry = describe(document, found, self.config)
            entry["action"] = _action(document, outcome)
            if cuts:
                entry["cut"] = cuts
            self.report.append(entry)
            yield outcome

    def _looked_at(self, documents: Iterable[Document]) -> Iterator[tuple[Document, Found | None]]:
        """Yield documents with what they share, looked for in many at once, in order."""
        for batch in batches(documents, BATCH_DOCUMENTS, BATCH_CHARS):
            texts = [document.text for document in batch]
            found = self.index.overlaps_of(texts, ignored=self.ignored)
            yield from zip(batch, found, strict=True)

    def _act(self, document: Document, found: Found) -> tuple[Outcome, list[dict[str, Any]]]:
        """Return what becomes of a document, and what was cut out of it."""
        if self.config.action == "report":
            return document, []
        first = found.overlaps[0]
        reason = f"overlaps {first.item.benchmark}"
        detail = (
            f"{first.item.benchmark} {first.item.id}: “{_shown(found.words, first, self.config)}”"
        )
        rejected = Rejected(document, reason, len(found.overlaps), detail)
        if self.config.action == "drop":
            return rejected, []
        places = unit_spans(document.text)
        spans = [(places[start][0], places[end - 1][1]) for start, end in found.spans]
        if document.messages:
            kept, start = _before(document, spans[0][0])
            if kept is None:
                return rejected, []
            return kept, [_cut(document.text, start, len(document.text))]
        text, gone = cut_out(document.text, spans, self.config)
        if not text:
            return rejected, []
        return replace(document, text=text), [_cut(document.text, *span) for span in gone]


def cut_out(
    text: str, spans: Sequence[tuple[int, int]], config: DecontaminateConfig
) -> tuple[str, list[tuple[int, int]]]:
    """Return what is left of a text without some spans and their surroundings, and what is gone.

    Args:
        text: the text.
        spans: first character and the one after the last of each overlap, in order.
        config: characters to cut around, the shortest piece kept, the most pieces.

    Returns:
        The pieces with a blank line between them, "" where none is long enough or there are too
        many; and the spans that were cut or fell away.
    """
    wide = merge_spans(
        (_edge(text, start - config.cut_chars, -1), _edge(text, end + config.cut_chars, 1))
        for start, end in spans
    )
    bounds = [0, *(place for span in wide for place in span), len(text)]
    pieces = [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if a < b]
    kept = [(a, b) for a, b in pieces if len(text[a:b].strip()) >= config.min_piece_chars]
    if not kept or len(pieces) > config.max_pieces:
        return "", [(0, len(text))]
    ends = [0, *(place for piece in kept for place in piece), len(text)]
    gone = [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if a < b]
    return PIECE_GAP.join(text[a:b].strip() for a, b in kept), gone


def _edge(text: str, place: int, step: int) -> int:
    """Return the next space outward from a place, if one is near, or the place itself."""
    place = min(max(place, 0), len(text))
    end = min(max(place + step * EDGE_CHARS, 0), len(text))
    for at in range(place, end, step):
        if text[at if step > 0 else at - 1].isspace():
            return at
    return place


def _before(document: Document, char: int) -> tuple[Document | None, int]:
    """Return a conversation up to the exchange that holds a character, and where that begins.

    The conversation is None where no answer stands before it.
    """
    start, turn, turn_start = 0, 0, 0
    for number, message in enumerate(document.messages):
        if message["role"] == "user" and (
            number == 0 or document.messages[number - 1]["role"] != "user"
        ):
            turn, turn_start = number, start
        end = start + len(message["content"])
        if char < end or number == len(document.messages) - 1:
            break
        start = end + 1  # a line end stands between messages
    messages = document.messages[:turn]
    if not any(message["role"] == "assistant" for message in messages):
        return None, 0
    text = "\n".join(message["content"] for message in messages)
    return replace(document, messages=messages, text=text), turn_start


def _cut(text: str, start: int, end: int) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text[start:end]}


def _action(document: Document, outcome: Outcome) -> str:
    if isinstance(outcome, Rejected):
        return "drop"
    return "report" if outcome is document else "cut"


def describe(document: Document, found: Found, config: DecontaminateConfig) -> dict[str, Any]:
    """Return a document's overlaps as JSON, each with both texts.

    Args:
        document: the document.
        found: what it shares.
        config: overlaps reported at most, and characters shown around each.
    """
    places = unit_spans(document.text)
    shown = found.overlaps[: config.max_reported]
    return {
        "id": document.id,
        "source": document.source,
        "url": document.url,
        "language": document.language,
        "num_items": len(found.overlaps),
        "overlaps": [_describe(document, found.words, places, one, config) for one in shown],
    }


def _describe(
    document: Document,
    words: Sequence[str],
    places: list[tuple[int, int]],
    overlap: Overlap,
    config: DecontaminateConfig,
) -> dict[str, Any]:
    text = overlap.item.texts[overlap.view]
    own = unit_spans(text)
    here = (places[overlap.start][0], places[overlap.end - 1][1])
    there = (own[overlap.place][0], own[overlap.place + overlap.num_units - 1][1])
    document_text, document_overlap = _passage(document.text, here, config.context_chars)
    item_text, item_overlap = _passage(text, there, config.context_chars)
    return {
        "benchmark": overlap.item.benchmark,
        "item": overlap.item.id,
        "num_units": overlap.num_units,
        "share_of_item": round(overlap.num_units / len(own), 3),
        "ngram": _shown(words, overlap, config),
        "start": here[0],
        "end": here[1],
        "document_text": document_text,
        "document_overlap": document_overlap,
        "item_text": item_text,
        "item_overlap": item_overlap,
    }


def _shown(words: Sequence[str], overlap: Overlap, config: DecontaminateConfig) -> str:
    """Return the overlap's first units, as many as an n-gram has."""
    more = " …" if overlap.num_units > config.ngram else ""
    return " ".join(words[overlap.start : overlap.end][: config.ngram]) + more


def _passage(text: str, span: tuple[int, int], context: int) -> tuple[str, list[int]]:
    """Return an overlap with its surroundings, and where it lies in them."""
    start = max(0, span[0] - context)
    return text[start : span[1] + context], [span[0] - start, span[1] - start]
