"""How much of a page's main text an extraction kept, and how much furniture with it."""

import re
from collections import Counter
from dataclasses import dataclass

from extraction_gold import Page

_TOKEN = re.compile(r"[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af\u0e00-\u0e7f]|[^\W_]+")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class Overlap:
    """Tokens found of those wanted, and wanted of those found; words, or characters of CJK."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def overlap(wanted: str, found: str) -> Overlap:
    """Return how two texts' bags of tokens meet."""
    a, b = (Counter(_TOKEN.findall(text.lower())) for text in (wanted, found))
    common = sum((a & b).values())
    return Overlap(common / max(b.total(), 1), common / max(a.total(), 1))


def measure(page: Page, found: str) -> dict[str, tuple[float, float]]:
    """Return, by measure, how much of the page counts and out of how much."""
    tight = _SPACES.sub("", found)
    met = overlap(page.text, found)
    flat = [_SPACES.sub(" ", line) for line in found.split("\n")]
    code = [_code_stands(block, found) for block in page.code]
    rows = [row for table in page.tables for row in table]
    times = Counter(page.formulas)
    once = [tight.count(_SPACES.sub("", tex)) == times[tex] for tex in page.formulas]
    kept = [tight.count(_SPACES.sub("", tex)) >= 1 for tex in page.formulas]
    furniture = [_SPACES.sub("", phrase) in tight for phrase in page.furniture]
    return {
        "precision": (met.precision, 1),
        "recall": (met.recall, 1),
        "f1": (met.f1, 1),
        "code": (sum(code), len(code)),
        "table rows": (sum(_row_stands(row, flat) for row in rows), len(rows)),
        "formulas": (sum(kept), len(kept)),
        "formulas once": (sum(once), len(once)),
        "furniture": (sum(furniture), len(furniture)),
    }


def _code_stands(block: str, found: str) -> bool:
    """Return whether a block's lines stand together with their indentation, however far in."""
    wanted = block.split("\n")
    lines = found.split("\n")
    for start, line in enumerate(lines):
        if not line.endswith(wanted[0]):
            continue
        margin = line[: len(line) - len(wanted[0])]
        rest = lines[start : start + len(wanted)]
        if not margin.strip() and all(
            have.rstrip() == (margin + want).rstrip()
            for have, want in zip(rest, wanted, strict=False)
        ):
            return len(rest) == len(wanted)
    return False


def _row_stands(row: list[str], lines: list[str]) -> bool:
    """Return whether a row's cells stand on one line, in order, with something between them."""
    pattern = re.compile(r"\W+".join(re.escape(cell) for cell in row))
    return any(pattern.search(line) for line in lines)
