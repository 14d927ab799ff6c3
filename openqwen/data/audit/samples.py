"""A few documents under each heading for a person to look at: the same few on any engine.

    samples = Samples(config, seed=0)
    samples.offer(("rules", "too few words"), document, score=12)
    samples.add(other.as_json())                     # those of another task
    samples.of(("rules", "too few words"))

Which ones are kept is drawn by their ids, so neither order nor partition matters.
"""

import heapq
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from openqwen.core.documents import Document
from openqwen.data.audit.bands import BAND, MASKED, around_mask, band_heading
from openqwen.data.audit.config import AuditConfig
from openqwen.data.draw import draw

KEPT = "kept"  # opens the heading of what stayed
UNIDENTIFIED = "unidentified"  # the group of a text before its language is known
Heading = tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Sample:
    """One document for a person to look at; `place` orders samples at random."""

    place: float
    id: str
    source: str
    group: str
    url: str
    language: str
    text: str
    num_chars: int
    score: float | None = None
    detail: str = ""
    facts: tuple[str, ...] = ()


class Samples:
    """For each heading the few documents that a draw by id puts first, whatever their order."""

    def __init__(self, config: AuditConfig, *, seed: int) -> None:
        """Keep `config.samples` for each heading."""
        self.config, self.seed = config, seed
        self.heaps: dict[Heading, list[tuple[float, str, Sample]]] = {}
        self.counts: Counter[Heading] = Counter()  # documents offered

    def offer(
        self,
        heading: Heading,
        document: Document,
        *,
        score: float | None = None,
        detail: str = "",
        facts: tuple[str, ...] = (),
    ) -> None:
        """Take a document in if it is among the first of its heading or of a score's band."""
        place = draw(self.seed, "audit", document.id)
        self._offer(heading, place, document, score, detail, facts)
        for name, value in document.scores.items():
            band = band_heading(name, value, heading)
            if band[0] == BAND or heading[0] == KEPT:
                self._offer(band, place, document, value, detail, facts)

    def _offer(
        self,
        heading: Heading,
        place: float,
        document: Document,
        score: float | None,
        detail: str,
        facts: tuple[str, ...],
    ) -> None:
        self.counts[heading] += 1
        heap = self.heaps.setdefault(heading, [])
        if len(heap) == self._limit(heading) and (-place, document.id) <= heap[0][:2]:
            return
        text = around_mask(document, heading[1]) if heading[0] == MASKED else document.text
        sample = Sample(
            place,
            document.id,
            document.source,
            document.group or UNIDENTIFIED,
            document.url,
            document.language,
            excerpt(text, self.config.excerpt_chars),
            len(document.text),
            score,
            detail,
            facts,
        )
        self._keep(heading, sample)

    def _limit(self, heading: Heading) -> int:
        return self.config.band_samples if heading[0] == BAND else self.config.samples

    def offer_kept(self, document: Document) -> None:
        """Take a document of the corpus in, under its source and group."""
        scores = [f"{name} {value:.3g}" for name, value in sorted(document.scores.items())]
        epochs = f"{document.epochs} epoch{'s' if document.epochs != 1 else ''}"
        facts = (document.split, epochs, document.licence, *scores)
        self.offer((KEPT, document.source, document.group), document, facts=facts)

    def _keep(self, heading: Heading, sample: Sample) -> None:
        heap = self.heaps.setdefault(heading, [])
        push = heapq.heappush if len(heap) < self._limit(heading) else heapq.heappushpop
        push(heap, (-sample.place, sample.id, sample))

    def of(self, heading: Heading) -> list[Sample]:
        """Return a heading's samples in the order of the draw."""
        return sorted(sample for _, _, sample in self.heaps.get(heading, []))

    def as_json(self) -> list[dict[str, Any]]:
        """Return all samples with their headings, as `add` takes them."""
        return [
            {
                "heading": list(heading),
                "count": self.counts[heading],
                "samples": [asdict(sample) for sample in self.of(heading)],
            }
            for heading in sorted(self.heaps)
        ]

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take in what another task kept; of all together the first of each heading stay."""
        for row in rows:
            self.counts[tuple(row["heading"])] += row["count"]
            for fields in row["samples"]:
                sample = Sample(**fields | {"facts": tuple(fields["facts"])})
                self._keep(tuple(row["heading"]), sample)


def excerpt(text: str, chars: int) -> str:
    """Return a text's start, with a mark where it was cut."""
    return text if len(text) <= chars else text[:chars] + " …"
