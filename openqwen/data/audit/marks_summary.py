"""How often each filter was right, by the marks of people and of models; who agrees with whom.

    summary = summarise(marks, counts=counts_of(corpus))
    print(as_markdown(summary))

People and models are never added up. A text that several of a kind marked counts once, by their
majority.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from openqwen.core.files import read_json
from openqwen.core.intervals import share_interval
from openqwen.data.audit.bands import band_place
from openqwen.data.audit.marks import KINDS, Mark, Marker
from openqwen.data.audit.samples import KEPT

Counts = dict[tuple[str, str], int]
Z_95 = 1.959964


def counts_of(documents: Path) -> Counts:
    """Return how many documents each decision of a documents stage met.

    Raises:
        UserError: if the folder is no documents stage.
    """
    rows = read_json(documents / "funnel.json")
    return {(row["step"], why): n for row in rows for why, n in row["dropped"].items()}


def summarise(marks: Sequence[Mark], *, counts: Counts | None = None) -> dict[str, Any]:
    """Return everything there is to say of marks, as JSON.

    Args:
        marks: of any number of markers.
        counts: documents of each decision, to weight a step's reasons by; samples have as many of
            a rare reason as of a frequent one.
    """
    by_kind = {kind: _settled([m for m in marks if m.marker.kind == kind]) for kind in KINDS}
    markers = sorted({mark.marker for mark in marks})
    return {
        "markers": [_of_marker(marker, marks) for marker in markers],
        "tied": {kind: tied for kind, (_, tied) in by_kind.items() if tied},
        "decisions": [
            row for kind in KINDS for row in _decisions(kind, by_kind[kind][0], counts or {})
        ],
        "steps": [row for kind in KINDS for row in _steps(kind, by_kind[kind][0], counts or {})],
        "bands": [row for kind in KINDS for row in _bands(kind, by_kind[kind][0])],
        "agreement": [_agreement(a, b, marks) for a, b in combinations(markers, 2)],
        "disagreements": _disagreements(marks),
    }


def _settled(marks: Sequence[Mark]) -> tuple[list[Mark], int]:
    """Return one mark a text, the majority's, and how many texts had no majority."""
    votes: dict[tuple[str, str, str], list[Mark]] = {}
    for mark in marks:
        votes.setdefault(mark.key, []).append(mark)
    settled, tied = [], 0
    for of_text in votes.values():
        good = sum(mark.is_good for mark in of_text)
        if 2 * good == len(of_text):
            tied += 1
            continue
        settled.append(next(m for m in of_text if m.is_good == (2 * good > len(of_text))))
    return settled, tied


def _of_marker(marker: Marker, marks: Sequence[Mark]) -> dict[str, Any]:
    own = [mark for mark in marks if mark.marker == marker]
    good = sum(mark.is_good for mark in own)
    return {"kind": marker.kind, "name": marker.name, "marks": len(own), "good": good}


def _share(right: int, n: int) -> dict[str, Any]:
    low, high = share_interval(right, n)
    share = {"n": n, "right": right, "share": round(right / n, 4)}
    return share | {"interval": [round(low, 4), round(high, 4)]}


def _decisions(kind: str, marks: Sequence[Mark], counts: Counts) -> list[dict[str, Any]]:
    """Return the share of right ones of each decision, most frequent first within a step."""
    of: dict[tuple[str, str], list[bool]] = {}
    for mark in marks:
        of.setdefault(mark.decision, []).append(mark.is_right)
    ordered = sorted(of, key=lambda d: (d[0] == KEPT, d[0], -counts.get(d, 0), d[1]))
    return [
        {"by": kind, "step": step, "reason": reason, "documents": counts.get((step, reason))}
        | _share(sum(of[step, reason]), len(of[step, reason]))
        for step, reason in ordered
    ]


def _steps(kind: str, marks: Sequence[Mark], counts: Counts) -> list[dict[str, Any]]:
    """Return the share of right ones of each step, its reasons weighted by their documents."""
    rows = []
    for step in sorted({mark.step for mark in marks}, key=lambda s: (s == KEPT, s)):
        own = [mark for mark in marks if mark.step == step]
        row = {"by": kind, "step": step} | _share(sum(m.is_right for m in own), len(own))
        weighted = _weighted(own, {d: n for d, n in counts.items() if d[0] == step})
        rows.append(row | ({"weighted": weighted} if weighted else {}))
    return rows


def _weighted(marks: Sequence[Mark], counts: Counts) -> dict[str, Any] | None:
    """Return the stratified share, with Agresti and Coull's two marks more of each kind a stratum.

    Reasons of which nothing was marked are left out; `covered` is the share of documents that the
    others are.
    """
    strata = {d: [m.is_right for m in marks if m.decision == d] for d in counts}
    total = sum(counts[d] for d, own in strata.items() if own)
    if not total:
        return None
    share = variance = 0.0
    for decision, own in strata.items():
        if own:
            weight = counts[decision] / total
            near = (sum(own) + 2) / (len(own) + 4)
            share += weight * sum(own) / len(own)
            variance += weight**2 * near * (1 - near) / (len(own) + 4)
    half = Z_95 * math.sqrt(variance)
    interval = [round(max(0.0, share - half), 4), round(min(1.0, share + half), 4)]
    covered = round(total / sum(counts.values()), 4)
    return {"share": round(share, 4), "interval": interval, "covered": covered}


def _bands(kind: str, marks: Sequence[Mark]) -> list[dict[str, Any]]:
    """Return the share of good texts in each band of each score."""
    of: dict[tuple[str, str], list[bool]] = {}
    for mark in marks:
        if mark.score:
            of.setdefault((mark.score, mark.band), []).append(mark.is_good)
    rows = []
    for score, band in sorted(of, key=lambda key: (key[0], _place(key[1]))):
        good = of[score, band]
        share = _share(sum(good), len(good))
        share["good"] = share.pop("right")
        rows.append({"by": kind, "score": score, "band": band} | share)
    return rows


def _place(band: str) -> float:
    try:
        return band_place(band)
    except ValueError:  # a band that another program named
        return math.inf


def _agreement(one: Marker, other: Marker, marks: Sequence[Mark]) -> dict[str, Any]:
    """Return how often two markers said the same of the texts both marked, and Cohen's kappa."""
    pairs = _pairs(one, other, marks)
    row: dict[str, Any] = {"between": [str(one), str(other)], "n": len(pairs)}
    if not pairs:
        return row
    same = sum(a.is_good == b.is_good for a, b in pairs)
    first = sum(a.is_good for a, _ in pairs) / len(pairs)
    second = sum(b.is_good for _, b in pairs) / len(pairs)
    chance = first * second + (1 - first) * (1 - second)
    share = _share(same, len(pairs))
    share["same"] = share.pop("right")
    kappa = None if chance == 1 else round((same / len(pairs) - chance) / (1 - chance), 3)
    return row | share | {"kappa": kappa}


def _pairs(one: Marker, other: Marker, marks: Iterable[Mark]) -> list[tuple[Mark, Mark]]:
    first, second = (
        {mark.key: mark for mark in marks if mark.marker == marker} for marker in (one, other)
    )
    return [(first[key], second[key]) for key in first if key in second]


def _disagreements(marks: Sequence[Mark]) -> list[dict[str, Any]]:
    """Return the texts that markers see differently, and how each does."""
    votes: dict[tuple[str, str, str], dict[str, str]] = {}
    for mark in marks:
        votes.setdefault(mark.key, {})[str(mark.marker)] = "good" if mark.is_good else "bad"
    return [
        {"step": step, "reason": reason, "id": id, "marks": given}
        for (step, reason, id), given in sorted(votes.items())
        if len(Counter(given.values())) > 1
    ]
