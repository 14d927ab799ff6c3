"""What the steps did: counts by step, reason, group and source; the dropped; samples to look at.

funnel = Funnel(config.audit, seed=0)
documents = funnel.run("extract", step, pages, total=2603, unit="pages")
funnel.rows[0]["dropped"]["empty"]                # 71
# documents extract    2,603 pages → 2,532   1,142/s   dropped 71: empty 71
"""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from openqwen.core.documents import Document, Drop, Page
from openqwen.core.errors import UserError
from openqwen.core.log import Progress
from openqwen.data.config import AuditConfig
from openqwen.data.draw import draw
from openqwen.data.steps import Outcome, Rejected

ItemT = TypeVar("ItemT", Page, Document)

REASONS_SHOWN = 6
UNIDENTIFIED = "unidentified"  # the group of a text before its language is known


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
        self.heaps: dict[tuple[str, ...], list[tuple[float, str, Sample]]] = {}

    def offer(
        self,
        heading: tuple[str, ...],
        document: Document,
        *,
        score: float | None = None,
        detail: str = "",
        facts: tuple[str, ...] = (),
    ) -> None:
        """Take a document in if it is among the first of its heading."""
        place = draw(self.seed, "audit", document.id)
        heap = self.heaps.setdefault(heading, [])
        if len(heap) == self.config.samples and (-place, document.id) <= heap[0][:2]:
            return
        sample = Sample(
            place,
            document.id,
            document.source,
            document.group or UNIDENTIFIED,
            document.url,
            document.language,
            excerpt(document.text, self.config.excerpt_chars),
            len(document.text),
            score,
            detail,
            facts,
        )
        push = heapq.heappush if len(heap) < self.config.samples else heapq.heapreplace
        push(heap, (-place, document.id, sample))

    def of(self, heading: tuple[str, ...]) -> list[Sample]:
        """Return a heading's samples in the order of the draw."""
        return sorted(sample for _, _, sample in self.heaps.get(heading, []))


def excerpt(text: str, chars: int) -> str:
    """Return a text's start, with a mark where it was cut."""
    return text if len(text) <= chars else text[:chars] + " …"


class Funnel:
    """Runs steps one after the other and keeps account of them."""

    def __init__(self, config: AuditConfig, *, seed: int) -> None:
        """Start with nothing run."""
        self.config = config
        self.rows: list[dict[str, Any]] = []
        self.drops: list[Drop] = []
        self.samples = Samples(config, seed=seed)

    def run(
        self,
        name: str,
        step: Callable[[Iterable[ItemT]], Iterator[Outcome]],
        items: Iterable[ItemT],
        *,
        total: int,
        unit: str = "documents",
    ) -> list[Document]:
        """Run one step to its end, print its line and return the documents it keeps, in order.

        Args:
            name: the step's name, in lines, rows and drops.
            step: what maps items to outcomes.
            items: pages or documents.
            total: how many there are.
            unit: what they are called.

        Raises:
            UserError: if the step kept nothing.
        """
        counted = _Counted(f"documents {name}", total, unit)
        kept: list[Document] = []
        dropped: Counter[str] = Counter()
        groups_out: Counter[str] = Counter()
        sources_out: Counter[str] = Counter()
        for outcome in step(counted.over(items)):
            if isinstance(outcome, Rejected):
                dropped[outcome.reason] += 1
                self._keep_drop(name, outcome)
                continue
            kept.append(outcome)
            groups_out[outcome.group or UNIDENTIFIED] += 1
            sources_out[outcome.source] += 1
        taken = sum(counted.sources.values())
        given = len(kept) + dropped.total()
        assert taken == given, f"{name} took {taken} items and answered {given}"
        self.rows.append(
            {
                "step": name,
                "unit": unit,
                "in": taken,
                "out": len(kept),
                "dropped": dict(dropped.most_common()),
                "groups": _in_and_out(counted.groups, groups_out),
                "sources": _in_and_out(counted.sources, sources_out),
            }
        )
        counted.close(len(kept), dropped)
        if not kept:
            raise NothingLeftError(name, taken, dropped)
        return kept

    def _keep_drop(self, name: str, rejected: Rejected) -> None:
        document = rejected.document
        self.drops.append(
            Drop(
                document.id,
                document.source,
                document.language,
                name,
                rejected.reason,
                rejected.score,
                rejected.detail,
                excerpt(document.text, self.config.excerpt_chars),
            )
        )
        heading = (name, rejected.reason)
        self.samples.offer(heading, document, score=rejected.score, detail=rejected.detail)


class NothingLeftError(UserError):
    """A step dropped every document."""

    def __init__(self, step: str, taken: int, dropped: Counter[str]) -> None:
        why = f"all {taken:,} documents were dropped ({_reasons(dropped)})" if taken else "no input"
        super().__init__(f"documents {step}: {why}")


class _Counted:
    """Items on their way into a step: counted, with progress on the terminal."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.unit = label, unit
        self.groups: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.progress = Progress(label, total=total, unit=unit)
        self.started = time.monotonic()

    def over(self, items: Iterable[ItemT]) -> Iterator[ItemT]:
        for item in items:
            self.groups[_group(item)] += 1
            self.sources[item.source] += 1
            self.progress.advance()
            yield item

    def close(self, kept: int, dropped: Counter[str]) -> None:
        taken = sum(self.sources.values())
        rate = taken / max(time.monotonic() - self.started, 1e-6)
        line = f"{self.label:<24}{taken:,} {self.unit} → {kept:,}   {rate:,.0f}/s"
        if dropped:
            line += f"   dropped {dropped.total():,}: {_reasons(dropped)}"
        self.progress.close(line)


def _group(item: Page | Document) -> str:
    """Return what a page or document counts as; most pages' language is not known yet."""
    if isinstance(item, Document):
        return item.group or UNIDENTIFIED
    return {"text/x-python": "code", "application/x-messages+json": "instructions"}.get(
        item.media, UNIDENTIFIED
    )


def _in_and_out(taken: Counter[str], kept: Counter[str]) -> dict[str, dict[str, int]]:
    names = sorted(taken.keys() | kept.keys())
    return {name: {"in": taken[name], "out": kept[name]} for name in names}


def _reasons(dropped: Counter[str]) -> str:
    shown = [f"{reason} {count:,}" for reason, count in dropped.most_common(REASONS_SHOWN)]
    return ", ".join(shown) + (" …" if len(dropped) > REASONS_SHOWN else "")
