"""What was found of the benchmarks in a corpus: counts by benchmark, and a page with both texts.

    account = Account.over(index); account.add(part); account.as_json()
    write_page(out / "report.html", out / "matches.jsonl", counts, config)

The page is one static file: it asks the network for nothing and treats every text as hostile.
"""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import jinja2

from openqwen.core.config import to_plain
from openqwen.core.files import write_text
from openqwen.data.contamination.benchmark_index import BenchmarkIndex
from openqwen.data.contamination.config import DecontaminateConfig

SHOWN = 100  # matches of one benchmark on the page, the longest
COUNTS = ("documents", "bytes", "kept", "cut", "dropped")


class Account:
    """Counts of a file, or of many together."""

    def __init__(self) -> None:
        """Start with nothing found."""
        self.counts: Counter[str] = Counter()
        self.documents: Counter[str] = Counter()
        self.items: dict[str, set[str]] = {}
        self.known: Counter[str] = Counter()
        self.findable: Counter[str] = Counter()
        self.set_aside: dict[str, dict[str, Any]] = {}

    @classmethod
    def over(cls, index: BenchmarkIndex) -> Self:
        """Start with the benchmarks of an index."""
        account = cls()
        findable = set(index.findable().tolist())
        for number, item in enumerate(index.items):
            account.known[item.benchmark] += 1
            account.findable[item.benchmark] += number in findable
        return account

    def note(self, entry: dict[str, Any]) -> None:
        """Count the overlaps of one document, as `Decontaminate.report` has them."""
        hit = {(o["benchmark"], o["item"]) for o in entry["overlaps"]}
        for benchmark, item in hit:
            self.items.setdefault(benchmark, set()).add(item)
        self.documents.update({benchmark for benchmark, _ in hit})

    def found_json(self) -> dict[str, Any]:
        """Return what `note` counted, as `add` takes it."""
        return {
            name: {"documents": self.documents[name], "items": sorted(items)}
            for name, items in sorted(self.items.items())
        }

    def add(self, part: dict[str, Any]) -> None:
        """Take in the counts of one file."""
        self.counts.update({name: part[name] for name in COUNTS})
        for name, found in part["benchmarks"].items():
            self.documents[name] += found["documents"]
            self.items.setdefault(name, set()).update(found["items"])
        for reason, facts in part["set_aside"].items():
            known = self.set_aside.setdefault(reason, {"count": 0, "examples": []})
            known["count"] += facts["count"]
            known["examples"] = (known["examples"] + facts["examples"])[:20]

    def as_json(self) -> dict[str, Any]:
        """Return the counts, benchmarks by name."""
        benchmarks = {
            name: {
                "documents": self.documents[name],
                "items_found": len(self.items.get(name, ())),
                "items": self.known[name],
                "items_not_looked_for": self.known[name] - self.findable[name],
            }
            for name in sorted(self.known)
        }
        counts = {name: self.counts[name] for name in COUNTS}
        return counts | {"benchmarks": benchmarks, "set_aside": self.set_aside}


def write_page(
    path: Path, matches: Path, counts: dict[str, Any], config: DecontaminateConfig
) -> None:
    """Write the page: counts, and the longest matches of each benchmark with both texts.

    Args:
        path: the HTML file.
        matches: JSON Lines, a match each.
        counts: of `Account.as_json`.
        config: what an overlap was.
    """
    totals, longest = _longest(_lines(matches))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("contamination.html").render(
        counts=counts,
        settings=to_plain(config),
        sections=[
            {
                "benchmark": name,
                "total": totals[name],
                "matches": [_shown(m) for m in longest[name]],
            }
            for name in sorted(totals)
        ],
    )
    write_text(path, page)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _longest(
    matches: Iterable[dict[str, Any]],
) -> tuple[Counter[str], dict[str, list[dict[str, Any]]]]:
    """Return the number of matches by benchmark, and the longest few, without holding the rest."""
    totals: Counter[str] = Counter()
    heaps: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
    for number, match in enumerate(matches):
        name = match["benchmark"]
        totals[name] += 1
        heap = heaps.setdefault(name, [])
        push = heapq.heappush if len(heap) < SHOWN else heapq.heappushpop
        push(heap, (match["num_units"], -number, match))
    return totals, {n: [m for _, _, m in sorted(heap, reverse=True)] for n, heap in heaps.items()}


def _shown(match: dict[str, Any]) -> dict[str, Any]:
    return match | {
        "document": _around(match["document_text"], match["document_overlap"]),
        "benchmark_item": _around(match["item_text"], match["item_overlap"]),
    }


def _around(text: str, overlap: list[int]) -> tuple[str, str, str]:
    """Return what stands before an overlap, the overlap, and what stands after it."""
    start, end = overlap
    return text[:start], text[start:end], text[end:]
