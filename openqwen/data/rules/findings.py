"""What a rule finds against a text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A limit that a text breaks."""

    reason: str  # a few words, the same for all texts that break it
    score: float  # the measured value
    detail: str  # the value and the limit, for a person


def below(reason: str, value: float, limit: float, unit: str) -> Finding | None:
    """Return a finding where a value is below its limit."""
    if value >= limit:
        return None
    return Finding(reason, value, f"{_number(value)} {unit}, at least {_number(limit)}")


def above(reason: str, value: float, limit: float, unit: str) -> Finding | None:
    """Return a finding where a value is above its limit."""
    if value <= limit:
        return None
    return Finding(reason, value, f"{_number(value)} {unit}, at most {_number(limit)}")


def share(part: float, whole: float) -> float:
    """Return a part over the whole; 0 where there is nothing."""
    return part / whole if whole else 0.0


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
