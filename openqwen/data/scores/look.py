"""Scores of some texts for a person to look at: spread, extremes, verdicts.

for line in look(outcomes, step.report): print(line)
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from openqwen.core.documents import Document
from openqwen.data.steps import Outcome, Rejected

EXCERPT_CHARS = 70
SHOWN_REASONS = 6
SPREAD = (0.0, 0.1, 0.5, 0.9, 1.0)


def look(outcomes: Sequence[Outcome], report: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield lines: each score's spread and extremes, what was dropped, what was not judged.

    Args:
        outcomes: what the step gave.
        report: the step's.
    """
    yield from _spread([_document(outcome) for outcome in outcomes])
    reasons = Counter(outcome.reason for outcome in outcomes if isinstance(outcome, Rejected))
    yield f"{'kept':<26}{len(outcomes) - reasons.total():,} of {len(outcomes):,}"
    for reason, count in reasons.most_common():
        yield f"{'dropped':<26}{count:,}   {reason}"
    unjudged = sorted(report["unjudged"].items(), key=lambda item: (-item[1], item[0]))
    for reason, count in unjudged[:SHOWN_REASONS]:
        yield f"{'not judged':<26}{count:,}   {reason}"
    if rest := unjudged[SHOWN_REASONS:]:
        total = sum(count for _, count in rest)
        yield f"{'not judged':<26}{total:,}   {len(rest)} other reasons"


def rows(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a line of JSON for each text: id, language, scores, and why it would be dropped."""
    for outcome in outcomes:
        document = _document(outcome)
        row = {"id": document.id, "language": document.language, "scores": document.scores}
        if isinstance(outcome, Rejected):
            row |= {"reason": outcome.reason, "detail": outcome.detail}
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _document(outcome: Outcome) -> Document:
    return outcome.document if isinstance(outcome, Rejected) else outcome


def _spread(documents: Sequence[Document]) -> Iterator[str]:
    columns: dict[tuple[str, str], list[tuple[float, str, str]]] = {}
    for document in documents:
        excerpt = " ".join(document.text[: 3 * EXCERPT_CHARS].split())[:EXCERPT_CHARS]
        for name, value in document.scores.items():
            if name != "language":  # not one of ours
                place = (name, document.language)
                columns.setdefault(place, []).append((value, document.id, excerpt))
    for (name, language), found in sorted(columns.items()):
        found.sort()
        points = (found[round(share * (len(found) - 1))][0] for share in SPREAD)
        shown = "  ".join(f"{point:.4g}" for point in points)
        label = f"{name} {language}"
        yield f"{label:<26}{len(found):,} texts   {shown}   (least, 10 %, median, 90 %, most)"
        for end, (value, id, excerpt) in (("least", found[0]), ("most", found[-1])):
            yield f"  {end:<24}{value:.4g}   {id}   {excerpt}"
