"""What people and models marked on the audit pages: files of marks, read and counted.

    marks, account = read_marks([Path("audit-marks.json")])
    marks[0].id, marks[0].step, marks[0].is_good, marks[0].marker.kind       # "person"

A file is JSON: {"kind": "openqwen audit marks", "judges": "texts", "by": {"kind": "person" or
"model", "name"}, "marks": [{"id", "step", "reason", "mark": "good" or "bad", "band"?}]}. A mark
judges a text: good belongs into the corpus, bad does not. So a drop is right where its text is bad,
and a kept text where it is good.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import read_json
from openqwen.data.audit.bands import MASKED
from openqwen.data.audit.pages import KEPT, MARKS_KIND

KINDS = ("person", "model")
UNNAMED = "unnamed"
# steps that drop a text for what it is like; others drop good texts too: twins, other languages
QUALITY_STEPS = frozenset({KEPT, "rules", "block-list", "scores"})


@dataclass(frozen=True, slots=True, order=True)
class Marker:
    """Who marked."""

    kind: str  # person or model
    name: str

    def __str__(self) -> str:
        """Return both in words."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Mark:
    """One text that was marked, with the decision it met."""

    id: str
    step: str
    reason: str
    is_good: bool
    marker: Marker
    score: str = ""  # whose band it was shown in
    band: str = ""

    @property
    def decision(self) -> tuple[str, str]:
        """Return the step and the reason."""
        return self.step, self.reason

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what two marks of the same text and decision share."""
        return self.step, self.reason, self.id

    @property
    def is_right(self) -> bool:
        """Return whether the decision was right by this mark."""
        return self.is_good == (self.step in (KEPT, MASKED))


def read_marks(paths: Sequence[Path]) -> tuple[list[Mark], dict[str, int]]:
    """Return the marks of files, each of a marker once, and how many were left out and why.

    A marker's second mark of the same text counts once; one that says the opposite takes both out.

    Raises:
        UserError: if a file is no file of marks, or its marks judged decisions (an older page's).
    """
    found: dict[tuple[Marker, tuple[str, str, str]], Mark] = {}
    opposed: set[tuple[Marker, tuple[str, str, str]]] = set()
    left_out: Counter[str] = Counter()
    for path in paths:
        content = _content(path)
        marker = _marker(path, content)
        for row in content["marks"]:
            mark = _mark(row, marker)
            if mark is None:
                left_out["not a mark"] += 1
                continue
            place = (marker, mark.key)
            if place not in found:
                found[place] = mark
            elif found[place].is_good == mark.is_good:
                left_out["repeated"] += 1
            else:
                left_out["repeated with the opposite mark"] += 1
                opposed.add(place)
    left_out["opposed by its own marker"] += len(opposed)
    marks = [mark for place, mark in found.items() if place not in opposed]
    return marks, {reason: count for reason, count in sorted(left_out.items()) if count}


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or content.get("kind") != MARKS_KIND:
        raise UserError(f"{path} is not a file of marks that an audit page saved")
    if content.get("judges") != "texts":
        raise UserError(
            f'{path} does not say "judges": "texts"; pages of older versions had decisions marked, '
            "which can't be told apart: mark again on a new page"
        )
    if not isinstance(content.get("marks"), list):
        raise UserError(f"{path} has no list of marks")
    return content


def _marker(path: Path, content: dict[str, Any]) -> Marker:
    by = content.get("by")
    kind = by.get("kind") if isinstance(by, dict) else None
    if kind not in KINDS:
        raise UserError(
            f'{path}: "by" must say who marked: {{"kind": "person" or "model", "name"}}'
        )
    name = by.get("name") if isinstance(by, dict) else None
    return Marker(kind, name.strip() if isinstance(name, str) and name.strip() else UNNAMED)


def _mark(row: Any, marker: Marker) -> Mark | None:
    if not isinstance(row, dict) or row.get("mark") not in ("good", "bad"):
        return None
    names = [row.get(name) for name in ("id", "step", "reason")]
    if not all(isinstance(name, str) for name in names):
        return None
    band = row.get("band")
    band = band if isinstance(band, dict) else {}
    score, shown = str(band.get("score", "")), str(band.get("band", ""))
    id, step, reason = map(str, names)
    return Mark(id, step, reason, row["mark"] == "good", marker, score, shown)
