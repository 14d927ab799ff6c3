"""A document's running text as the rules see it, taken apart and measured once.

prose = Prose(text, "zh", min_units=10)
prose.lines, prose.script_share, len(prose.units)
"""

import re
from collections.abc import Iterator

from openqwen.core.ngrams import CHARACTER_LANGUAGES
from openqwen.data.language.identify import without_code
from openqwen.data.rules.findings import share
from openqwen.data.rules.unit_measures import measure_units

LINE_ENDS = tuple(".!?:;…\"'”’»)。．｡！？：；，、」』）】》〉।؟۔")
WRAPPED_CHARS = 40  # a longer line without an end goes on in the next; an ideograph counts as two
TABLE_MARK = " | "  # as `data.extraction.html` writes tables
ADDRESS_MARK = "://"
BULLETS = frozenset("-*•·‣▪◦–")

_LINE_ENDS = frozenset(LINE_ENDS)
_SYMBOLS = re.compile(r"#|\.\.\.|…")
_HEADING_MARKS = re.compile(r"^#+", re.MULTILINE)
_ADDRESS = re.compile(r"https?://[!-(*-=?-\\^-~]+")  # ASCII, up to a closing bracket
_SCRIPT = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


class Prose:
    """A text without code blocks and addresses, and without tables where enough is left.

    Attributes:
        language: ISO 639-1 code.
        full: the whole text.
        num_full_units: words and gapless characters of the whole text.
        address_lines: share of the lines outside code that are web addresses and little else.
        text: the prose.
        lower: the prose in lower case.
        units: the prose's words and gapless characters.
        script_share: share of them that are characters of Chinese, Japanese or Thai.
        by_characters: whether the text is judged by characters.
        lines: its filled lines, those of a paragraph wrapped at some width as one.
    """

    def __init__(self, text: str, language: str, *, min_units: int) -> None:
        """Take a text apart.

        Args:
            text: a cleaned document.
            language: ISO 639-1 code; "und" is judged by its script.
            min_units: words outside tables from which the tables are left out.
        """
        self.language, self.full = language, text
        full_units = measure_units(text.lower())
        self.num_full_units = len(full_units)
        self.text = without_code(text)
        self.address_lines = 0.0
        if ADDRESS_MARK in self.text:
            lines = [line for line in self.text.splitlines() if line.strip()]
            self.address_lines = share(sum(map(_is_address, lines)), len(lines))
            self.text = _ADDRESS.sub("", self.text)
        self.lower = self.text.lower()
        self.units = full_units if self.text == text else measure_units(self.lower)
        self.script_share = share(self.units.num_gapless, len(self.units))
        self.by_characters = language in CHARACTER_LANGUAGES or (
            language == "und" and self.script_share > 0.5
        )
        if TABLE_MARK in self.text:
            rest = "\n".join(x for x in self.text.splitlines() if TABLE_MARK not in x)
            rest_units = measure_units(rest.lower())
            if len(rest_units) >= min_units:
                self.text, self.lower, self.units = rest, rest.lower(), rest_units
        self.lines = list(_unwrapped(self.text))

    @property
    def num_symbols(self) -> int:
        """Return how many hash signs (but those that open a heading) and ellipses there are."""
        text = self.text
        if "#" in text:
            return len(_SYMBOLS.findall(_HEADING_MARKS.sub("", text)))
        return text.count("...") + text.count("…")


def _is_address(line: str) -> bool:
    return ADDRESS_MARK in line and 2 * len(_ADDRESS.sub("", line)) < len(line)


def is_bullet(line: str) -> bool:
    """Return whether a line opens an item of a list."""
    return line[:1] in BULLETS and line[1:2].isspace()


def _unwrapped(text: str) -> Iterator[str]:
    """Yield the filled lines of a text, those of a paragraph wrapped at some width as one."""
    line = ""
    for part in map(str.strip, text.splitlines()):
        if part and line and _goes_on(line) and not is_bullet(part):
            line = f"{line} {part}"
            continue
        if line:
            yield line
        line = part
    if line:
        yield line


def _goes_on(line: str) -> bool:
    """Return whether a line's text goes on in the next one."""
    chars = len(line)
    if 2 * chars <= WRAPPED_CHARS or line[-1] in _LINE_ENDS:
        return False
    return chars > WRAPPED_CHARS or chars + len(_SCRIPT.findall(line)) > WRAPPED_CHARS
