"""Numbers in texts, and whether a true one is among them.

has_number("The area is 1,234.57 m²", 1234.5678, decimals=2)     # True
"""

import re
import unicodedata

MAX_CHARACTERS = 200_000
_NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d)\.?)(?:[eE][-+]?\d{1,3})?"
    r"(?:\s?/\s?(?P<under>\d+)(?![\d./]))?"
)


def find_numbers(text: str) -> list[float]:
    """Return the numbers of a text: thousands with commas, decimals, exponents, fractions a/b."""
    found = []
    plain = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).replace("−", "-")
    for match in _NUMBER.finditer(plain):
        over = match[0].split("/")[0].strip().replace(",", "")
        under = float(match["under"] or 1)
        if over.strip("+-.") and under:
            found.append(float(over) / under)
    return found


def has_number(text: str, true: float, *, decimals: int | None = None) -> bool:
    """Return whether a number stands in a text.

    Args:
        text: where to look.
        true: the number.
        decimals: it counts when it is right to so many decimals; None for one part in a million.
    """
    room = 1e-6 * max(1.0, abs(true)) if decimals is None else 0.5001 * 10.0**-decimals
    return any(abs(number - true) <= room for number in find_numbers(text))
