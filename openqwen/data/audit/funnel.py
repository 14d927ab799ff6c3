"""What the steps did: counts by step, reason, group and source; the dropped; samples to look at.

    funnel = Funnel(config.audit, seed=0, keep_drop=drops.add)
    documents = funnel.through("rules", step, documents)      # streaming: pulled by who reads them
    funnel.add(other.as_json())                               # of another task
    funnel.rows[0]["dropped"]["empty"]                        # 71

Counts of tasks add up, samples are drawn by id: the account of a corpus does not depend on how many
tasks it was cut into.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from openqwen.core.documents import Document, Drop, Page
from openqwen.core.errors import UserError
from openqwen.core.log import say
from openqwen.data.audit.config import AuditConfig
from openqwen.data.audit.samples import UNIDENTIFIED, Samples, excerpt
from openqwen.data.steps import Outcome, Rejected

ItemT = TypeVar("ItemT", Page, Document)

REASONS_SHOWN = 6
TABLES = ("dropped", "groups_in", "groups_out", "sources_in", "sources_out")


@dataclass(slots=True)
class Tally:
    """The counts of one step; `seconds` is one processor's time in it."""

    unit: str = "documents"
    seconds: float = 0.0
    bytes_in: int = 0  # characters of text, or bytes of pages, that the step took
    dropped: Counter[str] = field(default_factory=Counter)
    groups_in: Counter[str] = field(default_factory=Counter)
    groups_out: Counter[str] = field(default_factory=Counter)
    sources_in: Counter[str] = field(default_factory=Counter)
    sources_out: Counter[str] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        """Return how many items came in."""
        return self.sources_in.total()

    @property
    def kept(self) -> int:
        """Return how many documents went on."""
        return self.sources_out.total()

    def as_row(self, step: str) -> dict[str, Any]:
        """Return the step's entry in funnel.json."""
        return {
            "step": step,
            "unit": self.unit,
            "in": self.taken,
            "out": self.kept,
            "dropped": dict(sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))),
            "groups": _in_and_out(self.groups_in, self.groups_out),
            "sources": _in_and_out(self.sources_in, self.sources_out),
        }


class Funnel:
    """Sends documents through steps and keeps account of them."""

    def __init__(
        self,
        config: AuditConfig,
        *,
        seed: int,
        keep_drop: Callable[[Drop], object] = lambda drop: None,
    ) -> None:
        """Start with nothing run; `keep_drop` gets each dropped document."""
        self.config = config
        self.keep_drop = keep_drop
        self.tallies: dict[str, Tally] = {}
        self.samples = Samples(config, seed=seed)

    def through(
        self,
        name: str,
        step: Callable[[Iterable[ItemT]], Iterator[Outcome]],
        items: Iterable[ItemT],
        *,
        unit: str = "documents",
    ) -> Iterator[Document]:
        """Return the documents that a step keeps, in order, counted as they pass.

        Args:
            name: the step's name, in lines, rows and drops.
            step: what maps items to outcomes.
            items: pages or documents.
            unit: what they are called.
        """
        return self._pass(name, self.tallies.setdefault(name, Tally(unit)), step, items)

    def _pass(
        self,
        name: str,
        tally: Tally,
        step: Callable[[Iterable[ItemT]], Iterator[Outcome]],
        items: Iterable[ItemT],
    ) -> Iterator[Document]:
        upstream = _Timed(items)
        outcomes = step(_counted(upstream, tally))
        while True:
            started, waited = time.perf_counter(), upstream.seconds
            outcome = next(outcomes, None)
            tally.seconds += time.perf_counter() - started - (upstream.seconds - waited)
            if outcome is None:
                return
            if isinstance(outcome, Rejected):
                tally.dropped[outcome.reason] += 1
                self._drop(name, outcome)
                continue
            tally.groups_out[outcome.group or UNIDENTIFIED] += 1
            tally.sources_out[outcome.source] += 1
            yield outcome

    def _drop(self, name: str, rejected: Rejected) -> None:
        document = rejected.document
        self.keep_drop(
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

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return funnel.json: an entry a step, in the order they were run."""
        return [tally.as_row(name) for name, tally in self.tallies.items()]

    def as_json(self) -> dict[str, Any]:
        """Return counts and samples as JSON values, as `add` takes them."""
        tallies = {
            name: {"unit": t.unit, "seconds": t.seconds, "bytes_in": t.bytes_in}
            | {table: dict(getattr(t, table)) for table in TABLES}
            for name, t in self.tallies.items()
        }
        return {"tallies": tallies, "samples": self.samples.as_json()}

    def add(self, facts: dict[str, Any]) -> None:
        """Add the counts and samples of another task."""
        for name, row in facts["tallies"].items():
            tally = self.tallies.setdefault(name, Tally(row["unit"]))
            tally.seconds += row["seconds"]
            tally.bytes_in += row["bytes_in"]
            for table in TABLES:
                getattr(tally, table).update(row[table])
        self.samples.add(facts["samples"])

    def say(self, names: Iterable[str]) -> None:
        """Print a line for each of the steps.

        Raises:
            NothingLeftError: at the first that kept nothing.
        """
        for name in names:
            tally = self.tallies.get(name, Tally())
            taken, dropped = tally.taken, tally.dropped
            rate = taken / max(tally.seconds, 1e-6)
            line = f"{f'documents {name}':<24}{taken:,} {tally.unit} → {tally.kept:,}"
            line += f"   {rate:,.0f}/s a worker"
            if dropped:
                line += f"   dropped {dropped.total():,}: {_reasons(dropped)}"
            say(line)
            given = tally.kept + dropped.total()
            assert taken == given, f"{name} took {taken} items and answered {given}"
            if not tally.kept:
                raise NothingLeftError(name, taken, dropped)


class NothingLeftError(UserError):
    """A step dropped every document."""

    def __init__(self, step: str, taken: int, dropped: Counter[str]) -> None:
        why = f"all {taken:,} documents were dropped ({_reasons(dropped)})" if taken else "no input"
        super().__init__(f"documents {step}: {why}")


class _Timed:
    """An iterator that knows how long its source took, so that a step is timed by itself."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = iter(items)
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        started = time.perf_counter()
        try:
            return next(self.items)
        finally:
            self.seconds += time.perf_counter() - started


def _counted(items: Iterable[ItemT], tally: Tally) -> Iterator[ItemT]:
    for item in items:
        tally.groups_in[_group(item)] += 1
        tally.sources_in[item.source] += 1
        tally.bytes_in += len(item.text) if isinstance(item, Document) else len(item.content)
        yield item


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
    ordered = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{reason} {count:,}" for reason, count in ordered[:REASONS_SHOWN]]
    return ", ".join(shown) + (" …" if len(ordered) > REASONS_SHOWN else "")
