"""Bands of a score: headings under which kept and dropped documents stand side by side.

    band_heading("quality", 0.34, ("rules", "too few words"))
    # ("score", "quality", "0.3 – 0.4", "rules", "too few words")

The bands are fixed (tenths between 0 and 1, beyond that each twice as wide as the last), so that
workers fill the same ones without knowing each other's documents.
"""

import math

from openqwen.core.documents import Document

BAND = "score"  # opens the heading of a band
MASKED = "masked"  # opens that of documents with personal data replaced
MASK_PREFIX = "masked_"  # of scores that count replacements
GAP = " – "
LEAD_CHARS = 300  # shown before the first replacement


def band_of(value: float) -> str:
    """Return a value's band: "0.3 – 0.4", "16 – 32", "-4 – -2"; "none" where it is no number."""
    if not math.isfinite(value):
        return "none"
    if 0 <= value <= 1:
        tenth = min(int(value * 10 + 1e-9), 9)
        return f"{tenth / 10:g}{GAP}{(tenth + 1) / 10:g}"
    if -1 <= value < 0:
        return f"-1{GAP}0"
    low = 2.0 ** (math.frexp(abs(value))[1] - 1)
    if value < 0:
        return f"{-2 * low:g}{GAP}{-low:g}"
    return f"{low:g}{GAP}{2 * low:g}"


def band_place(band: str) -> float:
    """Return what bands are sorted by."""
    start = band.partition(GAP)[0]
    return math.inf if start == "none" else float(start)


def band_heading(score: str, value: float, decision: tuple[str, ...]) -> tuple[str, ...]:
    """Return the heading of a document with this score that met this decision.

    Args:
        score: its name.
        value: its value.
        decision: kept with source and group, or a step with its reason.
    """
    if score.startswith(MASK_PREFIX):
        return (MASKED, score.removeprefix(MASK_PREFIX), *decision)
    return (BAND, score, band_of(value), *decision)


def around_mask(document: Document, kind: str) -> str:
    """Return a masked document's text from shortly before its first replacement of a kind."""
    place = document.text.find(f"<{kind.removeprefix('chinese_')}>")
    start = max(0, place - LEAD_CHARS)
    return ("… " if start else "") + document.text[start:]
