"""Numbers and texts of a run as a reader meets them: units, separators, nothing unprintable.

compact(8_130_000)      # "8.13 M"
decimal(0.12345, 3)     # "0.123"
"""

import json
import math
import re
from typing import Any

MISSING = "–"

# what no file, font or terminal should be asked to show: controls but tab and newline, surrogates,
# marks that turn the direction of the text that follows
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)


def clean(text: str) -> str:
    """Return a text with each unprintable character replaced by U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


def integer(value: int | float) -> str:
    """Return a whole number with thousands separators."""
    return f"{round(value):,}"


def decimal(value: float | None, digits: int) -> str:
    """Return a number with `digits` decimals; ∞ where it overflowed, – where there is none."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int) -> str:
    """Return a difference with its sign."""
    text = decimal(value, digits)
    return f"+{text}" if value is not None and value > 0 else text


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return MISSING if share is None else f"{decimal(100 * share, digits)} %"


def compact(count: float) -> str:
    """Return a count to three digits, as 8.13 M; below 10,000 all of it."""
    if count < 10_000:
        return integer(count)
    for unit in ("k", "M", "B"):
        count /= 1000
        if count < 999.5:
            return f"{count:.3g} {unit}"
    return f"{count / 1000:.3g} T"


def small(value: float) -> str:
    """Return a setting such as a learning rate: 0.002, 3e-4, 1e-8."""
    if value == 0 or 0.001 <= abs(value) < 10_000:
        return f"{value:,g}"
    digits, exponent = f"{value:.3e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def multiple(value: float) -> str:
    """Return a multiple of the training length, as ½× or 16×."""
    halves = {0.5: "½", 0.25: "¼", 0.75: "¾", 1.5: "1½"}
    return f"{halves.get(value, f'{value:g}')}×"


def literal(value: Any) -> str:
    """Return a setting's value on one line."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, float):
        return small(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return integer(value)
    return json.dumps(value, ensure_ascii=False)


def sentence(text: str) -> str:
    """Return a text with a capital first letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
