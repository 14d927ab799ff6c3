"""Quality rules for running text, fair to each way of writing (§2.1; Gopher, C4, FineWeb).

Languages that write words with gaps are judged by words; Chinese, Japanese and Thai by characters,
with their own punctuation, line lengths and stop words. Code blocks, table rows and addresses are
left out before measuring, but count towards the length.
"""

import re
from collections.abc import Iterator

from openqwen.core.ngrams import CHARACTER_LANGUAGES, units
from openqwen.data.config import ProseRules, RulesConfig
from openqwen.data.findings import Finding, above, below
from openqwen.data.language import without_code
from openqwen.data.repetition import find_repetition
from openqwen.data.shingles import UnitHasher
from openqwen.data.stop_words import count_stop_words

SHORT_WORD_LANGUAGES = frozenset({"ko", "vi"})  # write syllables, or words of few syllable signs
LINE_ENDS = tuple(".!?:;…\"'”’»)。．｡！？：；，、」』）】》〉।؟۔")
WRAPPED_CHARS = 40  # a longer line without an end goes on in the next; an ideograph counts as two
TABLE_MARK = " | "  # as `data.html` writes tables
ELLIPSES = ("...", "…")

_SYMBOLS = re.compile(r"#|\.\.\.|…")
_HEADING_MARKS = re.compile(r"^#+", re.MULTILINE)
_ADDRESS = re.compile(r"https?://[!-(*-=?-\\^-~]+")  # ASCII, up to a closing bracket
_BULLET = re.compile(r"[-*•·‣▪◦–]\s")
_SCRIPT = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


class Prose:
    """A text as the rules see it, measured once."""

    def __init__(self, text: str, language: str, *, min_units: int) -> None:
        """Take a text apart.

        Args:
            text: a cleaned document.
            language: ISO 639-1 code; "und" is judged by its script.
            min_units: words outside tables from which the tables are left out.
        """
        self.language = language
        self.full_units = units(text)
        self.text = _ADDRESS.sub("", without_code(text))
        self.units = units(self.text)
        self.script_share = _share(len(_SCRIPT.findall(self.text)), len(self.units))
        self.by_characters = language in CHARACTER_LANGUAGES or (
            language == "und" and self.script_share > 0.5
        )
        if TABLE_MARK in self.text:
            rest = "\n".join(x for x in self.text.splitlines() if TABLE_MARK not in x)
            rest_units = units(rest)
            if len(rest_units) >= min_units:
                self.text, self.units = rest, rest_units
        self.lines = list(_unwrapped(self.text))


def _unwrapped(text: str) -> Iterator[str]:
    """Yield the filled lines of a text, those of a paragraph wrapped at some width as one."""
    line = ""
    for part in map(str.strip, text.splitlines()):
        width = len(line) + len(_SCRIPT.findall(line))
        goes_on = line and not line.endswith(LINE_ENDS) and width > WRAPPED_CHARS
        if goes_on and part and not _BULLET.match(part):
            line = f"{line} {part}"
            continue
        if line:
            yield line
        line = part
    if line:
        yield line


def find_prose_fault(
    text: str, language: str, config: RulesConfig, hasher: UnitHasher
) -> Finding | None:
    """Return the first limit a text breaks, or None for a good one.

    Args:
        text: a cleaned document.
        language: ISO 639-1 code or "und".
        config: all limits.
        hasher: numbers for words, shared between texts.
    """
    prose = Prose(text, language, min_units=config.prose.min_prose_units)
    rules = _character_findings if prose.by_characters else _word_findings
    for finding in (*rules(prose, config), *_line_findings(prose, config)):
        if finding is not None:
            return finding
    return find_repetition(
        prose.text,
        prose.units,
        hasher(prose.units),
        config.repetition,
        unit_scale=config.repetition.chars_a_word if prose.by_characters else 1,
    )


def _word_findings(prose: Prose, config: RulesConfig) -> Iterator[Finding | None]:
    """Yield what speaks against a text in words with gaps."""
    limits = config.words
    yield below("too few words", len(prose.full_units), limits.min_words, "words")
    yield above("too many words", len(prose.full_units), limits.max_words, "words")
    yield _too_little_prose(prose, config.prose)
    words = prose.units
    if prose.script_share:  # single characters of a quoted Chinese text are no short words
        words = [unit for unit in words if not _SCRIPT.match(unit)]
    mean = _share(sum(map(len, words)), len(words))
    if prose.language not in SHORT_WORD_LANGUAGES:
        yield below("words too short", mean, limits.min_mean_word_chars, "characters a word")
    yield above("words too long", mean, limits.max_mean_word_chars, "characters a word")
    yield _short_lines(prose, limits.short_line_chars, config.prose)
    yield from _shared_findings(prose, config.prose)


def _character_findings(prose: Prose, config: RulesConfig) -> Iterator[Finding | None]:
    """Yield what speaks against a text in characters without gaps."""
    limits = config.characters
    count = len(prose.full_units)
    yield below("too few characters", count, limits.min_chars, "characters and words")
    yield above("too many characters", count, limits.max_chars, "characters and words")
    yield _too_little_prose(prose, config.prose)
    yield below("little of its script", prose.script_share, limits.min_script, "of its characters")
    yield _short_lines(prose, limits.short_line_chars, config.prose)
    yield from _shared_findings(prose, config.prose)


def _shared_findings(prose: Prose, limits: ProseRules) -> Iterator[Finding | None]:
    """Yield what speaks against any text: symbols, numbers, stop words, banned phrases."""
    count = len(prose.units)
    symbols = len(_SYMBOLS.findall(_HEADING_MARKS.sub("", prose.text)))
    yield above("symbols", _share(symbols, count), limits.max_symbol_ratio, "symbols a word")
    letters = count - sum(map(str.isnumeric, prose.units))
    yield below("few letters", _share(letters, count), limits.min_alphabetic, "of words have one")
    found = count_stop_words(prose.language, set(prose.units), prose.text)
    if found is not None:
        yield below("no sentences", found, limits.min_stop_words, "different stop words")
    lower = prose.text.lower()
    for phrase in limits.banned_phrases:
        if phrase in lower:
            yield Finding("banned phrase", 1.0, f"holds “{phrase}”")


def _too_little_prose(prose: Prose, limits: ProseRules) -> Finding | None:
    unit = "words outside code blocks"
    return below("no prose", len(prose.units), limits.min_prose_units, unit)


def _short_lines(prose: Prose, short_chars: int, limits: ProseRules) -> Finding | None:
    short = sum(len(line) <= short_chars for line in prose.lines)
    share = _share(short, len(prose.lines))
    unit = f"of lines have up to {short_chars} characters"
    return above("short lines", share, limits.max_short_lines, unit)


def _line_findings(prose: Prose, config: RulesConfig) -> Iterator[Finding | None]:
    """Yield what speaks against a text's line starts and ends."""
    limits, count = config.prose, len(prose.lines)
    if not count:
        return
    ended = sum(line.endswith(LINE_ENDS) for line in prose.lines)
    unit = "of lines end in punctuation"
    yield below("unended lines", ended / count, limits.min_ended_lines, unit)
    bullets = sum(_BULLET.match(line) is not None for line in prose.lines)
    yield above("bullets", bullets / count, limits.max_bullet_lines, "of lines open a list")
    cut = sum(line.endswith(ELLIPSES) for line in prose.lines)
    yield above("cut lines", cut / count, limits.max_ellipsis_lines, "of lines end in an ellipsis")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
