"""What stands on the audit pages: groups of sections of items, each with what it is beside.

A near-duplicate stands beside its twin's text, an overlap beside the benchmark's, masked personal
data is highlighted, and of each band of a score the kept are beside the dropped.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openqwen.core.files import read_json
from openqwen.data.audit.bands import BAND, MASKED, band_place
from openqwen.data.audit.funnel import Funnel
from openqwen.data.audit.samples import KEPT, Heading, Sample, excerpt
from openqwen.data.personal.config import PersonalDataConfig

__all__ = ["KEPT", "Corpus", "Group", "Item", "Section", "gather"]

SHOWN_OVERLAPS = 3  # of one document
TWIN = re.compile(r"(?:same as|Jaccard [\d.]+ to) (.+)", re.DOTALL)
OF_TWINS = "Good: the two differ in what they say; this one should have stayed. Bad: one is enough."
QUESTIONS = {
    "url": OF_TWINS,
    "exact": OF_TWINS,
    "minhash": OF_TWINS,
    "decontaminate": "Good: a chance likeness, such as a quotation; it should have stayed. Bad: it "
    "holds what the benchmark asks or answers.",
    "language": "Good: text in a language that was asked for. Bad: rightly left out.",
    "licence": "Good: its licence allows it. Bad: rightly left out.",
    KEPT: "Good: rightly kept. Bad: should have been dropped.",
}
OF_DROPS = "Good: a text to learn from, which should have stayed. Bad: rightly dropped."
OF_BANDS = "Good: a text to learn from. Bad: not one. Kept and dropped stand side by side."
OF_MASKS = (
    "Good: rightly replaced, nothing forgotten. Bad: something else was replaced, or forgotten."
)
Pieces = list[tuple[str, bool]]  # text, and whether it is highlighted


@dataclass(frozen=True, slots=True)
class Text:
    """A text with a title, in pieces of which some are highlighted."""

    title: str
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class Item:
    """One document to mark; its decision is a step's with its reason, or KEPT with its source."""

    id: str
    step: str
    reason: str
    facts: list[str]
    detail: str
    texts: list[Text]  # its own first
    band: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Items under one heading, with how many documents they were drawn from."""

    title: str
    count: int
    question: str
    items: list[Item]
    columns: list[str] = field(default_factory=list)  # of a band: kept and dropped

    def column(self, name: str) -> list[Item]:
        """Return the items that were kept, or dropped."""
        return [item for item in self.items if (item.step == KEPT) == (name == KEPT)]


@dataclass(frozen=True, slots=True)
class Group:
    """Sections of one step, of the kept, of one score."""

    name: str
    sections: list[Section]


class Corpus:
    """Where texts are looked up: a documents stage's folder, or nothing."""

    def __init__(self, folder: Path | None) -> None:
        """Name the folder; it is read when something is asked for."""
        self.folder = folder

    def texts(self, ids: set[str]) -> dict[str, str]:
        """Return texts of documents that are there; of dropped ones the start."""
        found: dict[str, str] = {}
        for name in ("documents", "drops"):
            files = sorted((self.folder / name).glob("*.parquet")) if self.folder and ids else []
            for file in files:
                found = dict(_texts_in(file, ids - found.keys())) | found
        return found

    @cached_property
    def overlaps(self) -> dict[str, list[dict[str, Any]]]:
        """Return the overlaps with benchmarks by the document's id."""
        path = self.folder / "contamination.json" if self.folder else None
        if path is None or not path.is_file():
            return {}
        return {entry["id"]: entry["overlaps"] for entry in read_json(path)["documents"]}


def _texts_in(file: Path, ids: set[str]) -> Iterable[tuple[str, str]]:
    wanted = pa.array(sorted(ids), pa.string())
    with pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            here = parquet.read_row_group(group, columns=["id"])
            mask = pc.is_in(here["id"], value_set=wanted)
            if pc.any(mask).as_py():
                rows = parquet.read_row_group(group, columns=["id", "text"]).filter(mask)
                yield from zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True)


def gather(funnel: Funnel, corpus: Corpus, masks: PersonalDataConfig) -> list[Group]:
    """Return all that is to be shown, in the order of the steps; then the kept, scores, masks."""
    builder = _Builder(funnel, corpus, masks)
    groups = [
        Group(f"Dropped by {row['step']}", [builder.drops(row["step"], r) for r in row["dropped"]])
        for row in funnel.rows
        if row["dropped"]
    ]
    headings = sorted(funnel.samples.counts)
    kept = [builder.kept(heading) for heading in headings if heading[0] == KEPT]
    groups += [Group("Kept", kept)] if kept else []
    bands = [heading for heading in headings if heading[0] == BAND]
    for score, of_score in groupby(bands, key=lambda heading: heading[1]):
        by_band: dict[str, list[Heading]] = {}
        for heading in of_score:
            by_band.setdefault(heading[2], []).append(heading)
        ordered = sorted(by_band, key=band_place)
        groups.append(Group(f"Score {score}", [builder.band(b, by_band[b]) for b in ordered]))
    masked = [heading for heading in headings if heading[0] == MASKED]
    sections = [builder.masked(kind, list(of)) for kind, of in groupby(masked, key=lambda h: h[1])]
    groups += [Group("Personal data replaced", sections)] if sections else []
    return groups


class _Builder:
    """Makes items of samples; twins are looked up once for all of them."""

    def __init__(self, funnel: Funnel, corpus: Corpus, masks: PersonalDataConfig) -> None:
        self.samples, self.chars = funnel.samples, funnel.config.excerpt_chars
        self.band_samples = funnel.config.band_samples
        self.overlaps = corpus.overlaps
        placeholders = [v for k, v in masks if k.endswith("_text")]
        self.placeholder = re.compile("|".join(map(re.escape, placeholders)))
        twins = {
            twin
            for heading in self.samples.counts
            for sample in self.samples.of(heading)
            if (twin := twin_of(sample.detail))
        }
        self.twins = corpus.texts(twins)

    def drops(self, step: str, reason: str) -> Section:
        heading = (step, reason)
        items = [self._item(sample, step, reason) for sample in self.samples.of(heading)]
        count = self.samples.counts[heading]
        return Section(reason, count, QUESTIONS.get(step, OF_DROPS), items)

    def kept(self, heading: Heading) -> Section:
        reason = ", ".join(heading[1:])
        items = [self._item(sample, KEPT, reason) for sample in self.samples.of(heading)]
        return Section(reason, self.samples.counts[heading], QUESTIONS[KEPT], items)

    def band(self, band: str, headings: Sequence[Heading]) -> Section:
        """Return a band of a score; of either side the first few by the draw."""
        sides: dict[bool, list[tuple[Sample, Heading]]] = {True: [], False: []}
        for heading in headings:
            sides[heading[3] == KEPT] += ((s, heading) for s in self.samples.of(heading))
        items = []
        for side in (True, False):
            chosen = sorted(sides[side], key=lambda pair: pair[0].place)[: self.band_samples]
            for sample, (_, score, _, step, *rest) in chosen:
                fact = {"score": score, "band": band, "value": sample.score}
                items.append(self._item(sample, step, ", ".join(rest), fact))
        count = sum(self.samples.counts[heading] for heading in headings)
        counts = dict.fromkeys(sides, 0)
        for heading in headings:
            counts[heading[3] == KEPT] += self.samples.counts[heading]
        title = f"{band}: {counts[True]:,} kept, {counts[False]:,} dropped"
        return Section(title, count, OF_BANDS, items, [KEPT, "dropped"])

    def masked(self, kind: str, headings: Sequence[Heading]) -> Section:
        items = [
            self._item(sample, MASKED, kind)
            for heading in headings
            for sample in self.samples.of(heading)
        ]
        count = sum(self.samples.counts[heading] for heading in headings)
        return Section(kind, count, OF_MASKS, items)

    def _item(
        self, sample: Sample, step: str, reason: str, band: dict[str, Any] | None = None
    ) -> Item:
        facts = [sample.source, sample.group]
        if sample.language and sample.language != sample.group:
            facts.append(f"language {sample.language}")
        facts.append(f"{sample.num_chars:,} characters")
        if sample.score is not None:
            facts.append(f"score {sample.score:.3g}")
        facts += [*(fact for fact in sample.facts if fact), *([sample.url] if sample.url else [])]
        if band is not None and step != KEPT:
            facts.insert(0, f"{step}: {reason}")
        return Item(sample.id, step, reason, facts, sample.detail, self._texts(sample, step), band)

    def _texts(self, sample: Sample, step: str) -> list[Text]:
        """Return the item's own text, and what it is to be read beside."""
        is_masked = step == MASKED or any(fact.startswith("masked_") for fact in sample.facts)
        pieces = split_at(sample.text, self.placeholder) if is_masked else [(sample.text, False)]
        texts = [Text("this text", pieces)]
        twin = twin_of(sample.detail)
        if twin in self.twins:
            texts.append(Text(f"stays: {twin}", [(excerpt(self.twins[twin], self.chars), False)]))
        if step == "decontaminate":
            for overlap in self.overlaps.get(sample.id, [])[:SHOWN_OVERLAPS]:
                own = _around(overlap["document_text"], overlap["document_overlap"])
                item = f"{overlap['benchmark']} {overlap['item']}"
                there = _around(overlap["item_text"], overlap["item_overlap"])
                texts += [Text("the overlap in this text", own), Text(item, there)]
        return texts


def twin_of(detail: str) -> str:
    """Return the id that a duplicate's detail names, or ""."""
    found = TWIN.fullmatch(detail)
    return found[1] if found else ""


def split_at(text: str, pattern: re.Pattern[str]) -> Pieces:
    """Return a text in pieces; those that the pattern matches are highlighted."""
    pieces: Pieces = []
    end = 0
    for found in pattern.finditer(text):
        pieces += [(text[end : found.start()], False), (found[0], True)]
        end = found.end()
    return [piece for piece in [*pieces, (text[end:], False)] if piece[0]]


def _around(text: str, overlap: Sequence[int]) -> Pieces:
    start, end = overlap
    return [(text[:start], False), (text[start:end], True), (text[end:], False)]
